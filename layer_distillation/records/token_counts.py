"""Lengths and tokens of tokenized rows, read a thousand rows at a time: all ids as Python numbers at once would take
more memory than training does."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from datasets import Dataset, LargeList, List

ROWS_AT_ONCE = 1000


def iterate_token_ids(rows: Dataset) -> Iterator[list[int]]:
    """The token ids of each row, in order."""
    return iterate_ids(rows, "input_ids")


def iterate_ids(rows: Dataset, column: str) -> Iterator[list[int]]:
    """The ids of each row in another of the tokenizer's columns, in order; of all its inputs where it has several."""
    for inputs in iterate_inputs(rows, column):
        yield inputs[0] if len(inputs) == 1 else list(chain.from_iterable(inputs))


def iterate_inputs(rows: Dataset, column: str = "input_ids") -> Iterator[Sequence[list[int]]]:
    """The ids of each row, input by input: a row is mostly one, of multiple choice one for each choice."""
    for batch in rows.select_columns(column).iter(ROWS_AT_ONCE):
        yield from map(list_inputs, batch[column])


def list_inputs(ids: list[Any]) -> Sequence[list[int]]:
    return ids if ids and isinstance(ids[0], list) else [ids]


def count_inputs(rows: Dataset) -> int | None:
    """How many inputs each row is; None where a row is a single one, no list of lists."""
    feature = rows.features["input_ids"]
    is_nested = isinstance(feature, List | LargeList) and isinstance(feature.feature, List | LargeList)
    return len(rows[0]["input_ids"]) if is_nested else None


def measure_lengths(rows: Dataset) -> list[int]:
    """Tokens of each row."""
    return [len(ids) for ids in iterate_token_ids(rows)]


def find_used_tokens(rows: Dataset) -> set[int]:
    """Every token that occurs."""
    used: set[int] = set()
    for ids in iterate_token_ids(rows):
        used.update(ids)
    return used
