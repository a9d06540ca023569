"""Lengths and tokens of tokenized rows, read a thousand rows at a time: all ids as Python numbers at once would take
more memory than training does."""

from collections.abc import Iterator

from datasets import Dataset

ROWS_AT_ONCE = 1000


def iterate_token_ids(rows: Dataset) -> Iterator[list[int]]:
    """The token ids of each row, in order."""
    for batch in rows.select_columns("input_ids").iter(ROWS_AT_ONCE):
        yield from batch["input_ids"]


def measure_lengths(rows: Dataset) -> list[int]:
    """Tokens of each row."""
    return [len(ids) for ids in iterate_token_ids(rows)]


def find_used_tokens(rows: Dataset) -> set[int]:
    """Every token that occurs."""
    used: set[int] = set()
    for ids in iterate_token_ids(rows):
        used.update(ids)
    return used
