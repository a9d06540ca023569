"""Scores of tags: the share of tagged words, and precision, recall and F1 of entities, by default or strictly."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from layer_distillation.tasks.kinds.entities import (
    OUTSIDE,
    count_entities,
    find_entities,
    find_scheme,
    find_strict_entities,
    is_entity_tag,
    list_types,
)
from layer_distillation.tasks.kinds.entry import CLASSES, CLOSENESS_METRICS, Truth
from layer_distillation.tasks.labels import show_some
from layer_distillation.tasks.weighted_scores import FRACTIONS, Scorer, divide, make_counting_scorer

AGREEMENT = CLOSENESS_METRICS[CLASSES]
ENTITY_METRICS = ("entity_f1", "entity_precision", "entity_recall")
STRICT_METRICS = tuple(f"strict_{name}" for name in ENTITY_METRICS)


def list_default_metrics(label_names: Sequence[str]) -> tuple[str, ...]:
    return (*ENTITY_METRICS, "accuracy") if all(map(is_entity_tag, label_names)) else ("accuracy",)


def check_metric(name: str, label_names: Sequence[str]) -> None:
    if name not in list_scorers(label_names):
        possible = ", ".join(name for name in list_scorers(label_names) if name != AGREEMENT)
        raise ValueError(
            f"--metrics {name} cannot score the tags {show_some(label_names)}: choose from {possible} (entities need "
            "tags such as B-person and I-person, strict ones a scheme with B-), or leave it out."
        )


def read_answers(logits: np.ndarray, metric_name: str, truth: Truth) -> np.ndarray:
    return logits.argmax(axis=-1)


def score(logits: np.ndarray, truth: Truth, metric_names: Sequence[str]) -> dict[str, float]:
    """The metrics and, where entities are scored, the F1 of each type by itself."""
    answers, ones = logits.argmax(axis=-1)[None], np.ones((1, truth.num_rows))
    scorers = list_scorers(truth.label_names)
    scores = {name: float(scorers[name](answers, truth)(ones)[0, 0]) for name in metric_names}
    if "entity_f1" in metric_names:
        counts = [side[0].sum(axis=0) for side in count_spans(answers, truth, is_strict=False)]
        per_type = divide(*FRACTIONS["f1"](*counts))
        scores |= {
            f"entity_f1_{name}": float(value)
            for name, value in zip(list_types(truth.label_names), per_type, strict=True)
        }
    return scores


def score_accuracy(answers: np.ndarray, truth: Truth) -> Scorer:
    """Share of tagged words."""
    rows = np.repeat(np.arange(truth.num_rows), truth.row_items)
    right = [np.bincount(rows, weights=run == truth.labels, minlength=truth.num_rows) for run in answers]
    sums = np.stack(right, axis=1), truth.row_items[:, None].astype(np.float64)
    return lambda weights: divide(*(weights @ side for side in sums))


def score_entities(kind: str, is_strict: bool) -> Callable[[np.ndarray, Truth], Scorer]:
    make = make_counting_scorer(kind, "micro")
    return lambda answers, truth: make(*count_spans(answers, truth, is_strict))


def count_spans(answers: np.ndarray, truth: Truth, is_strict: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    find = find_entities
    if is_strict:
        find = partial(find_strict_entities, scheme=find_scheme(truth.label_names))
    return count_entities(answers, truth.labels, truth.row_items, truth.label_names, find)


def list_scorers(label_names: Sequence[str]) -> dict[str, Callable[[np.ndarray, Truth], Scorer]]:
    scorers: dict[str, Callable[[np.ndarray, Truth], Scorer]] = {
        "accuracy": score_accuracy,
        AGREEMENT: score_accuracy,  # of rows without a gold tag: the teacher's answers are the tags
    }
    if all(map(is_entity_tag, label_names)):
        scorers |= {name: score_entities(name.removeprefix("entity_"), is_strict=False) for name in ENTITY_METRICS}
    if find_scheme(label_names):
        scorers |= {
            name: score_entities(name.removeprefix("strict_entity_"), is_strict=True) for name in STRICT_METRICS
        }
    return scorers


def list_constants(metric_name: str, answers: np.ndarray, truth: Truth) -> dict[str | None, np.ndarray]:
    outside = [index for index, name in enumerate(truth.label_names) if name == OUTSIDE]
    most = int(np.bincount(truth.labels).argmax())
    return {truth.label_names[label]: np.full_like(answers, label) for label in {*outside, most}}


def count_products(metric_name: str, truth: Truth) -> float:
    return 3 * len(list_types(truth.label_names)) if metric_name != "accuracy" else 1


def compare_answers(student_logits: np.ndarray, teacher_logits: np.ndarray, threshold: float) -> None:
    """Words of one sentence are not independent of each other: no interval of a share of them."""
    return None


def mark_right(answers: np.ndarray, truth: Truth) -> None:
    return None
