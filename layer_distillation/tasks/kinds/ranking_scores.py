"""nDCG of queries over candidates that are given, of many runs at once. Only numpy, which a comparison can afford.

Gains are linear and ties share their discounts, as in scikit-learn's `ndcg_score` (tests hold them equal).

Entry: `compute_ndcg`, `average_queries`.
"""

import numpy as np

from layer_distillation.tasks.weighted_scores import Scorer, divide, score_pearson

CUTOFF = 10


def compute_ndcg(scores: np.ndarray, labels: np.ndarray, queries: np.ndarray, cutoff: int = CUTOFF) -> np.ndarray:
    """nDCG@cutoff of every query; nan where its candidates are all equally relevant, which ranks nothing.

    Candidates of one score share the mean of the discounts of their places: no order among them is made up.
    Source: McSherry and Najork, Computing information retrieval performance measures efficiently in the presence of
    tied scores, 2008.

    Args:
        scores, labels: (candidates,), labels from 0 on. queries: (candidates,), from 0 to the number of queries less 1.
    """
    count = int(queries.max()) + 1
    best = [np.full(count, extreme) for extreme in (-np.inf, np.inf)]
    np.maximum.at(best[0], queries, labels)
    np.minimum.at(best[1], queries, labels)
    found, ideal = (sum_gains(values, labels, queries, count, cutoff) for values in (scores, labels))
    return np.where(best[0] > best[1], divide(found, ideal), np.nan)


def sum_gains(values: np.ndarray, labels: np.ndarray, queries: np.ndarray, count: int, cutoff: int) -> np.ndarray:
    """Discounted gains of the candidates of every query, in the order of descending `values`."""
    order = np.lexsort((-values, queries))
    owners, ordered = queries[order], values[order]
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    sizes = np.diff(starts, append=len(owners))
    places = np.arange(len(owners)) - np.repeat(starts, sizes)
    discounts = np.where(places < cutoff, 1 / np.log2(places + 2.0), 0.0)
    is_new = (np.diff(owners, prepend=-1) != 0) | (np.diff(ordered, prepend=np.nan) != 0)
    ties = np.cumsum(is_new) - 1
    shared = np.bincount(ties, discounts) / np.bincount(ties)
    return np.bincount(owners, shared[ties] * labels[order], count)


def average_queries(values: np.ndarray) -> Scorer:
    """The mean over the queries that rank something, by their weights; values: (runs, queries), nan in all or none."""
    is_known = ~np.isnan(values[0])
    kept = values[:, is_known].T.astype(np.float32)
    return lambda weights: divide(weights[:, is_known] @ kept, weights[:, is_known].sum(axis=1, keepdims=True))


def correlate_candidates(answers: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> Scorer:
    """Pearson over all candidates, each by its query's weight."""
    score = score_pearson(answers, labels)
    return lambda weights: score(np.take(weights, queries, axis=1))
