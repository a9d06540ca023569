"""What is archived of a run names no folder of the machine."""

import numpy as np
import pytest

from benchmarks.archive_runs import shorten_paths, sort_rows


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


def test_rows_of_several_labels_are_sorted_by_all_of_them():
    labels = np.array([[1, 0], [0, 1], [0, 0], [0, 1]], np.float32)
    teacher = np.array([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.5, 0.0]], np.float32)
    arrays = {"test.labels": labels, "test.teacher_logits": teacher, "test.student_logits": teacher + 10}
    in_order = sort_rows(arrays)
    assert in_order["test.labels"].tolist() == [[0, 0], [0, 1], [0, 1], [1, 0]]
    assert in_order["test.teacher_logits"][:, 0].tolist() == [1.0, 1.5, 2.0, 3.0]
    assert np.array_equal(in_order["test.student_logits"], in_order["test.teacher_logits"] + 10)
    shuffled = {name: array[[3, 0, 2, 1]] for name, array in arrays.items()}
    assert all(np.array_equal(array, in_order[name]) for name, array in sort_rows(shuffled).items())


def test_the_items_of_a_row_stay_together_and_in_order():
    arrays = {
        "test.labels": np.array([2, 0, 1, 1, 0, 5]),
        "test.teacher_logits": np.arange(6.0)[:, None],
        "test.student_logits": np.arange(6.0)[:, None],
        "test.row_items": np.array([2, 1, 0, 3]),
    }
    in_order = sort_rows(arrays)
    assert in_order["test.row_items"].tolist() == [0, 1, 3, 2]
    assert in_order["test.labels"].tolist() == [1, 1, 0, 5, 2, 0]
    assert in_order["test.student_logits"][:, 0].tolist() == [2.0, 3.0, 4.0, 5.0, 0.0, 1.0]
    assert all(np.array_equal(array, in_order[name]) for name, array in sort_rows(in_order).items())
    same = arrays | {"test.labels": np.zeros(6, np.int64), "test.teacher_logits": -np.arange(6.0)[:, None]}
    assert sort_rows(same | {"test.row_items": np.array([2, 2, 2])})["test.student_logits"][:, 0].tolist() == [
        4,
        5,
        2,
        3,
        0,
        1,
    ]
    with pytest.raises(ValueError, match="neither one per row nor one per item"):
        sort_rows(arrays | {"test.articles": np.zeros(5)})
