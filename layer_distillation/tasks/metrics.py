"""Scores predictions: the task's metrics through `evaluate`, without a download, and exact losses in float64.

`evaluate.load` fetches its scripts from the Hub; the classes here call scikit-learn and scipy instead. All functions
want whole, gathered arrays: a mean of per-batch or per-process scores is neither F1 nor a correlation.

Entry: `compute_task_metrics`, `compute_task_loss`, `compute_teacher_agreement`.
"""

import tempfile
from collections.abc import Callable

import evaluate
import numpy as np
from datasets import Features, Sequence, Value
from scipy.special import log_softmax
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)

from layer_distillation.tasks.arguments import DEFAULT_THRESHOLD
from layer_distillation.tasks.kinds.entry import LABELS, ONE_NUMBER, RELEVANCE


class Accuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return describe_metric("Share of rows whose class is right.", "int64")

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


def make_averaged_metric(name: str, score: Callable, average: str) -> type[evaluate.Metric]:
    """Precision, recall or F1: of class 1 ("binary", as GLUE scores MRPC and QQP); over all decisions ("micro"); as the
    plain mean over the classes that occur in labels or decisions ("macro"), or weighted by their rows ("weighted")."""

    class AveragedMetric(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            return describe_metric(f"scikit-learn's {score.__name__}, average {average}; 0 where undefined.", "int64")

        def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
            return {name: float(score(references, predictions, average=average, zero_division=0.0))}

    return AveragedMetric


def make_ranking_metric(name: str, score: Callable, undefined: float) -> type[evaluate.Metric]:
    """ROC AUC or average precision of class 1 of two classes; of more the plain mean over the classes, each against the
    rest, that have rows, and for ROC AUC other rows too; `undefined` where there is none."""

    class RankingMetric(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            features = Features({"predictions": Sequence(Value("float64")), "references": Value("int64")})
            return evaluate.MetricInfo(
                description=f"scikit-learn's {score.__name__}, each class against the rest.",
                **{"citation": "", "inputs_description": "", "features": features},
            )

        def _compute(self, predictions: list[list[float]], references: list[int]) -> dict[str, float]:
            margins, labels = np.asarray(predictions), np.asarray(references)
            classes = [1] if margins.shape[1] == 2 else range(margins.shape[1])
            shares = {label: float(np.mean(labels == label)) for label in classes}
            is_defined = {
                label: 0 < share < 1 or (share == 1 and score is not roc_auc_score) for label, share in shares.items()
            }
            scores = [score(labels == label, margins[:, label]) for label in classes if is_defined[label]]
            return {name: float(np.mean(scores)) if scores else undefined}

    return RankingMetric


class MatthewsCorrelation(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return describe_metric("Matthews correlation, -1 to 1; 0 where labels or predictions are constant.", "int64")

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class Pearson(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return describe_metric("Pearson correlation; 0 where one side is constant.", "float64")

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"pearson": compute_correlation(pearsonr, predictions, references)}


class Spearman(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return describe_metric("Spearman rank correlation; 0 where one side is constant.", "float64")

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"spearmanr": compute_correlation(spearmanr, predictions, references)}


AVERAGED_SCORES = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
AVERAGED_METRICS = {
    name: make_averaged_metric(name, score, average)
    for kind, score in AVERAGED_SCORES.items()
    for average, name in [
        ("binary", kind),
        *((average, f"{average}_{kind}") for average in ("micro", "macro", "weighted")),
    ]
}
RANKING_METRICS = {
    "roc_auc": make_ranking_metric("roc_auc", roc_auc_score, 0.5),
    "average_precision": make_ranking_metric("average_precision", average_precision_score, 0.0),
}
METRICS: dict[str, type[evaluate.Metric]] = {
    "accuracy": Accuracy,
    **AVERAGED_METRICS,
    "matthews_correlation": MatthewsCorrelation,
    **RANKING_METRICS,
    "pearson": Pearson,
    "spearmanr": Spearman,
}


def compute_task_metrics(
    predictions: np.ndarray, labels: np.ndarray, metric_names: tuple[str, ...]
) -> dict[str, float]:
    """The named metrics over the labelled rows.

    Args:
        predictions: logits (rows, classes), or scores (rows, 1) or (rows,) of a regression.
        labels: (rows,) class indices, negative where unlabelled; or floats, nan where unlabelled.
        metric_names: keys of `METRICS`.

    Raises ValueError for an unknown metric, for arrays that do not fit and where no row is labelled.
    """
    unknown = [name for name in metric_names if name not in METRICS]
    if unknown:
        raise ValueError(f"Unknown metrics {unknown}: choose from {sorted(METRICS)}.")
    predictions, labels = keep_labelled_rows(predictions, labels)
    decided = predictions.argmax(axis=-1) if holds_classes(labels) else flatten_scores(predictions)
    answers = {name: compute_margins(predictions) if name in RANKING_METRICS else decided for name in metric_names}
    scores: dict[str, float] = {}
    # In memory, nothing is shared between processes; yet evaluate makes a folder per metric, here one that goes again.
    with tempfile.TemporaryDirectory() as folder:
        for name in metric_names:
            metric = METRICS[name](keep_in_memory=True, cache_dir=folder)
            scores |= metric.compute(predictions=answers[name], references=labels)
    return scores


def compute_margins(logits: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of every class, (rows, classes) each: it ranks as p does, which is 1 for many at once."""
    return np.stack(
        [
            logits[:, label] - np.logaddexp.reduce(np.delete(logits, label, axis=1), axis=1)
            for label in range(logits.shape[1])
        ],
        axis=1,
    )


def describe_metric(description: str, value_type: str) -> evaluate.MetricInfo:
    features = Features({"predictions": Value(value_type), "references": Value(value_type)})
    return evaluate.MetricInfo(description=description, citation="", inputs_description="", features=features)


def compute_task_loss(logits: np.ndarray, labels: np.ndarray, outputs: str | None = None) -> float:
    """Mean over labelled items, in float64, of the cross-entropy in nats; of several labels its mean over the labels;
    of numbers the squared error, of relevance the binary cross-entropy.

    Args:
        logits: (items, classes); for a regression (items, 1) or (items,).
        labels: (items,) class indices, negative where unlabelled; (items,) or (items, 1) numbers or (items, labels) of
            0 and 1, nan where unlabelled.
        outputs: what they are, of `kinds/entry.py`; None: classes where the labels are whole numbers, else numbers.
    """
    check_row_counts(logits, labels)
    losses = compute_row_losses(logits, labels, outputs)
    if np.isnan(losses).all():
        raise ValueError(f"None of {len(labels)} rows has a label: score a split that is labelled.")
    return float(np.mean(losses[~np.isnan(losses)]))


def compute_row_losses(logits: np.ndarray, labels: np.ndarray, outputs: str | None = None) -> np.ndarray:
    """The same of every item by itself, (items,); nan where it has no label."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if outputs == LABELS:
        return np.mean(np.logaddexp(0, logits) - logits * labels, axis=-1)
    labels = flatten_scores(labels)
    if outputs == RELEVANCE:
        scores = flatten_scores(logits)
        return np.logaddexp(0, scores) - scores * labels
    if not holds_classes(labels):
        return (flatten_scores(logits) - labels) ** 2
    log_probabilities = log_softmax(logits, axis=-1)
    losses = -log_probabilities[np.arange(len(labels)), labels.clip(min=0)]
    return np.where(labels >= 0, losses, np.nan)


def compute_teacher_agreement(
    student_logits: np.ndarray,
    teacher_logits: np.ndarray,
    temperature: float = 1.0,
    outputs: str | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> dict[str, float]:
    """How near the student is to its teacher, over all items, labelled or not.

    Classes: `kl_to_teacher`, the mean over items of KL(softmax(teacher / T) || softmax(student / T)) in nats, without
    the factor T^2 of the loss, and `agreement`, the share of items on which both choose the same class. Labels: the
    same of the mean over the labels of each one's KL, and of items to which both give the same labels.
    One column or none (regression): `mse_to_teacher` and `pearson_to_teacher`; `temperature` plays no part.

    Args:
        student_logits, teacher_logits: (items, outputs), or (items, 1) or (items,) for a regression.
        outputs: what they are, of `kinds/entry.py`; None: classes where there are several, else a number.
        threshold: the probability from which a label is given.
    """
    check_row_counts(student_logits, teacher_logits)
    student, teacher = np.asarray(student_logits, np.float64), np.asarray(teacher_logits, np.float64)
    if outputs in ONE_NUMBER or student.ndim == 1 or (outputs is None and student.shape[1] == 1):
        student, teacher = flatten_scores(student), flatten_scores(teacher)
        mean_squared_error = float(np.mean((student - teacher) ** 2))
        return {
            "mse_to_teacher": mean_squared_error,
            "pearson_to_teacher": compute_correlation(pearsonr, student, teacher),
        }
    if student.shape != teacher.shape:
        raise ValueError(f"Student logits are {student.shape}, teacher logits {teacher.shape}: give both one shape.")
    if outputs == LABELS:
        return compare_labels(student, teacher, temperature, threshold)
    student_log, teacher_log = log_softmax(student / temperature, axis=-1), log_softmax(teacher / temperature, axis=-1)
    divergences = np.sum(np.exp(teacher_log) * (teacher_log - student_log), axis=-1)
    agreement = float(np.mean(student.argmax(axis=-1) == teacher.argmax(axis=-1)))
    return {"kl_to_teacher": float(np.mean(divergences)), "agreement": agreement}


def compare_labels(student: np.ndarray, teacher: np.ndarray, temperature: float, threshold: float) -> dict[str, float]:
    divergences = 0.0
    for side in (1, -1):  # log of the probability of the label, then of its absence
        student_log, teacher_log = (-np.logaddexp(0, -side * logits / temperature) for logits in (student, teacher))
        divergences += np.exp(teacher_log) * (teacher_log - student_log)
    level = np.log(threshold) - np.log1p(-threshold)
    is_same = ((student >= level) == (teacher >= level)).all(axis=-1)
    return {"kl_to_teacher": float(np.mean(divergences)), "agreement": float(np.mean(is_same))}


def keep_labelled_rows(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a label: predictions in float64, labels (rows,) as int64 or float64."""
    check_row_counts(predictions, labels)
    labels = flatten_scores(np.asarray(labels))
    is_labelled = labels >= 0 if holds_classes(labels) else ~np.isnan(labels)
    if not is_labelled.any():
        raise ValueError(f"None of {len(labels)} rows has a label: score a split that is labelled.")
    wide_type = np.int64 if holds_classes(labels) else np.float64
    return np.asarray(predictions, np.float64)[is_labelled], labels[is_labelled].astype(wide_type)


def holds_classes(labels: np.ndarray) -> bool:
    return np.issubdtype(labels.dtype, np.integer)


def check_row_counts(predictions: np.ndarray, references: np.ndarray) -> None:
    if len(predictions) != len(references) or len(predictions) == 0:
        raise ValueError(
            f"Got {len(predictions)} rows of predictions for {len(references)} rows of references: "
            "give equally many, at least one."
        )
    if not np.isfinite(predictions).all():
        raise ValueError("The predictions hold nan or infinity: lower the learning rate, or train in float32.")


def flatten_scores(scores: np.ndarray) -> np.ndarray:
    """(rows, 1) or (rows,) -> (rows,): never left to broadcasting, where (rows, 1) against (rows,) is rows x rows."""
    if scores.ndim == 2 and scores.shape[1] == 1:
        return scores[:, 0]
    if scores.ndim != 1:
        raise ValueError(f"Got an array of shape {scores.shape}: a score per row needs (rows,) or (rows, 1).")
    return scores


def compute_correlation(correlate: Callable, predictions: list[float], references: list[float]) -> float:
    """0.0 where it is undefined, for fewer than two rows or a constant side: such predictions tell nothing apart.

    nan would not compare, and a metric that selects the best epoch by `>` would never take any epoch.
    """
    if np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    return float(correlate(predictions, references).statistic)
