"""SQuAD's JSON and its flat form become the same questions; an answer that is not where it says is one line."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset

from layer_distillation.tasks.files import RawSplit, read_data_file, read_dataset
from layer_distillation.tasks.kinds.questions import (
    Answer,
    Question,
    flatten_squad,
    read_questions,
    says_unanswerable,
)

CONTEXT = "Zoë moved to Köln in 1999.\nShe left in 2004."
QUESTIONS = [
    Question("Where to?", CONTEXT, (Answer("Köln", 13), Answer("to Köln", 10)), "Zoë", "q1"),
    Question("When?", CONTEXT, (Answer("1999", 21),), "Zoë", "q2"),
]


def nest(**others: Any) -> dict[str, Any]:
    """QUESTIONS as SQuAD's own JSON."""
    qas = [
        {
            "id": question.id,
            "question": question.question,
            "answers": [{"text": answer.text, "answer_start": answer.start} for answer in question.answers],
        }
        for question in QUESTIONS
    ]
    return {"data": [{"title": "Zoë", "paragraphs": [{"context": CONTEXT, "qas": qas}]}], **others}


def flatten() -> list[dict[str, Any]]:
    return [
        {
            "id": question.id,
            "title": question.title,
            "context": question.context,
            "question": question.question,
            "answers": {
                "text": [answer.text for answer in question.answers],
                "answer_start": [answer.start for answer in question.answers],
            },
        }
        for question in QUESTIONS
    ]


def write_json(path: Path, contents: Any) -> RawSplit:
    path.write_text(json.dumps(contents), encoding="utf-8")
    return read_data_file(str(path))


def read(split: RawSplit, **others: Any) -> list[Question]:
    return read_questions(flatten_squad(split), **others)


def make_split(answers: Any, context: str = CONTEXT, **columns: list) -> RawSplit:
    return RawSplit("f.jsonl", {"context": [context], "question": ["Q?"], "answers": [answers], **columns})


@pytest.mark.parametrize("others", [{}, {"version": "1.1"}, {"version": "v2.0"}])
def test_nested_json(tmp_path, others):
    split = write_json(tmp_path / "train.json", nest(**others))
    assert read(split) == QUESTIONS
    assert not says_unanswerable(flatten_squad(split))


def test_flat_json_lines_parquet_and_a_data_set_are_the_same_questions(tmp_path):
    rows = flatten()
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    splits = [read_data_file(str(tmp_path / name)) for name in ("train.jsonl", "train.parquet")]
    for split in [*splits, read_dataset(Dataset.from_list(rows), "hub")]:
        assert read(split) == QUESTIONS


def test_columns_of_other_names_and_answers_as_a_json_cell(tmp_path):
    split = RawSplit("f.csv", {"q": ["When?"], "doc": [CONTEXT], "a": ['{"text": ["1999"], "answer_start": [21]}']})
    assert read(split, columns=("q", "doc", "a")) == [Question("When?", CONTEXT, (Answer("1999", 21),))]


def test_v2_marks_its_questions_and_its_plausible_answers_are_none(tmp_path):
    nested = nest(version="v2.0")
    first, second = nested["data"][0]["paragraphs"][0]["qas"]
    first |= {"is_impossible": True, "plausible_answers": first["answers"], "answers": []}
    second |= {"is_impossible": False}
    split = flatten_squad(write_json(tmp_path / "dev.json", nested))
    assert says_unanswerable(split)
    assert [question.answers for question in read(split, allows_null=True)] == [(), (Answer("1999", 21),)]


def test_answers_that_nobody_gives_are_unknown_and_not_empty():
    assert read(make_split(None))[0].answers is None


def test_v1_has_an_answer_to_every_question():
    split = make_split({"text": [], "answer_start": []})
    with pytest.raises(ValueError, match=r"f.jsonl, data row 1: the question has no answer.*--version_2_with_negative"):
        read(split)
    assert read(split, allows_null=True)[0].answers == ()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"text": ["Köln"], "answer_start": [12]},
            "'Köln' is not at character 12 .*; it is at 13: answer_start",
        ),
        ({"text": ["Köln"], "answer_start": [14]}, "it is at 13 .the start counts bytes, it seems"),
        ({"text": ["Bonn"], "answer_start": [13]}, "there is 'Köln', and nowhere else"),
        ({"text": ["Köln"], "answer_start": [-31]}, "is not at character -31"),
        ({"text": ["Köln"], "answer_start": [999]}, "there is ''; it is at 13"),
        ({"text": [""], "answer_start": [0]}, "an answer is empty"),
        ({"text": ["1999"], "answer_start": ["21"]}, "a text and a whole number"),
        ({"text": [None], "answer_start": [21]}, "a text and a whole number"),
        ({"text": ["1999"], "answer_start": [True]}, "a text and a whole number"),
        ({"text": ["1999"], "answer_start": []}, "as many starts as texts"),
        ({"text": ["1999"]}, "write them as"),
        (["1999"], "write them as"),
        (1999, "write them as"),
        ("1999,", "are no JSON"),
        ("1999", "write them as"),
    ],
)
def test_a_wrong_answer_is_one_line_with_file_and_row(answers, message):
    with pytest.raises(ValueError, match=f"^f.jsonl, data row 1: .*{message}") as error:
        read(make_split(answers))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"version": "1.1", "data": "x"}, "data is 'x'"),
        ({"version": "1.1", "data": [{"title": "t"}]}, r"article 1 has no 'paragraphs' of list, there is \['title'\]"),
        ({"version": "1.1", "data": [3]}, "article 1 has no 'paragraphs' of list, there is 3"),
        ({"data": [{"paragraphs": [{"context": "x"}]}]}, "article 1, paragraph 1 has no 'qas'"),
        ({"data": [{"paragraphs": [{"context": 1, "qas": []}]}]}, "no 'context' of str"),
        ({"data": [{"paragraphs": [{"context": "x", "qas": [{"id": 1}]}]}]}, "no 'question' of str"),
    ],
)
def test_another_nesting_is_one_line(tmp_path, contents, message):
    with pytest.raises(ValueError, match=message):
        read(write_json(tmp_path / "train.json", contents))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"no column 'answers'.*--label_column.*Did you mean 'answer'"):
        read(RawSplit("f.jsonl", {"context": ["c"], "question": ["q"], "answer": [None]}))


def test_a_missing_context_is_named_with_its_row():
    with pytest.raises(ValueError, match="data row 1 has no text in 'context'"):
        read(make_split(None, context=None))
