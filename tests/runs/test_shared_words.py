"""A tagger's teacher with a tokenizer of its own: a word's logits are those at its first piece, whoever cuts it."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForTokenClassification, AutoTokenizer, BertConfig, PreTrainedTokenizerFast

from compare_strategies import main as compare
from layer_distillation.export.subjects import load_rows, load_texts, mark_items
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.preparation import open_record, prepare_run
from layer_distillation.runs.teacher_ensemble import make_supply
from run_distillation import main
from test_run_distillation import replace_flag
from tiny_kinds import TAGS, make_kind_project, name_outputs, write_json_lines
from tiny_project import write_teacher

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_speller(folder: Path, positions: int = 64) -> Path:
    """A tagger that reads letter by letter, and nothing at all of the word `not`; its tags are in another order."""
    pieces = {name: place for place, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS])}
    backend = Tokenizer(models.WordPiece(pieces | {f"##{letter}": 30 + LETTERS.index(letter) for letter in LETTERS},
                                         unk_token="[UNK]"))  # fmt: skip
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("not", "removed")]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=positions, **names).save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        **{"vocab_size": 56, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2},
        **{"intermediate_size": 32, "max_position_embeddings": positions, "initializer_range": 0.5},
        **name_outputs(TAGS[::-1]),
    )
    AutoModelForTokenClassification.from_config(config).save_pretrained(folder)
    return folder


def drop_word(folder: Path, word: str) -> None:
    """Its tokenizer makes nothing of it."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    split = {"type": "Split", "pattern": {"String": word}, "behavior": "Removed", "invert": False}
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [tokenizer["pre_tokenizer"], split]}
    path.write_text(json.dumps(tokenizer))


def make_flags(folder: Path, positions: int = 64, **changes: object) -> list[str]:
    flags = make_kind_project(folder, "token-classification")
    source = write_teacher(folder / "encoder", has_head=False)
    drop_word(source, "is")
    settings = {"teacher_model_name_or_path": write_speller(folder / "speller", positions)}
    return replace_flag(flags, student_source_model=source, **settings | changes)


def prepare(flags: list[str]):
    arguments = parse_command_line(flags)
    record = open_record(Path(arguments.training.output_dir), arguments)
    return prepare_run(arguments, record), arguments, record


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def spell(folder: Path, words: list[str]) -> dict[int, np.ndarray]:
    """What the teacher answers to each word that both read, in the order of `TAGS`."""
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    encoding = AutoTokenizer.from_pretrained(folder)(
        words, is_split_into_words=True, return_tensors="pt", truncation=True
    )
    with torch.no_grad():
        logits = model(**encoding).logits[0].numpy()
    word_ids = encoding.word_ids(0)
    firsts = {word: word_ids.index(word) for word in {*word_ids} - {None}}
    order = [TAGS[::-1].index(name) for name in TAGS]
    return {word: logits[place][order] for word, place in sorted(firsts.items()) if words[word] != "is"}


@pytest.mark.parametrize("positions", [64, 16])
def test_every_word_that_both_read_has_the_teachers_logits(tmp_path, positions, caplog):
    with caplog.at_level(logging.INFO):
        run, arguments, record = prepare(make_flags(tmp_path, positions))
    store = make_supply(run.teacher, arguments).choose_training_source(run.data.student_train)
    rows, num_items, num_lost = read_rows(tmp_path / "train.jsonl"), 0, 0
    for index, row in enumerate(rows):
        ids, marks, labels = (run.data.train[name][index] for name in ("input_ids", "item_mask", "labels"))
        answers = spell(tmp_path / "speller", row["tokens"])
        logits = store.get_logits([index], torch.ones(1, len(ids)))[0].numpy()
        kept = [word for word, text in enumerate(row["tokens"]) if text != "is"]
        assert len(ids) == len(kept) + 2  # the student's tokens are words
        for place, word in enumerate(kept, start=1):
            is_read = word in answers
            assert marks[place] == is_read
            assert labels[place] == (TAGS.index(row["tags"][word]) if is_read else -100)
            num_items, num_lost = num_items + is_read, num_lost + (not is_read)
            if is_read:
                np.testing.assert_allclose(logits[place], answers[word], rtol=1e-4, atol=1e-5)
    assert num_items
    assert num_lost
    assert f"train: {num_lost} words that the teacher cannot read get no tag" in caplog.text
    assert record.arguments["hidden_weight"] == record.arguments["pkd_weight"] == 0


def test_a_run_scores_both_on_the_same_words_and_is_compared(tmp_path):
    flags = make_flags(tmp_path, unlabeled_file=write_json_lines(tmp_path / "more.jsonl", [{"tokens": ["a", "red"]}]))
    for strategy in ("even", "top"):
        main(replace_flag(flags, output_dir=tmp_path / "runs" / strategy, layer_strategy=strategy))
    record = read_run_record(tmp_path / "runs" / "even")
    arrays = np.load(tmp_path / "runs" / "even" / "predictions.npz")
    assert arrays["test.student_logits"].shape == arrays["test.teacher_logits"].shape
    answers = [spell(tmp_path / "speller", row["tokens"]) for row in read_rows(tmp_path / "test.jsonl")]
    expected = [answer for row in answers for answer in row.values()]
    np.testing.assert_allclose(arrays["test.teacher_logits"], expected, rtol=1e-4, atol=1e-5)
    chosen, labels = arrays["test.teacher_logits"].argmax(axis=-1), arrays["test.labels"]
    assert record.teacher["metrics"]["test"]["accuracy"] == pytest.approx((chosen == labels).mean())
    rows = load_rows(load_texts(record), AutoTokenizer.from_pretrained(tmp_path / "runs" / "even"), record)
    marks = np.concatenate(rows.test["item_mask"][:])
    assert marks.sum() > len(labels)
    assert np.concatenate(mark_items(rows, arrays).test["item_mask"][:]).sum() == len(labels)
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "compared"), "--no_pictures"]) == 0


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_of_which_the_teacher_reads_no_word_is_refused(tmp_path, split, capsys):
    flags = make_flags(tmp_path)
    paths = [tmp_path / name / "tokenizer.json" for name in ("speller", "teacher")]
    own, other = (json.loads(path.read_text()) for path in paths)
    paths[0].write_text(json.dumps(own | {"post_processor": other["post_processor"]}))
    tags = [["O", "B-noun"], ["B-colour", "I-noun"]]
    write_json_lines(tmp_path / f"{split}.jsonl", [{"tokens": ["not", "not"], "tags": row} for row in tags])
    with pytest.raises(SystemExit):
        main(flags)
    assert f"{split}: none of its 4 words is one that the teacher's tokenizer reads" in capsys.readouterr().err


def test_an_untrained_tagger_is_fine_tuned_on_its_own_tokens_first(tmp_path):
    flags = make_flags(tmp_path)
    config = json.loads((tmp_path / "speller" / "config.json").read_text())
    (tmp_path / "speller" / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "speller")
    model.bert.save_pretrained(tmp_path / "speller")
    run, _, record = prepare(replace_flag(flags, teacher_num_train_epochs=1))
    assert run.teacher.is_trained
    assert record.task["label_names"] == TAGS
