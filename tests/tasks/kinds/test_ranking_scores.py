"""nDCG of queries over given candidates: by hand, and equal to scikit-learn's on random ties and gains."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from layer_distillation.tasks.kinds.entry import Truth
from layer_distillation.tasks.kinds.ranking_scores import compute_ndcg
from layer_distillation.tasks.kinds.reranking import RERANKING


def test_three_queries_by_hand():
    """The relevant text first; second of three; and tied with one other for the first two places."""
    scores, labels = np.array([3.0, 2, 1, 2, 3, 1, 5, 5, 0]), np.array([1.0, 0, 0, 1, 0, 0, 0, 1, 0])
    found = compute_ndcg(scores, labels, np.repeat([0, 1, 2], 3))
    second = 1 / np.log2(3)
    assert found == pytest.approx([1, second, (1 + second) / 2])


def test_gains_are_linear_and_places_beyond_ten_count_nothing():
    assert compute_ndcg(np.array([1.0, 2]), np.array([3.0, 1]), np.zeros(2, int)) == pytest.approx(
        [(1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))]
    )
    labels = np.zeros(11)
    labels[10] = 1
    assert compute_ndcg(-np.arange(11.0), labels, np.zeros(11, int)).tolist() == [0]


def test_random_queries_are_scored_as_scikit_learn_does():
    draw = np.random.default_rng(0)
    sizes = draw.integers(2, 30, 60)
    queries = np.repeat(np.arange(60), sizes)
    scores, labels = draw.integers(0, 6, len(queries)) / 2.0, draw.integers(0, 4, len(queries)) / 3.0
    order = draw.permutation(len(queries))  # candidates of a query need not lie together
    found = compute_ndcg(scores[order], labels[order], queries[order])
    for query in range(60):
        own = queries == query
        if len(set(labels[own])) == 1:
            assert np.isnan(found[query])
        else:
            assert found[query] == pytest.approx(ndcg_score([labels[own]], [scores[own]], k=10))


def test_queries_that_rank_nothing_are_left_out_and_weights_count_queries():
    queries = np.array([7, 7, 2, 2, 2, 9])  # any numbers
    truth = Truth(np.array([1.0, 0, 0, 1, 0, 1]), None, units=queries)
    logits = np.array([[1.0], [2], [0], [5], [1], [3]])
    second = 1 / np.log2(3)
    assert RERANKING.score(logits, truth, ["ndcg_at_10"]) == {"ndcg_at_10": pytest.approx((1 + second) / 2)}
    score = RERANKING.list_scorers(None)["ndcg_at_10"](logits.reshape(1, -1), truth)  # queries in the order 2, 7, 9
    weights = np.array([[1, 0, 5], [1, 3, 0], [0, 0, 2]], np.float32)
    assert score(weights)[:, 0] == pytest.approx([1, (1 + 3 * second) / 4, 0])


def test_closeness_weighs_candidates_by_their_query():
    draw = np.random.default_rng(1)
    ours, theirs, queries = draw.normal(size=9), draw.normal(size=9), np.repeat([0, 1, 2], 3)
    score = RERANKING.list_scorers(None)["pearson_to_teacher"](ours[None], Truth(theirs, None, units=queries))
    kept = np.r_[0:3, 0:3, 6:9]
    assert score(np.array([[2, 0, 1.0]]))[0, 0] == pytest.approx(np.corrcoef(ours[kept], theirs[kept])[0, 1])
