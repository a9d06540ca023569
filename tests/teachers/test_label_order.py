"""A teacher whose outputs mean other classes than they are taken for is found, one that is only bad is not."""

import itertools

import numpy as np
import pytest
from datasets import Dataset

from conftest import make_bert
from layer_distillation.tasks.data import TaskData
from layer_distillation.teachers.label_matching import LabelMatch
from layer_distillation.teachers.label_order import check_label_order, fit_order
from layer_distillation.teachers.loading import Teacher

WORDS = ["a", "b", "c"]


def draw_answers(
    order: list[int], accuracy: float, num_rows: int, seed: int = 0, shares: list[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Answers and labels of a teacher that knows the class of so many rows, and whose output k means order[k]."""
    draw = np.random.default_rng(seed)
    num_classes = len(order)
    labels = draw.choice(num_classes, num_rows, p=shares)
    guesses = draw.choice(num_classes, num_rows, p=shares)
    meant = np.where(draw.random(num_rows) < accuracy, labels, guesses)
    return np.argsort(order)[meant], labels


@pytest.mark.parametrize("order", [order for order in itertools.permutations(range(3)) if order != (0, 1, 2)])
def test_every_other_order_of_a_good_teacher_is_found(order):
    fit = fit_order(*draw_answers(list(order), 0.9, 100), num_classes=3)
    assert fit.is_better
    assert fit.is_below_chance or fit.is_near_chance
    assert fit.order == list(order)
    assert fit.best_accuracy > 0.85


def test_a_swap_of_two_classes_is_below_chance():
    fit = fit_order(*draw_answers([1, 0], 0.8, 60), num_classes=2)
    assert (fit.is_better, fit.is_below_chance, fit.order) == (True, True, [1, 0])


@pytest.mark.parametrize("accuracy", [0.0, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("num_rows", [9, 100, 2000])
def test_a_teacher_in_order_is_never_taken_for_another_however_bad_it_is(accuracy, num_classes, num_rows):
    order = list(range(num_classes))
    fits = [fit_order(*draw_answers(order, accuracy, num_rows, seed), num_classes) for seed in range(30)]
    assert not any(fit.is_better for fit in fits)


def test_few_rows_prove_nothing():
    assert not fit_order(*draw_answers([1, 0], 1.0, 9), num_classes=2).is_better
    assert fit_order(*draw_answers([1, 0], 1.0, 30), num_classes=2).is_better


def test_answering_one_class_alone_fits_no_order():
    labels = np.array([0] * 10 + [1] * 90)
    assert not fit_order(np.zeros(100, dtype=int), labels, 2).is_better


def check(order: list[int], names: list[str], written: list[str], is_by_name: bool, accuracy: float = 0.9) -> None:
    answers, labels = draw_answers(order, accuracy, 100)
    rows = Dataset.from_dict({"labels": [*labels, -100]})
    data = TaskData("tiny", rows, {"validation": rows}, None, ("text",), names, ("accuracy",), None, None)
    data.written_labels = dict(enumerate(written))
    match = LabelMatch(names, [0, 1, 2], names if written != names else ["LABEL_0", "LABEL_1", "LABEL_2"], is_by_name)
    teacher = Teacher(make_bert(2), None, "t", "t", "", is_trained=True, labels=match)
    check_label_order(teacher, data, {"validation": np.eye(3)[[*answers, 0]]})


def test_an_order_that_nobody_vouches_for_stops_the_run_with_the_right_one():
    with pytest.raises(
        ValueError, match=r"LABEL_0', .* mean \['b', 'c', 'a'\]; .* id2label {\"0\": \"b\", \"1\": \"c\""
    ):
        check([1, 2, 0], WORDS, WORDS, is_by_name=False)
    with pytest.raises(ValueError, match="write in the label column NEG for 2, NEU for 1, POS for 0"):
        check([2, 1, 0], ["NEG", "NEU", "POS"], ["0", "1", "2"], is_by_name=False)
    with pytest.raises(ValueError, match=r"right on 0.0\d\d .* and on 0.9\d\d where"):
        check([1, 2, 0], WORDS, WORDS, is_by_name=False)


def test_names_are_doubted_only_below_chance():
    with pytest.raises(ValueError, match="correct id2label and label2id in its config"):
        check([1, 2, 0], WORDS, WORDS, is_by_name=True)
    check([0, 2, 1], WORDS, WORDS, is_by_name=True)  # one class is right: its accuracy is that of chance


def test_the_right_order_goes_on_in_silence(caplog):
    for accuracy in (0.0, 0.3, 1.0):
        check([0, 1, 2], WORDS, WORDS, is_by_name=False, accuracy=accuracy)
    assert caplog.text == ""
