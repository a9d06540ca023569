"""Finds a teacher whose outputs mean other classes than they are taken for: a permutation of them fits the labels.

A student must never be trained against such a teacher. The rule, on the labelled rows of the first validation split,
with the order as it was taken and the best of all K! orders (the assignment problem on the table of answers):

1. the best order is better beyond noise: McNemar's exact test of the two, p below 0.001 / K!;
2. it is above chance beyond noise: the exact binomial test against the larger of the most frequent class's share and
   what independent answers would get, p below 0.001 / K!;
3. and the order as taken is below chance beyond noise (exact binomial, p below 0.001) or, where no names vouch for it,
   nearer to chance than to the best order.

All three: the run stops. The first two alone, without names: a warning.
"""

import json
import logging
import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

from layer_distillation.tasks.data import TaskData
from layer_distillation.teachers.answers import SOFT_LABELS
from layer_distillation.teachers.label_matching import fold_names, is_unnamed
from layer_distillation.teachers.loading import Teacher

logger = logging.getLogger(__name__)

NOISE = 1e-3


class OrderFit(NamedTuple):
    """`order[k]` is the class that output k fits best; `accuracy` as taken, `best_accuracy` by that order."""

    order: list[int]
    accuracy: float
    best_accuracy: float
    is_better: bool
    is_below_chance: bool
    is_near_chance: bool


def check_label_order(teacher: Teacher, data: TaskData, logits: dict[str, np.ndarray]) -> None:
    """Raises ValueError where another order of the teacher's outputs is the right one. Without any gold label nothing
    can say so.

    Args:
        logits: split -> (rows, classes), in the order of `data.label_names`.
    """
    if teacher.labels is None:  # a regression, or a head that has the task's own labels
        return
    if data.kind.has_label_lists:  # no order of the outputs can be told from one answer a row
        return
    candidates = [next(iter(data.validation.items())), ("train", data.train)]
    usable = [(name, rows) for name, rows in candidates if name in logits and data.has_labels(rows)]
    if not usable:
        return
    split, rows = usable[0]
    labels = np.asarray(rows["labels"])
    is_labelled = labels >= 0
    fit = fit_order(logits[split][is_labelled].argmax(axis=1), labels[is_labelled], len(data.label_names))
    if not fit.is_better:
        return
    is_by_name = teacher.labels.is_by_name
    message = describe_fit(teacher, data, split, fit)
    if fit.is_below_chance or (fit.is_near_chance and not is_by_name):
        raise ValueError(f"{message}; {explain_remedy(teacher, data, fit)}")
    if not is_by_name:
        logger.warning("%s. Check id2label in its config.json", message)


def fit_order(answers: np.ndarray, labels: np.ndarray, num_classes: int) -> OrderFit:
    """Args: (rows,) class indices each."""
    table = np.zeros((num_classes, num_classes), dtype=np.int64)  # answer, label
    np.add.at(table, (answers, labels), 1)
    order = linear_sum_assignment(table, maximize=True)[1]
    num_rows = len(labels)
    right, best_right = int(np.trace(table)), int(table[np.arange(num_classes), order].sum())
    answered, true = table.sum(axis=1) / num_rows, table.sum(axis=0) / num_rows
    chance, best_chance = float(answered @ true), float(answered @ true[order])
    moved = np.flatnonzero(order != np.arange(num_classes))
    gained, lost = int(table[moved, order[moved]].sum()), int(table[moved, moved].sum())
    level = math.log(NOISE) - math.lgamma(num_classes + 1)
    is_other = binom.logsf(gained - 1, gained + lost, 0.5) < level if gained else False
    fits = binom.logsf(best_right - 1, num_rows, max(best_chance, float(true.max()))) < level
    return OrderFit(
        order=[int(index) for index in order],
        accuracy=right / num_rows,
        best_accuracy=best_right / num_rows,
        is_better=bool(is_other and fits),
        is_below_chance=bool(binom.cdf(right, num_rows, chance) < NOISE),
        is_near_chance=right / num_rows < (chance + best_right / num_rows) / 2,
    )


def describe_fit(teacher: Teacher, data: TaskData, split: str, fit: OrderFit) -> str:
    meanings = list_meanings(teacher, data, fit)
    return (
        f"the teacher {teacher.name} is right on {fit.accuracy:.3f} of the rows of {split} as its labels are taken, "
        f"and on {fit.best_accuracy:.3f} where its outputs {teacher.labels.outputs} mean {meanings}"
    )


def list_meanings(teacher: Teacher, data: TaskData, fit: OrderFit) -> list[str]:
    """What each output means, in the words of the data where these have one."""
    words = dict(enumerate(data.label_names)) | (data.written_labels or {})
    return [words[index] for index in fit.order]


def explain_remedy(teacher: Teacher, data: TaskData, fit: OrderFit) -> str:
    meanings = list_meanings(teacher, data, fit)
    if teacher.answers is not None and teacher.answers.kind == SOFT_LABELS:
        pairs = zip(teacher.labels.outputs, meanings, strict=True)
        return f"name the columns by their classes: {', '.join(f'{name} is {label}' for name, label in pairs)}"
    if is_unnamed(fold_names(meanings)):
        pairs = zip(teacher.labels.outputs, meanings, strict=True)
        return f"write in the label column {', '.join(f'{name} for {number}' for name, number in pairs)}"
    if teacher.labels.is_by_name:
        return "correct id2label and label2id in its config.json"
    return f"write into its config.json id2label {json.dumps(dict(enumerate(meanings)))}, and label2id alike"
