"""Draws the rows of a split, and finds those that two splits share: pure functions, but for what they log.

Entry: `draw_split`, `warn_of_overlap`.
"""

import logging
from collections.abc import Mapping

from datasets import Dataset, Features, Value

from layer_distillation.tasks.files import RawSplit

logger = logging.getLogger(__name__)


def draw_split(
    split: RawSplit,
    text_columns: tuple[str, ...],
    labels: list[int] | list[float],
    limit: int | None,
    seed: int,
    first_index: int = 0,
) -> Dataset:
    """Texts, `labels` and `example_index`, from `first_index` on, of `limit` of the rows."""
    rows = draw_rows(len(labels), limit, seed)
    if limit is not None and limit > len(labels):
        logger.info("%s has %d rows, fewer than the %d asked for: all are used", split.origin, len(labels), limit)
    columns = {column: [split.columns[column][row] for row in rows] for column in text_columns}
    columns |= {"labels": [labels[row] for row in rows]}
    columns |= {"example_index": list(range(first_index, first_index + len(rows)))}
    types = {column: Value("string") for column in text_columns}
    types |= {"labels": Value("int64" if isinstance(labels[0], int) else "float32"), "example_index": Value("int64")}
    return Dataset.from_dict(columns, features=Features(types))


def draw_rows(row_count: int, limit: int | None, seed: int) -> list[int]:
    """The published experiment's draw, `shuffle(seed).select(range(limit))`; all rows, in order, where it is none."""
    rows = list(range(row_count))
    if limit is None or limit >= row_count:
        return rows
    return Dataset.from_dict({"row": rows}).shuffle(seed=seed).select(range(limit))["row"][:]


def warn_of_overlap(
    name: str, trained_on: Dataset, splits: Mapping[str, Dataset], text_columns: tuple[str, ...]
) -> None:
    """Of the rows in `trained_on`, called `name`, those of the other splits that are the same texts are counted."""

    def list_texts(split: Dataset) -> list[tuple[str, ...]]:
        return list(zip(*(split[column][:] for column in text_columns), strict=True))

    known = set(list_texts(trained_on))
    for other in (other for other in splits if other != name):
        repeated = sum(texts in known for texts in list_texts(splits[other]))
        if repeated:
            logger.warning("%d of the %d rows of %s are in %s too", repeated, len(splits[other]), other, name)
