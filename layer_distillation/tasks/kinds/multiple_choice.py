"""Multiple choice: a question and several choices to a row, one of them right. The worked example of a kind in a file.

Read from every form that is common:
- `question` (or another text) and `choices`: a list of texts, {"text": [...], "label": ["A", ...]}, or a list of
  {"text": ..., "label": "A"}; in a CSV the JSON of one;
- numbered columns, each one choice: `ending0` ... of SWAG, whose texts go on from `sent2`; `choice1`, `choice2` ...
The right one is an index from 0 on, or the letter or name that the row itself gives it. Every row has as many choices.

A model reads each choice with the question, by itself, and gives it a number; the numbers of a row are its logits,
(choices,). From there on all is as for the classes of one text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.columns import check_column, check_texts, parse_cell, shorten
from layer_distillation.tasks.gold_labels import find_gold_column, read_gold
from layer_distillation.tasks.kinds.entry import LabelNames, ReadTask
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.kinds.texts import check_labelled, check_names
from layer_distillation.tasks.labels import IGNORED_LABEL

if TYPE_CHECKING:
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.data import TaskData
    from layer_distillation.tasks.files import RawSplit

QUESTION_COLUMNS = ("question", "question_stem", "sent1", "premise", "context", "text")
CHOICES_COLUMNS = ("choices", "options", "endings")
LABEL_COLUMNS = ("label", "labels", "answerKey", "answer")
NUMBERED = re.compile(r"(ending|choice|option|answer)_?\d+")
BEGINNING = "sent2"  # of SWAG: every ending goes on from it
FEWEST_CHOICES = 2
NAMES_OF_NONE = (None, "", IGNORED_LABEL, -1, "-1")


# ---- the columns -------------------------------------------------------------------------------------------------


class ChoiceColumns(NamedTuple):
    """`choices` is one column of lists, or one column for each choice; `beginning` stands before every choice."""

    question: str
    choices: tuple[str, ...]
    label: str
    beginning: str | None = None


class ChoiceRow(NamedTuple):
    question: str
    choices: list[str]
    label: int  # -100: not known


def recognise(split: "RawSplit", arguments: DataArguments) -> str | None:
    choices = list_choice_columns(split)
    if not choices or not any(name in split.columns for name in QUESTION_COLUMNS):
        return None
    return f"choices in {', '.join(map(repr, choices))}"


def list_choice_columns(split: "RawSplit") -> tuple[str, ...]:
    listed = [name for name in CHOICES_COLUMNS if name in split.columns and is_nested(split.columns[name])]
    numbered = sorted((name for name in split.columns if NUMBERED.fullmatch(name)), key=read_number)
    return (listed[0],) if listed else tuple(numbered) if len(numbered) >= FEWEST_CHOICES else ()


def is_nested(values: Sequence[Any]) -> bool:
    return any(isinstance(parse_cell(value), (list, Mapping)) for value in values)


def read_number(name: str) -> int:
    return int(re.search(r"\d+", name).group())


def find_choice_columns(split: "RawSplit", text_columns: str | None, label_column: str | None) -> ChoiceColumns:
    """The requested columns, `text_columns` being question,choices; otherwise those of known names."""
    if text_columns is not None:
        question, *choices = [name.strip() for name in text_columns.split(",")]
        if not choices:
            raise ValueError(f"--text_columns {text_columns}: name the question and the choices, as question,choices.")
        for name in (question, *choices):
            check_column(split, name, "--text_columns")
        beginning = None
    else:
        choices = list_choice_columns(split)
        question = next((name for name in QUESTION_COLUMNS if name in split.columns), None)
        if question is None or not choices:
            raise ValueError(
                f"{split.origin} has the columns {list(split.columns)}: choices need a question and a column of lists, "
                "or numbered columns (ending0, ending1, ...); name them by --text_columns question,choices."
            )
        beginning = BEGINNING if question == "sent1" and BEGINNING in split.columns else None
    if label_column is not None:
        label = label_column
    else:
        label = next((name for name in LABEL_COLUMNS if name in split.columns), LABEL_COLUMNS[0])
    return ChoiceColumns(question, tuple(choices), label, beginning)


# ---- the rows ----------------------------------------------------------------------------------------------------


def read(splits: Mapping[str, "RawSplit"], arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> ReadTask:
    splits, columns = find_columns(dict(splits), arguments, bool(teacher_labels))
    rows = read_choices(splits, columns, teacher_labels)
    names = name_texts(columns)
    check_names(names)
    return ReadTask(
        text_columns=names,
        label_names=[str(choice) for choice in range(len(rows["train"][0].choices))],
        columns={
            name: dict(zip((*names, "labels"), map(list, zip(*split, strict=True)), strict=True))
            for name, split in rows.items()
        },
        features={names[0]: "string", names[1]: ["string"], "labels": "int64"},
    )


def find_columns(
    splits: dict[str, "RawSplit"], arguments: DataArguments, has_teacher: bool
) -> tuple[dict[str, "RawSplit"], ChoiceColumns]:
    """As `find_gold_column`, with all columns; without a teacher labels are needed."""
    columns = find_choice_columns(splits["train"], arguments.text_columns, arguments.label_column)
    if not has_teacher:
        return splits, columns

    def find(train: "RawSplit", requested: str | None) -> str:
        return check_column(train, columns.label, "--label_column, which is none where no row has one")

    holds_no_other = partial(holds_no_labels, columns=columns)
    splits, label = find_gold_column(splits, arguments.label_column, True, holds_no_other, LABEL_COLUMNS, find)
    return splits, columns._replace(label=label)


def holds_no_labels(split: "RawSplit", columns: ChoiceColumns) -> bool:
    """Whether no further column has in every row what may be the right choice."""
    others = split.columns.keys() - {columns.question, columns.beginning, *columns.choices}
    return not any(may_be_labels(split, columns._replace(label=name)) for name in others)


def may_be_labels(split: "RawSplit", columns: ChoiceColumns) -> bool:
    try:
        return all(row.label != IGNORED_LABEL for row in read_split(split, columns, may_lack_labels=False))
    except ValueError:
        return False


def read_choices(
    splits: Mapping[str, "RawSplit"], columns: ChoiceColumns, teacher_labels: Sequence[str]
) -> dict[str, list[ChoiceRow]]:
    """The rows of every split; of them only "test" may lack the label column, or those that a teacher answers.

    Raises ValueError, one line that names file and row, for whatever is wrong.
    """
    rows = {}

    def read_labels(name: str, may_lack: bool) -> list[int | None]:
        rows[name] = read_split(splits[name], columns, may_lack)
        return [None if row.label == IGNORED_LABEL else row.label for row in rows[name]]

    labels, gold = read_gold(splits, read_labels, teacher_labels)
    wanted = len(rows["train"][0].choices)
    for name, split in splits.items():
        check_numbers(rows[name], wanted, split.origin)
    if "train" in gold and not any(label is not None for label in labels["train"]):
        raise ValueError(f"{splits['train'].origin} has no labelled row: fill {columns.label!r} in.")
    check_labelled(gold, {name: [label is None for label in labels[name]] for name in gold})
    return rows


def read_split(split: "RawSplit", columns: ChoiceColumns, may_lack_labels: bool) -> list[ChoiceRow]:
    texts = (columns.question, *([columns.beginning] if columns.beginning else []))
    is_listed = len(columns.choices) == 1
    check_texts(split, texts if is_listed else (*texts, *columns.choices))
    for name in columns.choices:
        check_column(split, name, "--text_columns")
    num_rows = len(split.columns[columns.question])
    if columns.label in split.columns or not may_lack_labels:
        labels = split.columns[check_column(split, columns.label, "--label_column")]
    else:
        labels = [None] * num_rows
    rows = []
    for row in range(num_rows):
        where = f"{split.origin}, data row {row + 1}"
        if is_listed:
            texts, names = read_cell(split.columns[columns.choices[0]][row], where)
        else:
            texts, names = [split.columns[name][row] for name in columns.choices], None
        if columns.beginning:
            texts = [f"{split.columns[columns.beginning][row]} {text}".strip() for text in texts]
        label = read_label(labels[row], names, len(texts), where)
        rows.append(ChoiceRow(split.columns[columns.question][row], texts, label))
    return rows


def read_cell(cell: Any, where: str) -> tuple[list[str], list[str] | None]:
    """The texts, and what the row calls them where it does; see the module's docstring for the forms."""
    cell = parse_cell(cell)
    if isinstance(cell, list) and cell and all(isinstance(choice, Mapping) for choice in cell):
        cell = {name: [choice.get(name) for choice in cell] for name in ("text", "label") if name in cell[0]}
    texts, names = (cell.get("text"), cell.get("label")) if isinstance(cell, Mapping) else (cell, None)
    is_right = isinstance(texts, list) and len(texts) >= FEWEST_CHOICES and all(isinstance(text, str) for text in texts)
    if not is_right or (names is not None and len(names) != len(texts)):
        raise ValueError(f"{where}: choices are {shorten(cell)}: give a list of at least {FEWEST_CHOICES} texts")
    return texts, names and [str(name).strip() for name in names]


