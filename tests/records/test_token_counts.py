"""Lengths and tokens of rows, more of them than are read at a time."""

from datasets import Dataset

from conftest import make_rows
from layer_distillation.records.token_counts import ROWS_AT_ONCE, find_used_tokens, measure_lengths


def test_lengths_and_tokens_are_those_of_all_rows_in_order():
    rows = make_rows(ROWS_AT_ONCE + 3)
    rows[-1]["input_ids"] = [9999]
    data = Dataset.from_list(rows)
    assert measure_lengths(data) == [len(row["input_ids"]) for row in rows]
    assert find_used_tokens(data) == {token for row in rows for token in row["input_ids"]}
    assert measure_lengths(data.select([1001, 2])) == [len(rows[1001]["input_ids"]), len(rows[2]["input_ids"])]
