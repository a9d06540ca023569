"""What tokenizing loses is counted and said; what a model cannot embed is left out or refused."""

import logging

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, BertConfig, GPT2Config, PreTrainedTokenizerFast, RobertaConfig, T5Config

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.tokenizing import check_max_length, fit_inputs, fit_max_length, tokenize_task

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c"]
PAIR_TYPES = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = PAIR_TYPES
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def make_task(texts: list[str], others: list[str] | None = None) -> TaskData:
    columns = {"text": texts} | ({} if others is None else {"other": others})
    rows = Dataset.from_dict(columns | {"labels": [0] * len(texts)})
    validation = rows.select([0])
    return TaskData("t", rows, {"validation": validation}, None, tuple(columns), ["x", "y"], ("accuracy",), None, None)


def test_cut_rows_and_tokens_are_counted_by_split_and_warned_about(tokenizer, caplog):
    texts = ["a b c", "a b c a b c", "a " * 16, "a"]  # 5, 8, 18 and 3 tokens with [CLS] and [SEP]
    with caplog.at_level(logging.INFO):
        data = tokenize_task(make_task(texts), tokenizer, 8)
    assert data.text_facts["train"] == {
        "rows": 4,
        "cut_rows": 1,
        "cut_token_share": pytest.approx(10 / 34),
        "unknown_token_share": 0,
        "mostly_unknown_rows": 0,
    }
    assert data.text_facts["validation"]["cut_rows"] == 0
    assert data.max_length == 8
    assert (
        "train: 1 of 4 rows are longer than 8 tokens and cut (--max_length), which loses 29.4 % of all" in caplog.text
    )
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert data.train.column_names == ["labels", "input_ids", "token_type_ids", "attention_mask"]
    assert [len(ids) for ids in data.train["input_ids"]] == [5, 8, 8, 3]


def test_pairs_are_counted_together(tokenizer):
    data = tokenize_task(make_task(["a " * 6, "a"], ["b " * 6, "b"]), tokenizer, 9)
    assert data.text_facts["train"]["cut_token_share"] == pytest.approx(6 / 20)


def test_a_small_share_is_said_without_a_warning(tokenizer, caplog):
    with caplog.at_level(logging.INFO):
        tokenize_task(make_task(["a", *["a b"] * 30, "a b c a b c a"]), tokenizer, 8)
    assert [(record.levelname, "1 of 32 rows" in record.message) for record in caplog.records] == [("INFO", True)]


def test_unknown_tokens_are_counted_and_warned_about(tokenizer, caplog):
    data = tokenize_task(make_task(["acgt acgt", "a b c", "a \u6f22 \u5b57", ""]), tokenizer, 8)
    facts = data.text_facts["train"]
    assert (facts["unknown_token_share"], facts["mostly_unknown_rows"]) == (pytest.approx(4 / 8), 2)
    assert "train: 50.0 % of the tokens are unknown to the tokenizer, in 2 of 4 rows more than half" in caplog.text


def test_nothing_is_said_of_whole_known_texts(tokenizer, caplog):
    with caplog.at_level(logging.INFO):
        tokenize_task(make_task(["a b", "c"]), tokenizer, 8)
    assert caplog.text == ""


def test_the_saved_tokenizer_cuts_as_before(tokenizer, tmp_path):
    """The last call's truncation is saved; counting calls it without."""
    tokenize_task(make_task(["a " * 20]), tokenizer, 8)
    tokenizer.save_pretrained(tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).truncation["max_length"] == 8


def test_max_length_is_held_against_tokenizer_and_model_positions(tokenizer):
    check_max_length(64, tokenizer, BertConfig(max_position_embeddings=64))
    check_max_length(62, tokenizer, RobertaConfig(max_position_embeddings=64, pad_token_id=1))
    check_max_length(64, tokenizer, T5Config())
    with pytest.raises(ValueError, match="--max_length 65 is more than the 64 tokens of the tokenizer: lower it"):
        check_max_length(65, tokenizer, BertConfig())
    for config in (BertConfig(max_position_embeddings=32), GPT2Config(n_positions=32)):
        with pytest.raises(ValueError, match="more than the 32 tokens of the model: lower it"):
            check_max_length(33, tokenizer, config)
    with pytest.raises(ValueError, match="more than the 62 tokens of the model"):
        check_max_length(63, tokenizer, RobertaConfig(max_position_embeddings=64, pad_token_id=1))


def test_a_default_length_is_lowered_to_what_is_taken_and_the_user_s_is_not(tokenizer, tmp_path, caplog):
    default, asked = (DataArguments(dataset_name="d", max_length=length) for length in (None, 128))
    config = BertConfig(max_position_embeddings=32)
    with caplog.at_level(logging.INFO):
        fit_max_length(default, tokenizer, BertConfig())
        assert default.max_length == 64
        fit_max_length(default, tokenizer, config)
        fit_max_length(default, tokenizer, BertConfig())
    assert default.max_length == 32
    assert "--max_length is 32, all that the model takes" in caplog.text
    with pytest.raises(ValueError, match="--max_length 128 is more than the 64 tokens of the tokenizer: lower it"):
        fit_max_length(asked, tokenizer, config)
    with pytest.raises(ValueError, match="takes 4 tokens, and texts need 8"):
        fit_max_length(default, tokenizer, BertConfig(max_position_embeddings=4))


def test_token_types_that_a_model_has_no_table_for_are_left_out_for_good(tokenizer, tmp_path):
    data = tokenize_task(make_task(["a", "b"], ["b", "c"]), tokenizer, 8)
    fitted = fit_inputs(data, tokenizer, [RobertaConfig(type_vocab_size=1)])
    assert [rows.column_names for _, rows in fitted.list_splits()] == [["labels", "input_ids", "attention_mask"]] * 2
    tokenizer.save_pretrained(tmp_path)
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(tmp_path)("a", "b")


@pytest.mark.parametrize("config", [BertConfig(type_vocab_size=2), T5Config(), BertConfig(type_vocab_size=0)])
def test_token_types_that_a_model_takes_or_ignores_stay(tokenizer, config):
    data = tokenize_task(make_task(["a"], ["b"]), tokenizer, 8)
    assert fit_inputs(data, tokenizer, [config]) is data


def test_ids_beyond_a_table_are_refused(tokenizer):
    data = tokenize_task(make_task(["a b c"]), tokenizer, 8)
    with pytest.raises(
        ValueError, match="input_ids up to 6, and vocab_size of the bert model is 6: save the tokenizer"
    ):
        fit_inputs(data, tokenizer, [BertConfig(vocab_size=6)])
    types = data.map_splits(
        lambda rows: rows.remove_columns("token_type_ids").add_column("token_type_ids", [[2]] * len(rows))
    )
    with pytest.raises(ValueError, match="token_type_ids up to 2, and type_vocab_size of the bert model is 2"):
        fit_inputs(types, tokenizer, [BertConfig(type_vocab_size=2)])
