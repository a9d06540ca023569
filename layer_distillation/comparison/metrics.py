"""A task's metrics of many runs at once, under many weightings of the rows: what a bootstrap over rows needs.

Every metric is a function of weighted sums over rows, so that 10,000 resamples of 60 runs are a few matrix products.
With all weights 1 it is the metric of `tasks/metrics.py`, which this leaves alone because it loads torch.

Entry: `make_scorer`, `resample_scores`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# weights (resamples, rows) -> scores (resamples, runs)
Scorer = Callable[[np.ndarray], np.ndarray]

CHUNK_VALUES = 4_000_000
MOST_PRODUCTS = 3e10  # multiplications: about two seconds on one core
MOST_WEIGHTS = 6e7  # drawn numbers: about one second
FEWEST_RESAMPLES = 500  # the standard error that comes out is then good to 3 %
RANKING_COST = 200  # ranking a row costs about as much as this many multiplications
CACHED_RESAMPLES = 8


def make_scorer(metric_name: str, decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    """The metric of every run as a function of the rows' weights.

    Args:
        metric_name: a key of `CLASS_SCORERS` or `NUMBER_SCORERS`.
        decisions: (runs, rows), the class that each run chose, or its score.
        labels: (rows,), every row labelled.
    """
    return (CLASS_SCORERS | NUMBER_SCORERS)[metric_name](decisions, labels)


def score_accuracy(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    is_right = (decisions == labels).T.astype(np.float32)
    return lambda weights: (weights @ is_right) / weights.sum(axis=1, keepdims=True)


def score_f1(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    """F1 of class 1: 2 hits / (chosen + true), 0 where neither occurs."""
    hits, chosen, true = mark_class(1, decisions, labels)
    return lambda weights: divide(2 * (weights @ hits), weights @ chosen + weights @ true)


def score_macro_f1(decisions: np.ndarray, labels: np.ndarray) -> Scorer:
    """Mean of F1 over the classes that occur, in the resample, in labels or decisions."""
    marks = [mark_class(label, decisions, labels) for label in np.union1d(decisions, labels)]

    def score(weights: np.ndarray) -> np.ndarray:
        total, occurring = 0.0, 0.0
        for hits, chosen, true in marks:
            size = weights @ chosen + weights @ true
            total += divide(2 * (weights @ hits), size)
            occurring += size > 0
        return total / occurring

    return score


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


def standardize(values: np.ndarray) -> np.ndarray:
    """Mean 0 and spread 1 along the last axis; constant rows become 0."""
    centered = values - values.mean(axis=-1, keepdims=True)
    return divide(centered, centered.std(axis=-1, keepdims=True) + np.zeros_like(centered))


def divide(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """0 where the denominator is 0 up to rounding."""
    denominators = np.broadcast_to(denominators, np.shape(numerators))
    is_zero = np.abs(denominators) < 1e-9
    return np.where(is_zero, 0.0, numerators / np.where(is_zero, 1.0, denominators))


CLASS_SCORERS: dict[str, Callable[[np.ndarray, np.ndarray], Scorer]] = {
    "accuracy": score_accuracy,
    "f1": score_f1,
    "macro_f1": score_macro_f1,
    "matthews_correlation": score_matthews,
}
NUMBER_SCORERS: dict[str, Callable[[np.ndarray, np.ndarray], Scorer]] = {
    "pearson": score_pearson,
    "spearmanr": score_spearman,
}


def score_all_rows(scorer: Scorer, num_rows: int) -> np.ndarray:
    """The metric itself, in float64: (runs,)."""
    return np.asarray(scorer(np.ones((1, num_rows))))[0]


def resample_scores(scorer: Scorer, num_rows: int, num_resamples: int, seed: int = 0) -> np.ndarray:
    """The metric of every run on rows drawn with replacement, the same rows for all runs: (resamples, runs)."""
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_VALUES // num_rows)
    scores = [
        scorer(draw_weights(generator, min(chunk, num_resamples - start), num_rows))
        for start in range(0, num_resamples, chunk)
    ]
    return np.concatenate(scores)


def draw_weights(generator: np.random.Generator, num_resamples: int, num_rows: int) -> np.ndarray:
    """How often each row was drawn: (resamples, rows), float32, every resample sums to `num_rows`."""
    drawn = generator.integers(0, num_rows, size=(num_resamples, num_rows), dtype=np.int32)
    drawn += np.arange(num_resamples, dtype=np.int32)[:, None] * num_rows
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * num_rows)
    return counts.reshape(num_resamples, num_rows).astype(np.float32)


def limit_resamples(wanted: int, metric_name: str, num_rows: int, num_runs: int, num_classes: int) -> int:
    """As many resamples as a few seconds allow, at least `FEWEST_RESAMPLES` or what was wanted if that is less."""
    columns = {"accuracy": 1, "f1": 2, "pearson": 3, "spearmanr": RANKING_COST}.get(metric_name, 2 * num_classes)
    affordable = min(MOST_PRODUCTS / (num_rows * num_runs * columns), MOST_WEIGHTS / num_rows)
    return min(wanted, max(FEWEST_RESAMPLES, int(affordable)))
