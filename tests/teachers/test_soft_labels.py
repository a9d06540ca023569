"""Columns of soft labels find their classes by name, or say that they were taken in order."""

import logging

import numpy as np
import pytest

from layer_distillation.tasks.soft_labels import SoftLabels
from layer_distillation.teachers.soft_labels import match_soft_labels


def match(columns: list[str], labels: list[str], num_classes: int | None = None):
    count = num_classes or len(columns)
    return match_soft_labels(SoftLabels(columns, {"train": np.zeros((2, count), np.float32)}), labels)


@pytest.mark.parametrize(
    ("columns", "labels", "outputs"),
    [
        (["p_pos", "p_neg", "p_neu"], ["neg", "neu", "pos"], ["p_neg", "p_neu", "p_pos"]),
        (["Pos", "neg"], ["neg", "pos"], ["neg", "Pos"]),
        (["ppos", "pneg"], ["neg", "pos"], ["pneg", "ppos"]),
        (["b_score", "a_score"], ["a", "b"], ["a_score", "b_score"]),
        (["p_1", "p_0"], ["0", "1"], ["p_1", "p_0"]),
    ],
)
def test_a_name_says_which_class_it_is(columns, labels, outputs):
    found = match(columns, labels)
    assert found.outputs == outputs
    assert found.is_by_name
    assert [found.names[index].lower() for index in found.indices] == [label.lower() for label in labels]


def test_classes_that_no_row_has_are_the_students_too():
    found = match(["p_a", "p_b", "p_c"], ["a", "c"])
    assert (found.names, found.indices, found.outputs) == (["a", "b", "c"], [0, 2], ["p_a", "p_b", "p_c"])


@pytest.mark.parametrize(("columns", "count"), [(["m1x", "m2x"], None), (["scores"], 2)])
def test_where_no_name_says_it_the_order_of_the_labels_is_taken_and_said(columns, count, caplog):
    with caplog.at_level(logging.WARNING):
        found = match(columns, ["a", "b"], count)
    assert found.names == ["a", "b"]
    assert not found.is_by_name
    assert "taken in the order of the labels" in caplog.text


def test_bare_numbers_of_gold_labels_get_the_names_of_the_columns():
    found = match(["p_neg", "p_pos"], ["0", "1"])
    assert (found.names, found.indices) == (["neg", "pos"], [0, 1])


@pytest.mark.parametrize(
    ("columns", "labels", "remedy"),
    [
        (["p_neg", "p_nue", "p_pos"], ["neg", "neu", "pos"], r"the name of 'p_nue' is none of the classes \['neg'"),
        (["x1q", "x2q"], ["a", "b", "c"], "2 columns or numbers and the rows have 3 classes"),
    ],
)
def test_a_name_that_is_no_class_is_refused(columns, labels, remedy):
    with pytest.raises(ValueError, match=remedy):
        match(columns, labels)
