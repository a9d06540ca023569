"""Words and tags as files have them, and the pieces that stand for them."""

import ast
import json

import numpy as np
import pytest

import run_distillation
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.conll import read_conll
from layer_distillation.tasks.files import RawSplit
from layer_distillation.tasks.kinds.entities import find_entities, find_scheme, find_strict_entities
from layer_distillation.tasks.kinds.token_classification import (
    TOKEN_CLASSIFICATION,
    find_first_pieces,
    move_label,
)
from tiny_kinds import make_kind_project

TAGS = ["B-a", "B-b", "I-a", "O"]
WORDS = [["x", "y"], ["z"]]


def make_split(tags: object, words: object = WORDS, origin: str = "train", **others: object) -> RawSplit:
    return RawSplit(origin, {"tokens": words, "ner_tags": tags}, **others)


def read(train: RawSplit, arguments: DataArguments | None = None, **others: RawSplit):
    return TOKEN_CLASSIFICATION.read({"train": train, **others}, arguments or DataArguments())


def test_tags_by_name_and_by_id_are_the_same():
    named = read(make_split([["B-a", "O"], ["O"]]))
    numbered = read(make_split([[1, 0], [0]], element_names={"ner_tags": ["O", "B-a"]}))
    assert (named.label_names, numbered.label_names) == (["B-a", "O"], ["O", "B-a"])
    assert (named.columns["train"]["labels"], numbered.columns["train"]["labels"]) == ([[0, 1], [1]], [[1, 0], [0]])
    assert read(make_split([[10, 9], [9]])).label_names == ["9", "10"]


def test_a_cell_of_a_csv_may_hold_a_list():
    found = read(make_split(['["B-a", "O"]', '["O"]'], ['["x", "y"]', '["z"]']))
    assert found.columns["train"]["tokens"] == WORDS
    assert found.columns["train"]["labels"] == [[0, 1], [1]]


@pytest.mark.parametrize(
    ("tags", "words", "message"),
    [
        ([["O"], ["O"]], WORDS, r"train, data row 1 has 2 words and 1 tags in 'ner_tags': give one tag per word"),
        ([["O", 1.5], ["B-a"]], WORDS, r"data row 1 has \['O', 1.5\] in 'ner_tags': give a list with a tag"),
        ([["O", "O"], "O"], WORDS, r"data row 2 has 'O' in 'ner_tags': give a list"),
        ([["O", "O"], ["O"]], WORDS, r"has 1 tags in 'ner_tags' \('O'\): give rows of two at least"),
        ([None, None], WORDS, r"train has no row with tags: fill them in"),
        ([["O", "B-a"], ["O"]], [["x", "y"], "z"], r"data row 2 has 'z' in 'tokens': a list of words is needed"),
        ([["O", "B-a"], ["O"]], [["x", "y"], [3]], r"data row 2 has \[3\] in 'tokens': a list of words"),
    ],
)
def test_what_is_no_tag_to_a_word_is_named(tags, words, message):
    with pytest.raises(ValueError, match=message):
        read(make_split(tags, words))


def test_tags_beyond_the_names_that_training_has_are_refused():
    train = make_split([["B-a", "O"], ["O"]])
    with pytest.raises(ValueError, match=r"validation has tags that train lacks: 'B-b'"):
        read(train, validation=make_split([["B-b", "O"], ["O"]], origin="validation"))
    with pytest.raises(ValueError, match=r"validation: 1 of 2 rows have no tags, the first is data row 2"):
        read(train, validation=make_split([["O", "O"], None], origin="validation"))
    with pytest.raises(ValueError, match=r"data row 1 has the tag 7, and the data name 2"):
        read(make_split([[7, 0], [0]], element_names={"ner_tags": ["O", "B-a"]}))


def test_test_rows_may_lack_tags():
    found = read(make_split([["B-a", "O"], ["O"]]), test=RawSplit("test", {"tokens": WORDS}))
    assert found.columns["test"]["labels"] == [[-100, -100], [-100]]
    assert TOKEN_CLASSIFICATION.make_unlabelled({"tokens": WORDS}, TAGS) == [[-100, -100], [-100]]


def test_data_are_known_by_their_lists():
    assert "lists of words" in TOKEN_CLASSIFICATION.recognise(make_split([["O", "O"], ["O"]]), DataArguments())
    assert TOKEN_CLASSIFICATION.recognise(make_split(["O", "O"], ["x y", "z"]), DataArguments()) is None


def test_conll_files_give_words_and_tags(tmp_path):
    path = tmp_path / "train.conll"
    path.write_text("-DOCSTART- O\n\nx B-a\ny O\n\n\nz O\n", encoding="utf-8")
    assert read_conll(path) == {"tokens": WORDS, "tags": [["B-a", "O"], ["O"]]}
    path.write_text("x N NP B-a\n\ny N NP O\n", encoding="utf-8")
    assert read_conll(path)["ner_tags"] == [["B-a"], ["O"]]
    path.write_text("x N B-a\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"train.conll, line 1 has 3 columns: keep two, a word and its tag"):
        read_conll(path)
    path.write_text("x B-a\ny\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2 has the columns \['y'\], and line 1 has 2"):
        read_conll(path)


def test_a_word_is_answered_at_its_first_piece():
    assert find_first_pieces([None, 0, 0, 1, 2, 2, None]) == [None, 0, None, 1, 2, None, None]
    assert move_label([0, -100, 1], {0: 2, 1: 0}, 3) == [2, -100, 0]


def test_schemes_are_told_by_their_prefixes():
    assert [find_scheme(tags) for tags in (["B-a", "I-a", "O"], ["S-a", "B-a", "E-a", "O"], ["U-a", "L-a", "B-a"])] == [
        "IOB2",
        "IOBES",
        "BILOU",
    ]
    assert find_scheme(["I-a", "O"]) is None
    bilou, iobes = ["B-a", "L-a", "U-b", "O"], ["B-a", "E-a", "S-b", "O"]
    assert find_entities(bilou) == find_entities(iobes) == [("a", 0, 1), ("b", 2, 2)]
    assert find_strict_entities(bilou, "BILOU") == find_strict_entities(iobes, "IOBES")


def test_the_lines_of_a_card_answer_as_the_run_scored(tmp_path, capsys):
    run_distillation.main(make_kind_project(tmp_path, "token-classification", num_train_epochs=1))
    record = read_run_record(tmp_path / "run")
    code = TOKEN_CLASSIFICATION.write_call(record, str(tmp_path / "run"), "truncation=True, max_length=24")
    rows = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    answers = []
    for row in rows:
        capsys.readouterr()
        exec(code.replace('["the", "words", "of", "a", "text"]', repr(row["tokens"])), {})
        answers += [tag for _, tag in ast.literal_eval(capsys.readouterr().out)]
    chosen = np.load(tmp_path / "run" / "predictions.npz")["test.student_logits"].argmax(axis=-1)
    assert answers == [record.task["label_names"][tag] for tag in chosen]
