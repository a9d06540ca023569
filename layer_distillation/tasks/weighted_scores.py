"""Metrics of many runs at once as functions of the rows' weights: what a bootstrap over rows resamples. Only numpy.

Every metric is a function of weighted sums over rows, so that 10,000 resamples of 60 runs are a few matrix products.
With all weights 1 it is the metric of `tasks/metrics.py`, which loads more than a comparison needs.

Entry: `make_scorer`; what the kinds of tasks add is in `tasks/kinds/`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# weights (resamples, rows) -> scores (resamples, runs)
Scorer = Callable[[np.ndarray], np.ndarray]
# what each run answered, and the labels (rows,) -> its scorer
ScorerMaker = Callable[[np.ndarray, np.ndarray], Scorer]

CACHED_RESAMPLES = 8
RANKING_COST = 200  # ranking a row costs about as much as this many multiplications


def score_accuracy(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    is_right = (decisions == labels).T.astype(np.float32)
    return lambda weights: (weights @ is_right) / weights.sum(axis=1, keepdims=True)


def make_averaged_scorer(kind: str, average: str) -> ScorerMaker:
    """Precision, recall or F1, 0 where undefined: of class 1 ("binary"), of all decisions ("micro"), or the mean over
    the classes that occur, in the resample, in labels or decisions ("macro"; "weighted" by their true rows)."""

    def make(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
        classes = [1] if average == "binary" else np.union1d(decisions, labels)
        return average_scores(kind, average, [mark_class(label, decisions, labels) for label in classes])

    return make


def make_counting_scorer(kind: str, average: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Scorer]:
    """The same of counts: (runs, rows, classes) of hits, of what was chosen and of what is true, in every row. A class
    that occurs nowhere has 0 in the mean, as scikit-learn has it for labels that are each decided by themselves."""

    def make(hits: np.ndarray, chosen: np.ndarray, true: np.ndarray) -> Scorer:
        counts = [side.transpose(2, 1, 0).astype(np.float32) for side in (hits, chosen, true)]
        return average_scores(kind, average, list(zip(*counts, strict=True)), is_absent_counted=True)

    return make


def average_scores(
    kind: str,
    average: str,
    marks: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    is_absent_counted: bool = False,
) -> Scorer:
    """marks: of every class hits, chosen and true, (rows, runs) each, the last one perhaps (rows, 1)."""

    def score(weights: np.ndarray) -> np.ndarray:
        sums = [tuple(weights @ mark for mark in class_marks) for class_marks in marks]  # hits, chosen, true
        if average in ("binary", "micro"):
            return divide(*FRACTIONS[kind](*(sum(parts) for parts in zip(*sums, strict=True))))
        scores = [divide(*FRACTIONS[kind](*parts)) for parts in sums]
        sizes = [true if average == "weighted" else (chosen + true > 0) | is_absent_counted for _, chosen, true in sums]
        return divide(
            sum(size * value for size, value in zip(sizes, scores, strict=True)), sum(1.0 * size for size in sizes)
        )

    return score


FRACTIONS = {
    "precision": lambda hits, chosen, true: (hits, chosen),
    "recall": lambda hits, chosen, true: (hits, true + 0 * chosen),
    "f1": lambda hits, chosen, true: (2 * hits, chosen + true),
}


def score_matthews(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    """(c s - sum_k p_k t_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2)), in shares; 0 where a side is constant.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004.
    """
    accuracy = score_accuracy(decisions, labels)
    marks = [mark_class(label, decisions, labels)[1:] for label in np.union1d(decisions, labels)]

    def score(weights: np.ndarray) -> np.ndarray:
        rows = weights.sum(axis=1, keepdims=True)
        shares = [(weights @ chosen / rows, weights @ true / rows) for chosen, true in marks]
        by_chance = sum(chosen * true for chosen, true in shares)
        spreads = [1 - sum(side * side for side in sides) for sides in zip(*shares, strict=True)]
        return divide(accuracy(weights) - by_chance, np.sqrt(np.maximum(spreads[0] * spreads[1], 0)))

    return score


def mark_class(label: int, decisions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1 where a run rightly chose the class, where it chose it: (rows, runs); where it is true: (rows, 1)."""
    chosen, true = (decisions == label).T, (labels == label)[:, None]
    return (chosen & true).astype(np.float32), chosen.astype(np.float32), true.astype(np.float32)


