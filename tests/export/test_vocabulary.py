"""A student with fewer tokens: equal answers where its tokens cover the text, and what they do not cover is told."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from conftest import make_bert
from layer_distillation.embedding.modules import SentenceModules, set_modules
from layer_distillation.export.clients import ask_pytorch, open_onnx
from layer_distillation.export.conversion import check_answers
from layer_distillation.export.subjects import Subject, tokenize_texts
from layer_distillation.export.vocabulary import (
    find_file_tokens,
    trim_config,
    trim_graph,
    trim_model,
    trim_student,
)
from layer_distillation.records.export_record import STUDENT
from layer_distillation.tasks.data import TaskData
from made_students import make_record
from tiny_project import write_tokenizer

KEPT = [0, 1, 2, 3, 4, 7, 11, 30]
TRAINED = ["the red ball is a car", "a blue ball"]
TESTED = ["the red car", "a green house", "is the ball red"]


def ask(model: torch.nn.Module, ids: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)).logits


def test_a_smaller_model_answers_alike_on_what_it_covers():
    model = make_bert(num_layers=2)
    smaller = trim_model(model, KEPT)
    assert smaller.get_input_embeddings().num_embeddings == smaller.config.vocab_size == len(KEPT)
    assert torch.equal(ask(smaller, [[2, 5, 6, 7, 3]]), ask(model, [[2, 7, 11, 30, 3]]))
    assert model.config.vocab_size == 60


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_head_over_the_vocabulary_follows(is_tied):
    torch.manual_seed(0)
    config = make_bert(num_layers=1).config
    config.tie_word_embeddings = is_tied
    model = BertForMaskedLM(config).eval()
    torch.nn.init.normal_(model.cls.predictions.bias)
    smaller = trim_model(model, KEPT)
    torch.testing.assert_close(ask(smaller, [[2, 5, 4, 3]]), ask(model, [[2, 7, 4, 3]])[..., KEPT])
    is_shared = smaller.get_output_embeddings().weight is smaller.get_input_embeddings().weight
    assert is_shared == is_tied


def test_the_smaller_models_file_is_the_whole_ones_with_another_table(exported, tmp_path):
    model, tokenizer, path = exported
    smaller = trim_model(model, KEPT)
    assert trim_graph(path, tmp_path / "smaller.onnx", model, smaller)
    answer = open_onnx(tmp_path / "smaller.onnx", 1)
    check_answers(answer, ask_pytorch(smaller, 1), smaller, tokenizer, "ONNX")
    assert (tmp_path / "smaller.onnx").stat().st_size < path.stat().st_size - 4 * 64 * 400


def test_where_special_tokens_have_other_numbers_the_file_is_not_made_of_the_whole_ones(exported, tmp_path):
    model, _, path = exported
    model.config.pad_token_id, before = 7, model.config.pad_token_id
    try:
        assert not trim_graph(path, tmp_path / "smaller.onnx", model, trim_model(model, KEPT))
    finally:
        model.config.pad_token_id = before
    assert not (tmp_path / "smaller.onnx").exists()


def test_positions_that_begin_at_the_padding_token_stay():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = RobertaConfig(vocab_size=40, pad_token_id=1, max_position_embeddings=20, **sizes)
    model = RobertaForSequenceClassification(config).eval()
    smaller = trim_model(model, [0, 1, 2, 3, 9, 20])
    assert torch.equal(ask(smaller, [[0, 4, 5, 2, 1, 1]]), ask(model, [[0, 9, 20, 2, 1, 1]]))


def test_special_tokens_have_their_new_numbers_and_those_that_are_gone_none():
    config = make_bert(pad_token_id=11, bos_token_id=59).config
    smaller = trim_config(config, KEPT)
    assert (smaller.pad_token_id, smaller.bos_token_id, smaller.vocab_size) == (6, None, len(KEPT))


# ---- with its tokenizer and rows ---------------------------------------------------------------------------------


def make_rows(texts: list[str]) -> Dataset:
    columns = {"text": texts, "labels": [0] * len(texts), "example_index": list(range(len(texts)))}
    return Dataset.from_dict(columns)


def make_texts() -> TaskData:
    return TaskData(
        name="colours",
        train=make_rows(TRAINED),
        validation={"validation": make_rows(TRAINED)},
        test=make_rows(TESTED),
        text_columns=("text",),
        label_names=["red", "green", "blue"],
        metric_names=("accuracy",),
        dataset_name=None,
        dataset_config_name=None,
    )


@pytest.fixture
def student(tmp_path) -> Subject:
    write_tokenizer(tmp_path / "student")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    data = tokenize_texts(make_texts(), tokenizer, make_record())
    return Subject(STUDENT, make_bert(num_layers=2), tokenizer, tmp_path / "student", data)


def test_the_prompts_of_a_sentence_encoder_stay_the_same_tokens(student, tmp_path):
    """Queries and documents may have others than the training texts."""
    set_modules(student.model.config, SentenceModules(("mean",), prompts={"query": "the green door is ", "none": ""}))
    trimmed, vocabulary = trim_student(student, make_texts(), [], make_record(), tmp_path)
    found, wanted = (one.tokenizer("the green door is the red ball")["input_ids"] for one in (trimmed, student))
    assert [trimmed.old_ids[token] for token in found] == wanted
    assert vocabulary["tokens"] < vocabulary["tokens_before"]


def test_the_smaller_student_loads_with_its_tokenizer_and_says_what_it_does_not_cover(student, tmp_path):
    trimmed, vocabulary = trim_student(student, make_texts(), [], make_record(), tmp_path)
    assert vocabulary["uncovered"] == {
        "train": {"rows": 0.0, "tokens": 0.0},
        "validation": {"rows": 0.0, "tokens": 0.0},
        "test": {"rows": pytest.approx(1 / 3), "tokens": pytest.approx(2 / 16)},  # green and house
    }
    assert (vocabulary["tokens"], vocabulary["tokens_before"]) == (12, 60)
    tokenizer = AutoTokenizer.from_pretrained(trimmed.folder)
    model = AutoModelForSequenceClassification.from_pretrained(trimmed.folder).eval()
    text = "the red car"
    assert torch.equal(
        ask(model, [tokenizer(text)["input_ids"]]), ask(student.model, [student.tokenizer(text)["input_ids"]])
    )


def test_tokens_of_named_files_stay(student, tmp_path):
    (tmp_path / "more.txt").write_text("a green\nhouse\n", encoding="utf-8")
    _, vocabulary = trim_student(student, make_texts(), [tmp_path / "more.txt"], make_record(), tmp_path)
    assert vocabulary["uncovered"]["test"] == {"rows": 0.0, "tokens": 0.0}


def test_a_file_that_is_no_text_is_refused(student, tmp_path):
    path = Path(tmp_path / "more.txt")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"more.txt is not UTF-8 \(.*\): save it as UTF-8"):
        find_file_tokens([path], student.tokenizer)


def test_a_tokenizer_that_would_split_a_covered_row_otherwise_is_refused(student, tmp_path, monkeypatch):
    """The check, with a rebuilt tokenizer that lost its order."""
    from layer_distillation.export import vocabulary

    rebuild = vocabulary.rebuild_tokenizer

    def rebuild_wrongly(*arguments) -> list[int]:
        ids = rebuild(*arguments)
        return [*ids[:5], *reversed(ids[5:])]

    monkeypatch.setattr(vocabulary, "rebuild_tokenizer", rebuild_wrongly)
    with pytest.raises(ValueError, match=r"cannot be trimmed \(row 1 of train would be split otherwise\)"):
        trim_student(student, make_texts(), [], make_record(), tmp_path)
