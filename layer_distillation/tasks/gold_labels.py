"""Gold labels, or that there are none: a training file without any is learned from the teacher alone.

Entry: `find_gold_column`, `read_labels`.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.columns import LABEL_COLUMNS, find_label_column, find_text_columns
from layer_distillation.tasks.labels import IGNORED_LABEL, encode_labels, list_labels

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit  # seconds that a comparison does without

logger = logging.getLogger(__name__)

NO_COLUMN = "none"  # of --label_column: there is none, whatever else the file holds


def find_gold_column(
    splits: dict[str, "RawSplit"], requested: str | None, requested_texts: str | None, is_expected: bool
) -> tuple[dict[str, "RawSplit"], str | None]:
    """The label column, None where no row has one; and the splits, of which the training rows have lost it where the
    user says that they have none.

    Args:
        is_expected: nothing but the files says that there is none. Then a column that is neither label nor text is
            taken for a label column of another name.
    """
    named = LABEL_COLUMNS if requested in (None, NO_COLUMN) else (requested,)
    if requested == NO_COLUMN and NO_COLUMN not in splits["train"].columns:
        splits, requested, is_expected = splits | {"train": drop_columns(splits["train"], named)}, None, False
    train, elsewhere = splits["train"], [name for split in splits.values() for name in named if name in split.columns]
    is_missing = not any(name in train.columns for name in named) and (requested is None or elsewhere)
    if is_missing and is_expected:
        is_missing = holds_texts_alone(train, requested_texts)
    return splits, next(iter(elsewhere), None) if is_missing else find_label_column(train, requested)


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
    gold = {name: split for name, split in splits.items() if found[name]}
    names: list[str] | None = list(teacher_labels) if len(teacher_labels) > 1 else None
    encoded: dict[str, list[Any]] = {}
    if gold:
        deciding = join_labels(list(gold.values()), label_column)
        names, encoded = encode_labels({"train": deciding, **gold}, label_column, kind)
    no_label = math.nan if names is None else IGNORED_LABEL
    none = {name: [no_label] * len(next(iter(split.columns.values()))) for name, split in splits.items()}
    where = f"; gold labels are in {', '.join(gold)} alone" if gold else ""
    logger.info("no training row has a gold label: the student learns from the teacher alone%s", where)
    return names, none | {name: encoded[name] for name in gold}


def any_label(split: "RawSplit", label_column: str) -> bool:
    return any(label is not None for label in list_labels("test", split, label_column))


def join_labels(splits: Sequence["RawSplit"], label_column: str) -> "RawSplit":
    """The label columns of several splits as one, which decides of what kind they are."""
    values = [value for split in splits for value in split.columns[label_column]]
    bare = frozenset.intersection(*(split.bare_columns for split in splits))
    return replace(splits[0], columns={label_column: values}, bare_columns=bare)