def read_label(label: Any, names: list[str] | None, num_choices: int, where: str) -> int:
    label = label.strip() if isinstance(label, str) else label
    if label in NAMES_OF_NONE or label != label:
        return IGNORED_LABEL
    if names is not None and str(label) in names:
        return names.index(str(label))
    if names is not None and all(map(str.isdecimal, names)):  # an index from 0 on would mean another one
        raise ValueError(f"{where}: the label is {shorten(label)}, and the row names its choices {names}: give a name")
    index = None
    if isinstance(label, str) and len(label) == 1 and label.isascii() and label.isalpha():
        index = ord(label.upper()) - ord("A")
    elif not isinstance(label, bool) and re.fullmatch(r"\d{1,9}(\.0)?", str(label)):
        index = int(float(label))
    if index is None or index >= num_choices:
        raise ValueError(
            f"{where}: the label is {shorten(label)}, and there are {num_choices} choices: give the right one's index "
            "from 0 on, or its letter from A on"
        )
    return index


def check_numbers(rows: Sequence[ChoiceRow], wanted: int, origin: str) -> None:
    """Rows of fewer would have to be filled up with choices that nobody gave, of which a model says something too."""
    for number, row in enumerate(rows, start=1):
        if len(row.choices) != wanted:
            raise ValueError(
                f"{origin}, data row {number} has {len(row.choices)} choices, the first training row has {wanted}: "
                "give every row as many, or drop those of another number"
            )


