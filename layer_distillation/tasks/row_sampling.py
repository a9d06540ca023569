"""Draws the rows of a split, and finds those that two splits share: pure functions, but for what they log.

Entry: `draw_split`, `warn_of_overlap`.
"""

import logging
from collections.abc import Mapping

from datasets import Dataset, Features, List, Value

logger = logging.getLogger(__name__)


def draw_split(
    origin: str,
    columns: Mapping[str, list],
    features: Mapping[str, str | list[str]],
    limit: int | None,
    seed: int,
    first_index: int = 0,
) -> Dataset:
    """The columns of `limit` of the rows, and `example_index`, from `first_index` on.

    Args:
        features: of every column the type: "string", or in a list.
    """
    row_count = len(columns["labels"])
    rows = draw_rows(row_count, limit, seed)
    if limit is not None and limit > row_count:
        logger.info("%s has %d rows, fewer than the %d asked for: all are used", origin, row_count, limit)
    drawn = {name: [columns[name][row] for row in rows] for name in features}
    drawn |= {"example_index": list(range(first_index, first_index + len(rows)))}
    types = {name: List(Value(kind[0])) if isinstance(kind, list) else Value(kind) for name, kind in features.items()}
    return Dataset.from_dict(drawn, features=Features(types | {"example_index": Value("int64")}))


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

    def list_texts(split: Dataset) -> list[str]:
        return [repr(texts) for texts in zip(*(split[column][:] for column in text_columns), strict=True)]

    known = set(list_texts(trained_on))
    for other in (other for other in splits if other != name):
        repeated = sum(texts in known for texts in list_texts(splits[other]))
        if repeated:
            logger.warning("%d of the %d rows of %s are in %s too", repeated, len(splits[other]), other, name)