def score_pearson(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    # Standardized, so that no large mean swallows a small spread, and zero means constant whatever the unit.
    scores, truth = standardize(decisions).T, standardize(labels[None]).T

    def score(weights: np.ndarray) -> np.ndarray:
        rows = weights.sum(axis=1, keepdims=True)
        score_means, truth_means = weights @ scores / rows, weights @ truth / rows
        covariances = weights @ (scores * truth) / rows - score_means * truth_means
        score_spreads = weights @ scores**2 / rows - score_means**2
        truth_spreads = weights @ truth**2 / rows - truth_means**2
        return divide(covariances, np.sqrt(np.maximum(score_spreads * truth_spreads, 0)))

    return score


class Ranking(NamedTuple):
    """Rows by value: `order` sorts them; ties are groups that start at `starts`, `group` (rows,) in sorted order."""

    order: np.ndarray
    starts: np.ndarray
    group: np.ndarray


def score_spearman(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    """Pearson of mean ranks; rows are ranked anew in every resample, ties share their mean rank.

    A few resamples at a time, so that they stay in the processor's cache: five times as fast.
    """
    runs, truth = [sort_rows(run) for run in decisions], sort_rows(labels)
    unsort = np.argsort(truth.order)

    def score_few(weights: np.ndarray) -> np.ndarray:
        true_ranks = np.take(center_ranks(truth, weights), unsort, axis=1)
        true_spreads = np.einsum("br,br,br->b", weights, true_ranks, true_ranks)
        columns = []
        for run in runs:
            ranks, sorted_weights = center_ranks(run, weights), np.take(weights, run.order, axis=1)
            weighted = sorted_weights * ranks
            covariances = np.einsum("br,br->b", np.take(true_ranks, run.order, axis=1), weighted)
            columns.append(divide(covariances, np.sqrt(np.einsum("br,br->b", weighted, ranks) * true_spreads)))
        return np.stack(columns, axis=1)

    def score(weights: np.ndarray) -> np.ndarray:
        starts = range(0, len(weights), CACHED_RESAMPLES)
        return np.concatenate([score_few(weights[start : start + CACHED_RESAMPLES]) for start in starts])

    return score


def sort_rows(values: np.ndarray) -> Ranking:
    """(rows,)"""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.nan))
    return Ranking(order, starts, np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values))))


def center_ranks(ranking: Ranking, weights: np.ndarray) -> np.ndarray:
    """Mean ranks in [-1/2, 1/2], in sorted order, of rows that occur `weights` times: (resamples, rows)."""
    group_weights = np.add.reduceat(np.take(weights, ranking.order, axis=1), ranking.starts, axis=1)
    totals = group_weights.cumsum(axis=1)
    ranks = (totals - group_weights / 2) / totals[:, -1:] - 0.5
    return np.take(ranks, ranking.group, axis=1)


def make_ranking_scorer(name: str) -> ScorerMaker:
    """Of class 1 of two classes; of more the mean over the classes, each against the rest, that the resample has."""

    def make(margins: np.ndarray, labels: np.ndarray) -> Scorer:
        """margins: (runs, rows, classes)"""
        classes = [1] if margins.shape[2] == 2 else range(margins.shape[2])
        return average_rankings(name, margins[:, :, classes], [labels == label for label in classes])

    return make


def make_label_ranking_scorer(name: str) -> ScorerMaker:
    """The mean over the labels, each by itself, that some rows of the resample have."""

    def make(logits: np.ndarray, labels: np.ndarray) -> Scorer:
        """logits: (runs, rows, labels); labels: (rows, labels) of 0 and 1"""
        return average_rankings(name, logits, list((labels == 1).T))

    return make


