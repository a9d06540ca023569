"""Rows of kinds that files write otherwise, several files of which one differs, and flags of one kind on another."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value

from layer_distillation.teachers.answers import AnswerSupply
from strange_inputs import Accepted, StrangeInput, check_outcome, make_flags, try_input
from test_strange_kinds import (
    CHOICE,
    CONTEXT,
    LABELS,
    MORE_LABELS,
    MORE_TAGS,
    NOTHING_TO_TRAIN_BY,
    QUESTION,
    SQUAD,
    TAGS,
    TRAINED,
    change,
    make_answers,
)
from tiny_kinds import TINY_KINDS, make_model, name_outputs
from tiny_project import write_teacher, write_tokenizer

Contents = list[dict] | str | Dataset | None


def write_file(path: Path, contents: Contents) -> Path:
    if isinstance(contents, Dataset):
        path = path.with_suffix(".parquet")
        contents.to_parquet(str(path))
        return path
    path.write_text(contents if isinstance(contents, str) else "".join(json.dumps(row) + "\n" for row in contents))
    return path


def write_files(
    folder: Path,
    train: Contents,
    validation: Contents = None,
    test: Contents = None,
    unlabelled: Contents = None,
    ending: str = "jsonl",
    unlabelled_ending: str = "jsonl",
    teacher: str | None = None,
    **flags: object,
) -> list[str]:
    """The flags of a run; `teacher` is a kind whose tiny model teaches, with another tokenizer than the encoder's."""
    files = {"train_file": (train, ending), "validation_file": (train if validation is None else validation, ending)}
    files |= {"test_file": (test, ending), "unlabeled_file": (unlabelled, unlabelled_ending)}
    for name, (contents, own_ending) in files.items():
        flags[name] = None if contents is None else write_file(folder / f"{name}.{own_ending}", contents)
    if "soft_label_columns" in flags:
        flags["student_source_model"] = write_teacher(folder / "encoder", has_head=False)
    if teacher is not None:
        flags |= {"student_source_model": write_teacher(folder / "encoder", has_head=False)}
        flags |= {"teacher_model_name_or_path": write_other(folder / "teacher", teacher)}
        flags["allow_untrained_teacher"] = None
    return make_flags(folder, **flags)


