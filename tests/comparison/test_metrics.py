"""Scores under weights are scikit-learn's and scipy's on the repeated rows."""

import functools

import numpy as np
import pytest
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

from layer_distillation.comparison.metrics import draw_weights, limit_resamples, resample_scores, score_all_rows
from layer_distillation.tasks import metrics as task_metrics
from layer_distillation.tasks.kinds.entry import CLOSENESS_METRICS, Truth
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.metrics import METRICS
from layer_distillation.tasks.weighted_scores import (
    CLASS_SCORERS,
    NUMBER_SCORERS,
    RANKING_NAMES,
    compute_margins,
    make_scorer,
)

REFERENCES = {
    "accuracy": accuracy_score,
    "matthews_correlation": matthews_corrcoef,
    "pearson": lambda labels, scores: pearsonr(labels, scores).statistic,
    "spearmanr": lambda labels, scores: spearmanr(labels, scores).statistic,
    "roc_auc": lambda labels, margins: np.mean(
        [roc_auc_score(labels == label, margins[:, label]) for label in range(4) if label in labels]
    ),
    "average_precision": lambda labels, margins: np.mean(
        [average_precision_score(labels == label, margins[:, label]) for label in range(4) if label in labels]
    ),
}
for kind, score in {"precision": precision_score, "recall": recall_score, "f1": f1_score}.items():
    for average in ("binary", "micro", "macro", "weighted"):
        name = kind if average == "binary" else f"{average}_{kind}"
        REFERENCES[name] = functools.partial(score, average=average, zero_division=0.0)


def draw_rows(metric_name: str, num_runs: int = 3, num_rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    if metric_name in NUMBER_SCORERS:
        labels = generator.integers(0, 6, num_rows).astype(float)  # ties, as STS-B has them
        return labels + np.round(generator.normal(0, 2, (num_runs, num_rows)), 1) + 100, labels
    num_classes = 2 if metric_name in ("precision", "recall", "f1") else 4
    labels = generator.integers(0, num_classes, num_rows)
    if metric_name in RANKING_NAMES:
        margins = generator.normal(size=(num_runs, num_rows, num_classes)) + 0.8 * np.eye(num_classes)[labels]
        return np.round(margins, 1), labels  # with ties
    guesses = generator.integers(0, num_classes, (num_runs, num_rows))
    return np.where(generator.random((num_runs, num_rows)) < 0.6, labels, guesses), labels


def test_every_metric_of_the_tasks_can_be_compared():
    assert METRICS.keys() == REFERENCES.keys()
    assert METRICS.keys() == (CLASS_SCORERS.keys() | NUMBER_SCORERS.keys()) - set(CLOSENESS_METRICS.values())


@pytest.mark.parametrize("metric_name", REFERENCES)
def test_on_all_rows_it_is_the_metric(metric_name):
    decisions, labels = draw_rows(metric_name)
    expected = [REFERENCES[metric_name](labels, run) for run in decisions]
    assert score_all_rows(make_scorer(metric_name, decisions, labels), 40) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric_name", REFERENCES)
def test_weights_are_repetitions_of_rows(metric_name):
    decisions, labels = draw_rows(metric_name)
    weights = draw_weights(np.random.default_rng(0), 5, 40)
    scores = make_scorer(metric_name, decisions, labels)(weights)
    for resample, weight in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(40), weight)
        expected = [REFERENCES[metric_name](labels[rows], run[rows]) for run in decisions]
        assert scores[resample] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric_name", ["f1", "matthews_correlation", "pearson", "spearmanr"])
def test_a_constant_run_scores_zero(metric_name):
    decisions, labels = draw_rows(metric_name)
    decisions = np.zeros_like(decisions)
    assert score_all_rows(make_scorer(metric_name, decisions, labels), 40).tolist() == [0, 0, 0]