def read_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> dict[str, list]:
    """Of rows without labels."""
    columns = find_choice_columns(split, ",".join(text_columns), label_column="")
    rows = read_split(split, columns, may_lack_labels=True)
    return {text_columns[0]: [row.question for row in rows], text_columns[1]: [row.choices for row in rows]}


def arrange_unlabelled(split: "RawSplit", arguments: DataArguments) -> "RawSplit":
    """Rows without labels as those of training are read: the question, and each choice whole, in a list."""
    columns = find_choice_columns(split, arguments.text_columns, label_column="")
    rows = read_split(split, columns, may_lack_labels=True)
    used = {columns.question, *columns.choices, columns.beginning}
    others = {name: values for name, values in split.columns.items() if name not in used}
    names = name_texts(columns)
    texts = {names[0]: [row.question for row in rows], names[1]: [row.choices for row in rows]}
    return replace(split, columns=others | texts)


def name_texts(columns: ChoiceColumns) -> tuple[str, str]:
    return columns.question, columns.choices[0] if len(columns.choices) == 1 else CHOICES_COLUMNS[0]


# ---- tokens ------------------------------------------------------------------------------------------------------


def tokenize(
    rows: dict[str, list], data: "TaskData", tokenizer: "PreTrainedTokenizerBase", max_length: int | None
) -> dict[str, list]:
    """The tokenizer's columns, each with a list per choice: question and choice as a pair, the longer of them cut."""
    questions, choices = (rows[name] for name in data.text_columns)
    firsts = [question for question, texts in zip(questions, choices, strict=True) for _ in texts]
    seconds = [text for texts in choices for text in texts]
    encoding = tokenizer(firsts, seconds, truncation=max_length is not None, max_length=max_length, verbose=False)
    ends = [0]
    for texts in choices:
        ends.append(ends[-1] + len(texts))
    return {name: [values[start:end] for start, end in pairwise(ends)] for name, values in encoding.items()}


def make_collator(tokenizer: "PreTrainedTokenizerBase") -> "DataCollatorWithPadding":
    from layer_distillation.tasks.collators import ChoiceCollator  # seconds that a comparison does without

    return ChoiceCollator(tokenizer)


# ---- outputs, scores, words --------------------------------------------------------------------------------------


def check_metric(name: str, label_names: LabelNames) -> None:
    if name != "accuracy":
        raise ValueError(f"--metrics {name} cannot score choices, whose places mean nothing: leave it out.")


def write_call(record: "RunRecord", location: str, options: str) -> str:
    return (
        "import torch\n"
        "from transformers import AutoModelForMultipleChoice, AutoTokenizer\n"
        f"folder = {json.dumps(location, ensure_ascii=False)}\n"
        "model, tokenizer = AutoModelForMultipleChoice.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)\n"
        'question, choices = "...", ["...", "..."]\n'
        f'inputs = tokenizer([question] * len(choices), choices, padding=True, return_tensors="pt", {options})\n'
        "with torch.no_grad():\n"
        "    logits = model(**{name: values[None] for name, values in inputs.items()}).logits\n"
        "print(choices[logits.argmax()])"
    )


MULTIPLE_CHOICE = replace(
    TEXT_CLASSIFICATION,
    name="multiple-choice",
    auto_class="AutoModelForMultipleChoice",
    head_suffix="ForMultipleChoice",
    pipeline_tag="multiple-choice",
    recognise=recognise,
    read=read,
    takes_own_answers=False,
    read_texts=read_texts,
    tokenize=tokenize,
    make_collator=make_collator,
    get_problem_type=lambda label_names: None,
    list_default_metrics=lambda label_names: ("accuracy",),
    list_shown_beside=lambda label_names: ("accuracy",),
    check_metric=check_metric,
    describe_answer=lambda labels: f"which of the choices of a row is right, counted from 0 ({labels})",
    write_call=write_call,
    has_fixed_outputs=True,
    has_choices=True,
    arrange_unlabelled=arrange_unlabelled,
)