def write_other(folder: Path, kind: str) -> Path:
    tiny = TINY_KINDS[kind]
    make_model(tiny.model_class, **tiny.config | name_outputs(["B-c", "B-n", "O"])).save_pretrained(folder)
    write_tokenizer(folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["red"], vocabulary["ball"] = vocabulary["ball"], vocabulary["red"]
    path.write_text(json.dumps(tokenizer))
    return folder


def refuse(name: str, remedy: str, train: Contents, **options: Any) -> StrangeInput:
    return StrangeInput(name, functools.partial(write_files, train=train, **options), remedy)


def accept(name: str, train: Contents, expected: list, split: str = "train", **options: Any) -> StrangeInput:
    """`expected` are the labels of a split before they are tokens', where a kind has these."""
    return StrangeInput(
        name, functools.partial(write_files, train=train, **options), check=lambda run: check(run, split, expected)
    )


def check(accepted: Accepted, split: str, expected: list) -> str:
    data = accepted.run.data
    rows = {**dict(data.list_splits()), **data.raw}.get(split)
    labels = (data.unlabelled if rows is None else rows)["labels"][:]
    assert labels == expected
    return f"{data.kind.name}: {labels}"


def check_same_choices(accepted: Accepted) -> str:
    data = accepted.run.data
    assert data.unlabelled["input_ids"][0] == data.train["input_ids"][0]
    return "the choices that training rows have"


def check_read_choices(accepted: Accepted) -> str:
    teacher, arguments = accepted.run.teacher, accepted.arguments.teacher
    supply = AnswerSupply(teacher.answers, teacher.model.config, arguments, torch.device("cpu"))
    assert supply.get_evaluation_logits(accepted.run.data)["validation"].shape == (1, 2)
    return "a number for each choice"


def check_read_words(accepted: Accepted) -> str:
    teacher, arguments = accepted.run.teacher, accepted.arguments.teacher
    supply = AnswerSupply(teacher.answers, teacher.model.config, arguments, torch.device("cpu"))
    assert supply.get_evaluation_logits(accepted.run.data)["validation"].shape == (2, 5, 3)
    return "a number for each word and tag"


def name_elements(texts: str, labels: str, names: list[str], rows: dict[str, list]) -> Dataset:
    """Columns of lists, that of labels with the names of its numbers."""
    text = List(Value("string")) if texts == "tokens" else Value("string")
    return Dataset.from_dict(rows, features=Features({texts: text, labels: List(ClassLabel(names=names))}))


def drop(row: dict, name: str) -> list[dict]:
    return [{other: value for other, value in row.items() if other != name}]


NAMED_TAGS = name_elements("tokens", "tags", ["O", "B-c"], {"tokens": [["the", "red"]], "tags": [[0, 1]]})
NAMED_LABELS = name_elements("text", "labels", ["c", "n"], {"text": ["red ball", "car"], "labels": [[0, 1], [1]]})
ANSWERS = {"doc_stride": 2, "max_length": 16}
NO_ANSWER = {"text": [], "answer_start": []}
IMPOSSIBLE_CSV = (
    'question,context,answers,is_impossible\nthe ball,the ball is red,"{""text"": [""red""], ""answer_start"": [12]}",'
    'False\na car,the ball is red,"{""text"": [], ""answer_start"": []}",True\n'
)
SWAG = {"sent1": "the ball", "sent2": "a", "ending0": "red", "ending1": "blue", "label": 0}
LISTED_SWAG = {"sent1": "the ball", "sent2": "a", "endings": ["red", "blue"], "label": 0}
NUMBERED = {"question": "the ball", "choices": {"text": ["red", "blue", "a"], "label": ["1", "2", "3"]}}
NAMED = {"question": "the ball", "choices": [{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}]}
CHOICES_CSV = 'question,choices,label\nthe ball,"[""red"", ""blue""]",1\na car,"[""a"", ""the""]",0\n'
SOFT = [{"text": "the ball", "label": "a", "p": [0.9, 0.1]}, {"text": "a car", "label": "b", "p": [0.2, 0.8]}]
SOFT_FLAGS = {"soft_label_columns": "p", "teacher_model_name_or_path": None, "allow_untrained_teacher": None}
HALF = '{"tokens": ["a", "b\\ud800"], "tags": ["O", "B-c"]}\n'
OTHER_TOKENS = "another tokenizer than the teacher .* give a source with the teacher's tokenizer"

MORE_KIND_INPUTS = [
    # ---- tags ----
    refuse("A word whose tag is -100", "only whole rows may have none", [TAGS | {"tags": [0, -100, 1]}]),
    refuse("A tag by a number below 0", "id from 0 on", [TAGS | {"tags": [0, -1, 1]}]),
    refuse(
        "Tags of the validation that the names of the training data lack",
        "lacks: 'B-x'",
        NAMED_TAGS,
        validation=[{"tokens": ["a"], "tags": ["B-x"]}],
    ),
    refuse(
        "Numbers of tags beside names",
        "lacks: '0', '1'",
        NAMED_TAGS,
        validation=[{"tokens": ["a", "car"], "tags": [0, 1]}],
    ),
    refuse("No word in any validation row", "no row with a word", [TAGS], validation=[{"tokens": [], "tags": []}]),
    accept(
        "A CSV's cell of blanks for tags",
        'tokens,tags\n"[""a"",""b""]","[""O"",""B-c""]"\n"[""a""]"," "\n',
        [[-100, 1, 0, -100], [-100, -100, -100]],
        ending="csv",
        validation='tokens,tags\n"[""a"",""b""]","[""O"",""B-c""]"\n',
    ),
    accept(
        "Words with a space that does not break", "10\u00a0000 B-c\nred O\n", [[-100, 0, -100, 1, -100]], ending="conll"
    ),
    refuse("Half of a character in a list", "half of a surrogate pair in 'tokens'", HALF),
    refuse("Tags without gold labels", NOTHING_TO_TRAIN_BY, [TAGS, MORE_TAGS], label_column="none", **TRAINED),
    StrangeInput(
        "Tags by a teacher of other tokens",
        functools.partial(write_files, train=[TAGS, MORE_TAGS], teacher="token-classification"),
        check=check_read_words,
    ),
    # ---- several labels ----
    refuse(
        "Labels of the validation that the names of the training data lack",
        "lacks: 'q'",
        NAMED_LABELS,
        validation=[{"text": "a", "labels": ["q"]}],
    ),
    refuse("Numbers of labels beside names", "lacks: '1'", NAMED_LABELS, validation=[{"text": "a", "labels": [1]}]),
    accept(
        "Labels that look like numbers",
        [LABELS | {"labels": ["²", "1"]}, MORE_LABELS | {"labels": ["1"]}],
        [[1, 1], [1, 0]],
    ),
    # ---- questions ----
    accept(
        "A test file without answers", [QUESTION], [[-100]], split="test", test=drop(QUESTION, "answers"), **ANSWERS
    ),
    refuse(
        "A validation row without answers",
        "1 of 2 rows have no label, the first is data row 2",
        [QUESTION],
        validation=change(QUESTION, answers=None),
        **ANSWERS,
    ),
    accept("is_impossible in a CSV", IMPOSSIBLE_CSV, [[12, 15], []], ending="csv", **ANSWERS),
    refuse("is_impossible that is a word", "write true or false", [QUESTION | {"is_impossible": "perhaps"}], **ANSWERS),
    refuse("is_impossible, and an answer", "correct one of them", [QUESTION | {"is_impossible": True}], **ANSWERS),
    refuse(
        "v1.1 by the flag, v2 by the file",
        "has no answer: drop it",
        [QUESTION, QUESTION | {"is_impossible": True, "answers": NO_ANSWER}],
        version_2_with_negative=False,
        **ANSWERS,
    ),
    refuse(
        "Answers that no window holds",
        "no answer of 1 rows lies whole in a window",
        [QUESTION | {"answers": make_answers(CONTEXT, 0)}],
        max_length=8,
        doc_stride=1,
    ),
    accept(
        "SQuAD's JSON as unlabelled rows",
        [QUESTION],
        [[-100, -100]],
        split="unlabelled",
        unlabelled=json.dumps(SQUAD),
        unlabelled_ending="json",
        **ANSWERS,
    ),
    accept(
        "Texts in a column called paragraphs", "paragraphs,label\nthe red ball,a\nthe car,b\n", [0, 1], ending="csv"
    ),
    refuse("SQuAD's JSON without a question", "has no rows", '{"data": [{"paragraphs": []}]}', ending="json"),
    refuse("Class weights of answers", "places are no classes", [QUESTION], class_weights="balanced", **ANSWERS),
    refuse("Answers by a teacher of other tokens", OTHER_TOKENS, [QUESTION], teacher="question-answering", **ANSWERS),
    # ---- choices ----
    refuse(
        "A validation row without a label", "1 of 2 rows have no label", [CHOICE], validation=change(CHOICE, label=None)
    ),
    accept("Choices with numbers for names", [NUMBERED | {"label": 2}], [1]),
    refuse("A place where the choices have numbers", "give a name", [NUMBERED | {"label": 0}]),
    accept("Choices with their names", [NAMED | {"label": "B"}], [1]),
    accept("Choices as JSON in a CSV", CHOICES_CSV, [1, 0], ending="csv"),
    StrangeInput(
        "SWAG's columns as unlabelled rows",
        functools.partial(write_files, train=[SWAG], unlabelled=drop(SWAG, "label")),
        check=check_same_choices,
    ),
    StrangeInput(
        "Unlabelled endings that go on from a sentence",
        functools.partial(write_files, train=[LISTED_SWAG], unlabelled=drop(LISTED_SWAG, "label")),
        check=check_same_choices,
    ),
    refuse("Class weights of choices", "places are no classes", [CHOICE], class_weights="1,2"),
    StrangeInput(
        "Choices by a teacher of other tokens",
        functools.partial(write_files, train=[CHOICE], teacher="multiple-choice"),
        check=check_read_choices,
    ),
    # ---- soft labels ----
    refuse(
        "Soft labels of more classes in the unlabelled rows",
        "has 3 soft labels to a row, and the training rows",
        SOFT,
        unlabelled=[{"text": "a", "p": [0.2, 0.3, 0.5]}],
        **SOFT_FLAGS,
    ),
]


@pytest.mark.parametrize("case", MORE_KIND_INPUTS, ids=lambda case: case.name)
def test_rows_of_kinds_in_other_forms_and_files_are_read_or_refused_in_one_line(case, tmp_path):
    check_outcome(case, try_input(case.write(tmp_path)))
