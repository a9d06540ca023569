"""Any number of labels to a row, each decided by itself; `label_sets.py` reads them."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from layer_distillation.tasks.kinds.entry import CLOSENESS_METRICS, LABELS, LabelNames, TaskKind, Truth
from layer_distillation.tasks.kinds.label_sets import (
    find_present,
    is_missing,
    make_unlabelled,
    move_label,
    read,
    recognise,
)
from layer_distillation.tasks.kinds.texts import collate_rows, read_texts, tokenize_texts, write_text_call
from layer_distillation.tasks.weighted_scores import (
    RANKING_COST,
    RANKING_NAMES,
    Scorer,
    make_counting_scorer,
    make_label_ranking_scorer,
    score_accuracy,
)

if TYPE_CHECKING:
    from layer_distillation.records.run_record import RunRecord

AGREEMENT = CLOSENESS_METRICS[LABELS]
DEFAULT_METRICS = ("micro_f1", "macro_f1", "average_precision")


# ---- outputs and scores ------------------------------------------------------------------------------------------


def get_outputs(label_names: LabelNames) -> str:
    return LABELS


def get_problem_type(label_names: LabelNames) -> str:
    return "multi_label_classification"


def list_default_metrics(label_names: LabelNames) -> tuple[str, ...]:
    return DEFAULT_METRICS


def check_metric(name: str, label_names: LabelNames) -> None:
    if name not in SCORERS:
        raise ValueError(
            f"--metrics {name} cannot score several labels to a row: choose from "
            f"{', '.join(name for name in SCORERS if name != AGREEMENT)}, or leave it out."
        )


def score(logits: np.ndarray, truth: Truth, metric_names: Sequence[str]) -> dict[str, float]:
    ones = np.ones((1, truth.num_rows))
    return {
        name: float(SCORERS[name](read_answers(logits, name, truth)[None], truth)(ones)[0, 0]) for name in metric_names
    }


def read_answers(logits: np.ndarray, metric_name: str, truth: Truth) -> np.ndarray:
    """(rows, labels): which are given, those whose probability reaches the threshold; or logits, to rank by."""
    if metric_name in RANKING_NAMES:
        return logits.astype(np.float64)
    return logits.astype(np.float64) >= np.log(truth.threshold) - np.log1p(-truth.threshold)


def compare_answers(student_logits: np.ndarray, teacher_logits: np.ndarray, threshold: float) -> np.ndarray:
    level = np.log(threshold) - np.log1p(-threshold)
    return ((student_logits >= level) == (teacher_logits >= level)).all(axis=-1)


def mark_right(answers: np.ndarray, truth: Truth) -> np.ndarray:
    """Rows of which every label is right."""
    return (answers == (truth.labels == 1)).all(axis=-1)


def score_whole_rows(answers: np.ndarray, truth: Truth) -> Scorer:
    return score_accuracy(mark_right(answers, truth), np.ones(truth.num_rows, bool))


def count_labels(make: Callable[[np.ndarray, np.ndarray, np.ndarray], Scorer]) -> Callable[..., Scorer]:
    """From (runs, rows, labels) of hits, of what was chosen, and of what is true to a scorer."""

    def make_scorer(answers: np.ndarray, truth: Truth) -> Scorer:
        is_true = np.broadcast_to(truth.labels == 1, answers.shape)
        return make(answers & is_true, answers, is_true)

    return make_scorer


SCORERS: dict[str, Callable[[np.ndarray, Truth], Scorer]] = {
    f"{average}_{kind}": count_labels(make_counting_scorer(kind, average))
    for kind in ("f1", "precision", "recall")
    for average in ("micro", "macro", "weighted")
} | {
    "accuracy": score_whole_rows,
    AGREEMENT: score_whole_rows,  # of rows without a gold label: the teacher's answers are the labels
    "average_precision": lambda answers, truth: make_label_ranking_scorer("average_precision")(answers, truth.labels),
    "roc_auc": lambda answers, truth: make_label_ranking_scorer("roc_auc")(answers, truth.labels),
}


def list_scorers(label_names: LabelNames) -> dict[str, Callable[[np.ndarray, Truth], Scorer]]:
    return SCORERS


def list_shown_beside(label_names: LabelNames) -> tuple[str, ...]:
    return DEFAULT_METRICS


def list_constants(metric_name: str, answers: np.ndarray, truth: Truth) -> dict[str | None, np.ndarray]:
    """The same labels for every row: the most frequent ones, as many as there are; one score for what ranks."""
    if metric_name in RANKING_NAMES:
        return {None: np.zeros_like(answers)}
    order = np.argsort(-truth.labels.mean(axis=0), kind="stable")
    given = {count: np.isin(np.arange(len(order)), order[:count]) for count in range(len(order) + 1)}
    names = {count: " and ".join(truth.label_names[label] for label in order[:count]) for count in given}
    names |= {count: f"the {count} most frequent labels" for count in given if count > 2} | {0: "no label"}
    return {names[count]: np.broadcast_to(marks, answers.shape) for count, marks in given.items()}


def count_products(metric_name: str, truth: Truth) -> float:
    return 1 if metric_name == "accuracy" else truth.num_outputs * (RANKING_COST if metric_name in RANKING_NAMES else 2)


# ---- words -------------------------------------------------------------------------------------------------------


def describe_answer(labels: str) -> str:
    return f"any number of {labels}, or none"


def write_call(record: "RunRecord", location: str, options: str) -> str:
    return write_text_call(record, json.dumps(location, ensure_ascii=False), f"{options}, top_k=None") + (
        f"\n# every label with its probability; scored here is what reaches {record.task['decision_threshold']:g}"
    )


MULTI_LABEL = TaskKind(
    name="multi-label",
    auto_class="AutoModelForSequenceClassification",
    head_suffix="ForSequenceClassification",
    pipeline_tag="text-classification",
    unit="rows",
    recognise=recognise,
    read=read,
    read_texts=read_texts,
    tokenize=tokenize_texts,
    make_collator=collate_rows,
    is_missing=is_missing,
    make_unlabelled=make_unlabelled,
    find_present=find_present,
    move_label=move_label,
    get_outputs=get_outputs,
    get_problem_type=get_problem_type,
    list_default_metrics=list_default_metrics,
    check_metric=check_metric,
    score=score,
    read_answers=read_answers,
    list_scorers=list_scorers,
    list_shown_beside=list_shown_beside,
    list_constants=list_constants,
    compare_answers=compare_answers,
    mark_right=mark_right,
    count_products=count_products,
    describe_answer=describe_answer,
    write_call=write_call,
    has_label_lists=True,
)