def average_rankings(name: str, values: np.ndarray, is_true: list[np.ndarray]) -> Scorer:
    """values: (runs, rows, classes), to rank by; is_true: of every class (rows,)."""
    rank, undefined = {"roc_auc": (rank_roc_auc, 0.5), "average_precision": (rank_average_precision, 0.0)}[name]
    rankings = [[(sort_rows(column), true) for column, true in zip(run.T, is_true, strict=True)] for run in values]

    def score(weights: np.ndarray) -> np.ndarray:
        columns = []
        for run in rankings:
            scores, is_defined = zip(*(rank(ranking, weights, true) for ranking, true in run), strict=True)
            count = sum(1.0 * defined for defined in is_defined)
            columns.append(np.where(count > 0, divide(sum(scores), count), undefined))
        return np.stack(columns, axis=1)

    return score


def sum_groups(ranking: Ranking, weights: np.ndarray, is_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of the true rows and of the others at each score, from the lowest on: (resamples, scores) twice."""
    ordered, is_true = np.take(weights, ranking.order, axis=1), is_true[ranking.order]
    return tuple(np.add.reduceat(ordered * side, ranking.starts, axis=1) for side in (is_true, ~is_true))


def rank_roc_auc(ranking: Ranking, weights: np.ndarray, is_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of pairs, a true row and another, in which the true one is above, ties half; and whether there are any."""
    true, other = sum_groups(ranking, weights, is_true)
    pairs = true.sum(axis=1) * other.sum(axis=1)
    return divide((true * (other.cumsum(axis=1) - other / 2)).sum(axis=1), pairs), pairs > 0


def rank_average_precision(ranking: Ranking, weights: np.ndarray, is_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the true rows of the precision among all rows that score as high; and whether there are any."""
    true, other = (side[:, ::-1] for side in sum_groups(ranking, weights, is_true))
    found = true.cumsum(axis=1)
    precision = divide(found, found + other.cumsum(axis=1))
    return divide((true * precision).sum(axis=1), found[:, -1]), found[:, -1] > 0


def compute_margins(logits: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of every class, (rows, classes) each, as `tasks/metrics.py` ranks by it."""
    logits = logits.astype(np.float64)
    others = [np.delete(logits, label, axis=1) for label in range(logits.shape[1])]
    return logits - np.stack([np.logaddexp.reduce(other, axis=1) for other in others], axis=1)


def standardize(values: np.ndarray) -> np.ndarray:
    """Mean 0 and spread 1 along the last axis; constant rows become 0."""
    centered = values - values.mean(axis=-1, keepdims=True)
    return divide(centered, centered.std(axis=-1, keepdims=True) + np.zeros_like(centered))


def divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """0 where the denominator is 0 up to rounding."""
    denominators = np.broadcast_to(denominators, np.shape(numerators))
    is_zero = np.abs(denominators) < 1e-9
    return np.where(is_zero, 0.0, numerators / np.where(is_zero, 1.0, denominators))


def make_scorer(metric_name: str, decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    """The metric of every run, one item to a row, as a function of the rows' weights.

    Args:
        metric_name: a key of `CLASS_SCORERS` or `NUMBER_SCORERS`.
        decisions: (runs, rows), the class that each run chose, or its score; for a metric of `RANKING_NAMES` the
            margins of all classes, (runs, rows, classes).
        labels: (rows,), every row labelled.
    """
    return (CLASS_SCORERS | NUMBER_SCORERS)[metric_name](decisions, labels)


CLASS_SCORERS: dict[str, ScorerMaker] = {
    "accuracy": score_accuracy,
    "agreement": score_accuracy,  # of rows without a gold label: the teacher's answers are the labels
    **{
        prefix + kind: make_averaged_scorer(kind, average)
        for kind in FRACTIONS
        for prefix, average in (("", "binary"), ("micro_", "micro"), ("macro_", "macro"), ("weighted_", "weighted"))
    },
    "matthews_correlation": score_matthews,
    "roc_auc": make_ranking_scorer("roc_auc"),
    "average_precision": make_ranking_scorer("average_precision"),
}
NUMBER_SCORERS: dict[str, ScorerMaker] = {
    "pearson": score_pearson,
    "spearmanr": score_spearman,
    "pearson_to_teacher": score_pearson,
}
RANKING_NAMES = ("roc_auc", "average_precision")  # of margins, not of decisions
