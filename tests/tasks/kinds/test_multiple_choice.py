"""All forms of multiple choice become the same rows; what is no choice is one line with file and row."""

from types import SimpleNamespace
from typing import Any

import pytest

from layer_distillation.tasks.files import RawSplit
from layer_distillation.tasks.kinds.multiple_choice import (
    MULTIPLE_CHOICE,
    ChoiceRow,
    find_choice_columns,
    read_choices,
)
from made_tokenizers import KINDS, wrap

ROWS = [ChoiceRow("the cat", ["sat", "on a mat"], 1), ChoiceRow("dogs", ["were", "running"], 0)]
TEXTS = {"question": ["the cat", "dogs"], "choices": [["sat", "on a mat"], ["were", "running"]]}
NAMED = [{"text": texts, "label": ["A", "B"]} for texts in TEXTS["choices"]]
NUMBERED = {"premise": TEXTS["question"], "choice1": ["sat", "were"], "choice2": ["on a mat", "running"]}


def read(columns: dict[str, list], text_columns: str | None = None, label_column: str | None = None) -> list[ChoiceRow]:
    split = RawSplit("f.jsonl", columns)
    return read_choices({"train": split}, find_choice_columns(split, text_columns, label_column), ())["train"]


@pytest.mark.parametrize(
    "columns",
    [
        TEXTS | {"label": [1, 0]},
        TEXTS | {"label": ["1", "0"]},
        TEXTS | {"answer": ["B", "a"]},
        {"question_stem": TEXTS["question"], "choices": NAMED, "answerKey": ["B", "A"]},
        NUMBERED | {"label": [1, 0]},
        NUMBERED | {"label": [1.0, 0.0]},
    ],
)
def test_every_form_is_the_same_rows(columns):
    assert MULTIPLE_CHOICE.recognise(RawSplit("f", columns), None).startswith("choices in")
    assert read(columns) == ROWS


def test_the_names_of_a_row_come_before_letters():
    cells = [{"text": texts, "label": ["1", "2"]} for texts in TEXTS["choices"]]
    assert read(TEXTS | {"choices": cells, "answerKey": ["2", "1"]}) == ROWS


def test_columns_of_other_names():
    columns = {"q": TEXTS["question"], "c": TEXTS["choices"], "right": [1, 0]}
    assert read(columns, "q,c", "right") == ROWS
    numbered = {"q": TEXTS["question"], "one": ["sat", "were"], "two": ["on a mat", "running"], "label": [1, 0]}
    assert read(numbered, "q,one,two") == ROWS


def test_endings_of_swag_go_on_from_its_second_sentence():
    columns = {"sent1": ["the cat sat"], "sent2": ["it"], "ending0": ["sat"], "ending1": ["ran"], "label": [1]}
    assert read(columns) == [ChoiceRow("the cat sat", ["it sat", "it ran"], 1)]


def test_ten_endings_stay_in_their_order():
    columns = {"sent1": ["x"], **{f"ending{place}": [str(place)] for place in (10, 2, 1, 0)}, "label": [3]}
    assert read(columns)[0] == ChoiceRow("x", ["0", "1", "2", "10"], 3)


def test_rows_without_a_label():
    assert [row.label for row in read(TEXTS | {"label": [None, 0]})] == [-100, 0]
    assert [row.label for row in read(TEXTS | {"label": [0, -1]})] == [0, -100]
    split = RawSplit("f", TEXTS | {"label": [1, 0]})
    rows = read_choices({"train": split, "test": RawSplit("t", TEXTS)}, find_choice_columns(split, None, None), ())
    assert [row.label for row in rows["test"]] == [-100, -100]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": [2, 0]}, "data row 1: the label is 2, and there are 2 choices: .* index from 0 on"),
        ({"label": ["C", "A"]}, "data row 1: the label is 'C'"),
        ({"label": [True, 0]}, "the label is True"),
        ({"label": [0, "running"]}, "data row 2: the label is 'running'"),
        ({"label": [None, None]}, "no labelled row"),
        ({"label": [1, 0], "choices": [["a", "b"], ["a", "b", "c"]]}, "data row 2 has 3 choices, .* as many"),
        ({"label": [1, 0], "choices": [["a"], ["a", "b"]]}, "data row 1: choices are .'a'.: .* at least 2 texts"),
        ({"label": [1, 0], "choices": [["a", None], ["a", "b"]]}, "data row 1: choices are"),
        ({"label": [1, 0], "choices": ["a", ["a", "b"]]}, "data row 1: choices are 'a'"),
        ({"label": [1, 0], "question": ["x", None]}, "data row 2 has no text in 'question'"),
    ],
)
def test_what_is_no_choice_is_one_line(changes, message):
    with pytest.raises(ValueError, match=f"f.jsonl.*{message}") as error:
        read(TEXTS | changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("columns", [{"question": ["x"], "label": [0]}, {"choices": [["a", "b"]], "label": [0]}])
def test_missing_columns(columns: dict[str, Any]):
    assert MULTIPLE_CHOICE.recognise(RawSplit("f", columns), None) is None
    with pytest.raises(ValueError, match="name them by --text_columns question,choices"):
        read(columns)


def test_choices_of_another_split_have_to_be_as_many():
    split, other = RawSplit("f", TEXTS | {"label": [1, 0]}), RawSplit("v", {**TEXTS, "label": [1, 0]})
    other.columns["choices"] = [["a", "b", "c"]] * 2
    with pytest.raises(ValueError, match="v, data row 1 has 3 choices, the first training row has 2"):
        read_choices({"train": split, "validation": other}, find_choice_columns(split, None, None), ())


def test_tokens_and_a_batch():
    tokenizer = wrap(KINDS["WordLevel"]())
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    data = SimpleNamespace(text_columns=("question", "choices"))
    columns = MULTIPLE_CHOICE.tokenize(TEXTS, data, tokenizer, 7)
    assert [[len(ids) for ids in row] for row in columns["input_ids"]] == [[6, 7], [5, 5]]  # on a mat: cut by one
    whole = MULTIPLE_CHOICE.tokenize(TEXTS, data, tokenizer, None)
    assert [[len(ids) for ids in row] for row in whole["input_ids"]] == [[6, 8], [5, 5]]
    rows = [dict(zip(columns, values, strict=True)) | {"labels": 1} for values in zip(*columns.values(), strict=True)]
    batch = MULTIPLE_CHOICE.make_collator(tokenizer)(rows)
    assert batch.pop("labels").tolist() == [1, 1]
    assert {name: tuple(values.shape) for name, values in batch.items()} == dict.fromkeys(columns, (2, 2, 7))
    assert batch["attention_mask"].sum(-1).tolist() == [[6, 7], [5, 5]]
    assert tokenizer.decode(batch["input_ids"][1, 1], skip_special_tokens=True) == "dogs running"
