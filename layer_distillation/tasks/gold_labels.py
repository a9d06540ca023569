"""Gold labels, or that there are none: a training file without any is learned from the teacher alone.

Entry: `find_gold_column`; then `read_labels`, or of kinds with several names to a row `read_gold`, `name_labels`.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.columns import LABEL_COLUMNS, find_label_column, find_text_columns
from layer_distillation.tasks.labels import IGNORED_LABEL, encode_labels, list_labels, show_some, sort_names

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit  # seconds that a comparison does without

logger = logging.getLogger(__name__)

NO_COLUMN = "none"  # of --label_column: there is none, whatever else the file holds


def find_gold_column(
    splits: dict[str, "RawSplit"],
    requested: str | None,
    is_expected: bool,
    holds_no_other: Callable[["RawSplit"], bool],
    known: Sequence[str] = LABEL_COLUMNS,
    find: Callable[["RawSplit", str | None], str] = find_label_column,
) -> tuple[dict[str, "RawSplit"], str | None]:
    """The label column, None where no row has one; and the splits, of which the training rows have lost it where the
    user says that they have none. One that is empty in all training rows makes way for that of other rows.

    Args:
        is_expected: nothing but the files says that there is none. Then it depends on `holds_no_other`: whether there
            is no column that may be a label column of another name.
        known: what label columns are called.
        find: that of some rows, which have one; ValueError where it cannot be told.
    """
    named = known if requested in (None, NO_COLUMN) else (requested,)
    if says_none(requested, splits["train"]):
        splits, requested, is_expected = splits | {"train": drop_columns(splits["train"], named)}, None, False
    train, others = splits["train"], [split for name, split in splits.items() if name != "train"]
    elsewhere = [name for split in others for name in named if name in split.columns]
    is_missing = not any(name in train.columns for name in named) and (requested is None or elsewhere)
    if is_missing and is_expected:
        is_missing = holds_no_other(train)
    if is_missing:
        return splits, next(iter(elsewhere), None)
    column = find(train, requested)
    return splits, elsewhere[0] if elsewhere and column not in elsewhere and is_empty(train.columns[column]) else column


def is_empty(cells: Sequence[Any]) -> bool:
    return all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in cells)


def says_none(requested: str | None, train: "RawSplit") -> bool:
    """Whether the user says that no training row has a gold label."""
    return requested == NO_COLUMN and NO_COLUMN not in train.columns


def holds_texts_alone(split: "RawSplit", requested_texts: str | None) -> bool:
    """False too where it is not clear which columns are texts: then the label column is what has to be named."""
    try:
        return not set(split.columns) - set(find_text_columns(split, None, requested_texts))
    except ValueError:
        return False


def drop_columns(split: "RawSplit", names: Iterable[str]) -> "RawSplit":
    return replace(split, columns={name: values for name, values in split.columns.items() if name not in names})


def read_labels(
    splits: dict[str, "RawSplit"], label_column: str | None, kind: str | None, teacher_labels: Sequence[str]
) -> tuple[list[str] | None, dict[str, list[int] | list[float]]]:
    """As `encode_labels`, for training rows of which perhaps none has a label. What labels there are then is said by
    the evaluation rows' or, where none of these has one either, by the teacher.

    Args:
        teacher_labels: the names of its classes, one of a regression, none where nobody knows a teacher.

    Raises:
        ValueError: there is no label and no teacher, or the labels that are there cannot be meant so.
    """
    found = {name: label_column in split.columns and any_label(split, label_column) for name, split in splits.items()}
    if found["train"] or not teacher_labels:
        return encode_labels(splits, label_column or "label", kind)
    gold = {name: splits[name] for name in choose_gold(found, teacher_labels)}
    names: list[str] | None = list(teacher_labels) if len(teacher_labels) > 1 else None
    encoded: dict[str, list[Any]] = {}
    if gold:
        deciding = join_labels(list(gold.values()), label_column)
        names, encoded = encode_labels({"train": deciding, **gold}, label_column, kind)
    no_label = math.nan if names is None else IGNORED_LABEL
    none = {name: [no_label] * len(next(iter(split.columns.values()))) for name, split in splits.items()}
    return names, none | {name: encoded[name] for name in gold}


def read_gold(
    splits: Mapping[str, "RawSplit"],
    read: Callable[[str, bool], list[Collection[str] | None]],
    teacher_labels: Sequence[str],
) -> tuple[dict[str, list[Collection[str] | None]], dict[str, "RawSplit"]]:
    """By split the labels of its rows, None of a row without; and the splits that have to have some.

    Args:
        read: those of a split, by its name and whether it may lack the column: a test file may, the training file where
            there is a teacher and, where it has no label then, all others.
    """
    labels = {"train": read("train", bool(teacher_labels))}
    may_lack = bool(teacher_labels) and all(row is None for row in labels["train"])
    labels |= {name: read(name, may_lack or name == "test") for name in splits if name != "train"}
    has_any = {name: any(row is not None for row in rows) for name, rows in labels.items()}
    return labels, {name: splits[name] for name in choose_gold(has_any, teacher_labels)}


def choose_gold(has_any: Mapping[str, bool], teacher_labels: Sequence[str]) -> list[str]:
    """The splits that have to have gold labels: of training rows without any, which a teacher answers, those that do;
    else all.

    Args:
        has_any: by split whether any row has a gold label.
    """
    if has_any["train"] or not teacher_labels:
        return list(has_any)
    gold = [name for name, found in has_any.items() if found]
    where = f"; gold labels are in {', '.join(gold)} alone" if gold else ""
    logger.info("no training row has a gold label: the student learns from the teacher alone%s", where)
    return gold


def name_labels(
    splits: Mapping[str, "RawSplit"],
    column: str | None,
    found: Mapping[str, Sequence[Collection[str] | None]],
    teacher_labels: Sequence[str],
    what: str,
) -> list[str]:
    """In their order: the data's own, else by name (numbers by size); of rows without any the teacher's.

    Args:
        splits: those that have gold labels; where the training rows have none, all the others decide.
        found: by split the names in each row.
        what: they are, in the plural.

    Raises:
        ValueError: an evaluation row has a name that no training row has, or there are not two.
    """
    if not splits:
        return list(teacher_labels)
    deciding = ["train"] if "train" in splits else list(splits)
    own = [splits[name].element_names.get(column) for name in deciding]
    names = next(filter(None, own), None)
    known = set(names or ()).union(*(row for name in deciding for row in found[name] if row))
    origin = splits[deciding[0]].origin
    for name, split in splits.items():
        if unknown := set().union(*(row for row in found[name] if row)) - known:
            raise ValueError(
                f"{split.origin} has {what} that {origin} lacks: {show_some(unknown)}: correct them, drop their rows "
                "or add such rows to the training data."
            )
    if len(known) < 2:
        raise ValueError(
            f"{origin} has {len(known)} {what} in {column!r} ({show_some(known)}): give rows of two at least."
        )
    return names or sort_names(known)


def any_label(split: "RawSplit", label_column: str) -> bool:
    return any(label is not None for label in list_labels("test", split, label_column))


def join_labels(splits: Sequence["RawSplit"], label_column: str) -> "RawSplit":
    """The label columns of several splits as one, which decides of what kind they are."""
    values = [value for split in splits for value in split.columns[label_column]]
    bare = frozenset.intersection(*(split.bare_columns for split in splits))
    return replace(splits[0], columns={label_column: values}, bare_columns=bare)