def test_a_correlation_has_no_unit():
    decisions, labels = draw_rows("pearson")
    scores = score_all_rows(make_scorer("pearson", decisions, labels), 40)
    shifted = score_all_rows(make_scorer("pearson", 1000 + 1e-6 * decisions, labels), 40)
    assert shifted == pytest.approx(scores, abs=1e-5)


def test_a_class_that_no_resample_holds_counts_in_no_mean():
    decisions, labels = np.array([[0, 1, 2]]), np.array([0, 1, 1])
    without_last = np.array([[1.0, 1.0, 0.0]])
    assert make_scorer("macro_f1", decisions, labels)(without_last).tolist() == [[1.0]]


@pytest.mark.parametrize(("metric_name", "undefined"), [("roc_auc", 0.5), ("average_precision", 0.0)])
def test_rankings_of_two_classes_are_of_class_1_and_have_a_value_without_it(metric_name, undefined):
    logits, labels = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 100.0]]), np.array([0, 1, 0, 1])
    scorer = make_scorer(metric_name, compute_margins(logits)[None], labels)
    expected = {"roc_auc": 3 / 4, "average_precision": (1 + 2 / 3) / 2}[metric_name]
    assert scorer(np.ones((1, 4)))[0] == pytest.approx([expected])
    assert scorer(np.array([[1.0, 0.0, 1.0, 0.0]])).tolist() == [[undefined]]


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize(
    "metric_name", [name for name in METRICS if name in CLASS_SCORERS and name not in ("precision", "recall", "f1")]
)
def test_the_task_and_the_comparison_give_one_score(metric_name, num_classes):
    generator = np.random.default_rng(1)
    labels = generator.integers(0, num_classes, 50)
    logits = (30 * generator.normal(size=(50, num_classes)) + 20 * np.eye(num_classes)[labels]).astype(np.float32)
    answers = compute_margins(logits) if metric_name in RANKING_NAMES else logits.argmax(axis=1)
    compared = score_all_rows(make_scorer(metric_name, answers[None], labels), 50)[0]
    assert task_metrics.compute_task_metrics(logits, labels, (metric_name,))[metric_name] == pytest.approx(compared)


def test_every_resample_draws_as_many_rows_as_there_are():
    weights = draw_weights(np.random.default_rng(0), 2000, 7)
    assert weights.shape == (2000, 7)
    assert set(weights.sum(axis=1)) == {7.0}
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)


def test_resampled_accuracy_varies_by_the_binomial_formula():
    is_right = np.arange(200) < 150
    scorer = make_scorer("accuracy", is_right[None].astype(int), np.ones(200, int))
    spread = resample_scores(scorer, 200, 4000).std()
    assert spread == pytest.approx(np.sqrt(0.75 * 0.25 / 200), rel=0.05)


def test_the_same_rows_are_drawn_for_every_run_and_every_time(monkeypatch):
    decisions, labels = draw_rows("accuracy")
    scorer = make_scorer("accuracy", np.stack([decisions[0], decisions[0]]), labels)
    scores = resample_scores(scorer, 40, 50)
    assert (scores[:, 0] == scores[:, 1]).all()
    monkeypatch.setattr(
        "layer_distillation.comparison.metrics.CHUNK_VALUES", 40 * 7
    )  # whatever the memory, the same resamples
    assert (resample_scores(scorer, 40, 50) == scores).all()


def limit(wanted: int, metric_name: str, num_rows: int, num_runs: int, num_classes: int) -> int:
    truth = Truth(np.zeros(num_rows), ["class"] * num_classes)
    return limit_resamples(wanted, TEXT_CLASSIFICATION.count_products(metric_name, truth), num_rows, num_runs)


def test_large_sets_get_fewer_resamples_but_never_more_than_wanted():
    assert limit(10_000, "accuracy", 5000, 60, 3) == 10_000
    assert limit(10_000, "spearmanr", 1000, 60, 1) == 2500
    assert limit(10_000, "accuracy", 400_000, 60, 3) == 500
    assert limit(100, "accuracy", 400_000, 60, 3) == 100
