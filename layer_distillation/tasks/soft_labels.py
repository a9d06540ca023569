"""Soft labels: a teacher's probabilities or logits that the user's own files bring, in columns.

A probability p becomes the logit log p, which is the teacher's own up to a constant of the row, and no softmax sees
that. One below `SMALLEST_PROBABILITY` counts as that: a 0 is what its writer rounded away, and log 0 is no number.

Entry: `take_soft_labels`, `name_classes`.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from layer_distillation.tasks.answer_flags import LOGITS, AnswerFlags
from layer_distillation.tasks.columns import check_column, parse_number, shorten
from layer_distillation.tasks.files import RawSplit
from layer_distillation.tasks.gold_labels import drop_columns
from layer_distillation.tasks.row_sampling import draw_rows

logger = logging.getLogger(__name__)

SMALLEST_PROBABILITY = 1e-6
SUM_TOLERANCE = 1e-3
SEPARATORS = "_-.: /"


@dataclass(frozen=True)
class SoftLabels:
    """Of the rows of every split that has them: logits (rows, classes), float32, in the order of the columns.

    `columns` are the names, one for each class; of a single column of lists, which names no class, that one.
    """

    columns: list[str] = field(default_factory=list)
    logits: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return next(iter(self.logits.values())).shape[1]

    def draw(self, limits: Mapping[str, int | None], seed: int) -> "SoftLabels":
        """Of the rows that `draw_split` draws with the same limits and seed."""
        drawn = {
            split: logits[draw_rows(len(logits), limits[split], seed)] if split in limits else logits
            for split, logits in self.logits.items()
        }
        return replace(self, logits=drawn)

    def reorder(self, places: Sequence[int]) -> "SoftLabels":
        """Class i becomes what column places[i] holds."""
        return replace(self, logits={split: logits[:, list(places)] for split, logits in self.logits.items()})


def take_soft_labels(splits: dict[str, RawSplit], flags: AnswerFlags) -> tuple[dict[str, RawSplit], SoftLabels]:
    """The splits without the columns of soft labels, and what these hold; evaluation splits need not have any.

    Raises:
        ValueError: a column is missing, or a row of them is no distribution (no finite numbers, of logits).
    """
    names = flags.soft_label_names
    if not names:
        return splits, SoftLabels()
    has_them = {
        split: split in ("train", "unlabelled") or any(name in raw.columns for name in names)
        for split, raw in splits.items()
    }
    logits = {split: read_logits(raw, names, flags.soft_label_kind) for split, raw in splits.items() if has_them[split]}
    widths = {splits[split].origin: rows.shape[1] for split, rows in logits.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"{names[0]!r} holds lists of {widths} numbers: give one for each class, of every row")
    return {split: drop_columns(raw, names) for split, raw in splits.items()}, SoftLabels(names, logits)


def check_width(soft: SoftLabels, others: SoftLabels, origin: str) -> None:
    """Raises ValueError where a file's lists are of other classes than those of the training rows."""
    if others.logits and others.num_classes != soft.num_classes:
        raise ValueError(
            f"{origin} has {others.num_classes} soft labels to a row, and the training rows have {soft.num_classes}: "
            "give one for each class"
        )


def read_logits(split: RawSplit, names: list[str], kind: str | None) -> np.ndarray:
    """(rows, classes), float32."""
    columns = [split.columns[check_column(split, name, "--soft_label_columns")] for name in names]
    rows = [read_list(cell, split, row) for row, cell in enumerate(columns[0], start=1)] if len(names) == 1 else None
    rows = rows or [list(cells) for cells in zip(*columns, strict=True)]
    numbers = [[read_number(cell, split, row) for cell in cells] for row, cells in enumerate(rows, start=1)]
    for row, values in enumerate(numbers, start=1):
        if len(values) != len(numbers[0]) or len(values) < 2:
            raise ValueError(
                f"{split.origin}, data row {row} has {len(values)} soft labels, and data row 1 has {len(numbers[0])}: "
                "give one for each class, two at least"
            )
    values = np.array(numbers)
    if kind == LOGITS:
        return values.astype(np.float32)
    check_probabilities(values, split)
    return np.log(values.clip(min=SMALLEST_PROBABILITY)).astype(np.float32)


def read_list(cell: Any, split: RawSplit, row: int) -> list[Any]:
    """A cell of a single column: a list, or in a CSV the JSON of one."""
    try:
        values = json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        values = None
    if isinstance(values, list):
        return values
    raise ValueError(
        f"{split.origin}, data row {row} has {shorten(cell)} as its soft labels: a single column holds lists, such as "
        "[0.1, 0.9]; name one column for each class with --soft_label_columns a,b"
    )


def read_number(cell: Any, split: RawSplit, row: int) -> float:
    number = parse_number(cell.strip() if isinstance(cell, str) else cell)
    if number is None:
        raise ValueError(
            f"{split.origin}, data row {row} has {shorten(cell)} among its soft labels: every row needs a finite "
            "number for each class; drop the row or fill it in"
        )
    return float(number)


def check_probabilities(values: np.ndarray, split: RawSplit) -> None:
    """Raises ValueError for the first row that is no distribution."""
    remedy = "correct it, or give --soft_label_kind logits where these are logits"
    for row in np.flatnonzero((values < 0).any(axis=1))[:1]:
        raise ValueError(
            f"{split.origin}, data row {row + 1} has the soft label {values[row].min():g}: a probability is not "
            f"negative; {remedy}"
        )
    sums = values.sum(axis=1)
    for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)[:1]:
        raise ValueError(
            f"{split.origin}, data row {row + 1} has soft labels that sum to {sums[row]:g}: probabilities sum to 1 "
            f"(within {SUM_TOLERANCE:g}); {remedy}"
        )


# ---- what the columns are called ---------------------------------------------------------------------------------


def name_classes(soft: SoftLabels) -> list[str]:
    """What the columns call the classes, where no gold label does: p_neg and p_pos stand for neg and pos."""
    if len(soft.columns) == 1:
        return [f"LABEL_{index}" for index in range(soft.num_classes)]
    return list_readings(soft.columns)[0]


def list_readings(columns: Sequence[str]) -> list[list[str]]:
    """The names that columns may give classes, the likeliest first: without a common beginning or end that a separator
    sets off, as they are, and without any part of a common beginning."""
    prefix, suffix = find_common_start(columns), find_common_start([name[::-1] for name in columns])[::-1]
    start = max((place + 1 for place, letter in enumerate(prefix) if letter in SEPARATORS), default=0)
    end = re.search(f"[{re.escape(SEPARATORS)}].*", suffix)
    plain = [name[start : len(name) - (len(end[0]) if end else 0)] for name in columns]
    readings = [plain, list(columns), *([name[length:] for name in columns] for length in range(1, len(prefix) + 1))]
    return [reading for reading in readings if all(reading) and len(set(reading)) == len(reading)]


def find_common_start(names: Sequence[str]) -> str:
    """The letters with which all of them begin."""
    same = 0
    while all(name[same : same + 1] == names[0][same : same + 1] != "" for name in names):
        same += 1
    return names[0][:same]
