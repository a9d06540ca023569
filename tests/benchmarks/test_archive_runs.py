"""What is archived of a run names no folder of the machine."""

import pytest

from benchmarks.archive_runs import shorten_paths


@pytest.mark.parametrize(
    ("text", "shortened"),
    [
        ("/some/where/train.csv", "train.csv"),
        ("--teacher=~/models/a --seed 1", "--teacher=a --seed 1"),
        ("/home/models/a,/home/models/b", "a,b"),
        ("user/model", "user/model"),
    ],
)
def test_paths_are_cut_down_to_their_last_part(text, shortened):
    assert shorten_paths(text) == shortened
