"""Lengths and tokens of tokenized rows, read a thousand rows at a time: all ids as Python numbers at once would take
more memory than training does."""

from collections.abc import Iterator

from datasets import Dataset

ROWS_AT_ONCE = 1000


def iterate_token_ids(rows: Dataset) -> Iterator[list[int]]:
    """The token ids of each row, in order."""
    return iterate_ids(rows, "input_ids")


def iterate_ids(rows: Dataset, column: str) -> Iterator[list[int]]:
    """The ids of each row in another of the tokenizer's columns, in order."""
    for batch in rows.select_columns(column).iter(ROWS_AT_ONCE):
        yield from batch[column]


def measure_lengths(rows: Dataset) -> list[int]:
    """Tokens of each row."""
    return [len(ids) for ids in iterate_token_ids(rows)]


def find_used_tokens(rows: Dataset) -> set[int]:
    """Every token that occurs."""
    used: set[int] = set()
    for ids in iterate_token_ids(rows):
        used.update(ids)
    return used
