"""Sets of labels as files have them: lists of names or ids, JSON in cells, a 0/1 column for each; as marks of 0 or 1.

An empty list is a row without a label that is right as it is; an empty cell, or null, is a row of which nobody says.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.columns import check_column, find_label_column, find_text_columns, parse_number, shorten
from layer_distillation.tasks.gold_labels import (
    NO_COLUMN,
    drop_columns,
    find_gold_column,
    holds_texts_alone,
    name_labels,
    read_gold,
)
from layer_distillation.tasks.kinds.entry import ReadTask
from layer_distillation.tasks.kinds.texts import read_texts

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit

LOOKED_AT_CELLS = 1000  # of a column, to tell what it holds
LabelSet = frozenset[str] | None  # None: nobody says


def recognise(split: "RawSplit", arguments: DataArguments) -> str | None:
    if arguments.label_columns is not None:
        return "--label_columns"
    requested = None if arguments.label_column == NO_COLUMN else arguments.label_column
    try:
        column = find_label_column(split, requested)
    except ValueError:
        return None
    cells = [cell for cell in split.columns[column] if cell is not None and cell != ""][:LOOKED_AT_CELLS]
    if cells and all(isinstance(cell, list) or is_json_list(cell) for cell in cells):
        return f"{column!r} holds lists of labels"
    return None


def is_json_list(cell: Any) -> bool:
    return isinstance(cell, str) and cell.lstrip().startswith("[") and cell.rstrip().endswith("]")


def read(splits: Mapping[str, "RawSplit"], arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> ReadTask:
    if arguments.label_columns is not None:
        splits, read_split = dict(splits), read_marks
        columns = tuple(name.strip() for name in arguments.label_columns.split(","))
        check_columns(columns)
    else:
        splits, column = find_labels(dict(splits), arguments, bool(teacher_labels))
        columns, read_split = (column,), read_lists

    def read_sets(name: str, may_lack: bool) -> list[LabelSet]:
        return read_split(splits[name], columns, may_lack)

    sets, gold = read_gold(splits, read_sets, teacher_labels)
    check_labelled(gold, sets)
    names = list(columns) if arguments.label_columns else name_labels(gold, column, sets, teacher_labels, "labels")
    texts = {name: drop_columns(split, columns) for name, split in splits.items()}
    text_columns = find_text_columns(texts["train"], columns[0], arguments.text_columns)
    rows = {
        name: read_texts(split, text_columns) | {"labels": [mark_labels(own, names) for own in sets[name]]}
        for name, split in texts.items()
    }
    return ReadTask(text_columns, names, rows, dict.fromkeys(text_columns, "string") | {"labels": ["float32"]})


def find_labels(
    splits: dict[str, "RawSplit"], arguments: DataArguments, has_teacher: bool
) -> tuple[dict[str, "RawSplit"], str | None]:
    """As `find_gold_column`; without a teacher labels are needed."""
    if not has_teacher:
        return splits, find_label_column(splits["train"], arguments.label_column)
    holds_no_other = partial(holds_texts_alone, requested_texts=arguments.text_columns)
    return find_gold_column(splits, arguments.label_column, True, holds_no_other)


def read_lists(split: "RawSplit", columns: tuple[str | None], may_lack: bool) -> list[LabelSet]:
    [column] = columns
    if may_lack and column not in split.columns:
        return [None] * len(next(iter(split.columns.values())))
    names = split.element_names.get(column)
    cells = split.columns[check_column(split, column, "--label_column")]
    return [read_list(cell, f"{split.origin}, data row {row}", names) for row, cell in enumerate(cells, start=1)]


def read_list(cell: Any, origin: str, names: list[str] | None) -> LabelSet:
    """ValueError where a cell is no list of names or ids."""
    if cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell:
        return None
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError as error:
            raise ValueError(
                f'{origin} has the labels {shorten(cell)}, which are no JSON ({error.msg}): write ["one", "two"], and '
                "[] for none."
            ) from error
    if not isinstance(cell, list) or not all(type(label) in (str, int) for label in cell):
        raise ValueError(f"{origin} has the labels {shorten(cell)}: give a list of names or of whole numbers.")
    if names is not None and (wrong := [label for label in cell if label not in range(len(names))]):
        raise ValueError(f"{origin} has the label {wrong[0]}, and the data name {len(names)}: count them from 0.")
    found = [str(label).strip() if names is None else names[label] for label in cell]
    if "" in found:
        raise ValueError(f"{origin} has a label without a name among {shorten(cell)}: name it, or drop it.")
    return frozenset(found)


def check_columns(columns: Sequence[str]) -> None:
    if len(set(columns)) < len(columns) or len(columns) < 2:
        raise ValueError(f"--label_columns {','.join(columns)}: name two columns at least, each once.")


def read_marks(split: "RawSplit", columns: Sequence[str], may_lack: bool) -> list[LabelSet]:
    """Of a column for each label, which holds 1 where a row has it and 0 where it has not."""
    if may_lack and not set(columns) & split.columns.keys():
        return [None] * len(next(iter(split.columns.values())))
    cells = zip(*(split.columns[check_column(split, column, "--label_columns")] for column in columns), strict=True)
    return [
        read_row_of_marks(dict(zip(columns, row, strict=True)), f"{split.origin}, data row {number}")
        for number, row in enumerate(cells, start=1)
    ]


def read_row_of_marks(cells: Mapping[str, Any], origin: str) -> LabelSet:
    empty = [column for column, cell in cells.items() if cell is None or (isinstance(cell, str) and not cell.strip())]
    if len(empty) == len(cells):
        return None
    marks = {column: int(cell) if isinstance(cell, bool) else parse_number(cell) for column, cell in cells.items()}
    for column, mark in marks.items():
        if mark not in (0, 1):
            raise ValueError(
                f"{origin} has {shorten(cells[column])} in the label column {column!r}: give 1 where a row has the "
                "label and 0 where it has not."
            )
    return frozenset(column for column, mark in marks.items() if mark == 1)


def check_labelled(splits: Mapping[str, "RawSplit"], sets: Mapping[str, list[LabelSet]]) -> None:
    for name in splits:
        labels = sets[name]
        unlabelled = [row for row, label_set in enumerate(labels, start=1) if label_set is None]
        if name == "train" and len(unlabelled) == len(labels):
            raise ValueError(f"{splits[name].origin} has no labelled row: fill the labels in ([] where none is right).")
        if name not in ("train", "test") and unlabelled:
            raise ValueError(
                f"{splits[name].origin}: {len(unlabelled)} of {len(labels)} rows have no labels, the first is data row "
                f"{unlabelled[0]}: drop them or label them; write [] where no label is right."
            )


def mark_labels(label_set: LabelSet, label_names: Sequence[str]) -> list[float]:
    if label_set is None:
        return [float("nan")] * len(label_names)
    return [float(name in label_set) for name in label_names]


def is_missing(labels: Sequence[float]) -> bool:
    return any(mark != mark for mark in labels)


def make_unlabelled(columns: Mapping[str, list], label_names: Sequence[str]) -> list[list[float]]:
    return [mark_labels(None, label_names) for _ in next(iter(columns.values()))]


def find_present(labels: Sequence[Sequence[float]]) -> set[int]:
    return {index for marks in labels for index, mark in enumerate(marks) if mark == 1}


def move_label(labels: Sequence[float], places: Mapping[int, int], num_classes: int) -> list[float]:
    moved = [float("nan") if is_missing(labels) else 0.0] * num_classes
    for index, mark in enumerate(labels):
        moved[places[index]] = mark
    return moved
