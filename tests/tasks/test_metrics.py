"""Metrics by hand and against scikit-learn and scipy; exact losses; offline; safe in two processes at once."""

import math
import multiprocessing
import socket

import evaluate.config
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    log_loss,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)

from layer_distillation.tasks.metrics import METRICS, compute_task_loss, compute_task_metrics, compute_teacher_agreement

LABELS = np.array([0, 1, 1, 0, 1])
LOGITS = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], np.float32)  # predicts 0 1 0 1 1
SCORES = np.array([[1.0], [3.0], [2.0], [5.0]], np.float32)
TARGETS = np.array([1.0, 2.0, 3.0, 4.0], np.float32)


def score_once(seed: int) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(2000, 3)), generator.integers(0, 3, 2000)
    return compute_task_metrics(logits, labels, ("accuracy", "macro_f1", "matthews_correlation"))


def test_classification_metrics_are_those_computed_by_hand():
    scores = compute_task_metrics(LOGITS, LABELS, ("accuracy", "f1", "macro_f1", "matthews_correlation"))
    # Of class 1: 2 true positives, 1 false positive, 1 false negative; of class 0: 1, 1 and 1.
    assert scores == pytest.approx(
        {"accuracy": 3 / 5, "f1": 2 / 3, "macro_f1": (2 / 3 + 1 / 2) / 2, "matthews_correlation": 1 / 6}
    )


def test_regression_metrics_are_those_computed_by_hand():
    scores = compute_task_metrics(SCORES, TARGETS, ("pearson", "spearmanr"))
    # Deviations (-1.75, .25, -.75, 2.25) and (-1.5, -.5, .5, 1.5); ranks 1 3 2 4 and 1 2 3 4.
    assert scores == pytest.approx({"pearson": 5.5 / math.sqrt(8.75 * 5), "spearmanr": 0.8})


def test_metrics_equal_scikit_learn_and_scipy_on_random_rows():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(300, 4)), generator.integers(0, 4, 300)
    scores = compute_task_metrics(logits, labels, ("macro_f1", "matthews_correlation"))
    assert scores["macro_f1"] == f1_score(labels, logits.argmax(1), average="macro")
    assert scores["matthews_correlation"] == matthews_corrcoef(labels, logits.argmax(1))
    targets = generator.normal(size=300)
    scores = compute_task_metrics(logits[:, 0], targets, ("pearson", "spearmanr"))
    assert scores["pearson"] == pearsonr(logits[:, 0], targets).statistic
    assert scores["spearmanr"] == spearmanr(logits[:, 0], targets).statistic


@pytest.mark.parametrize("num_classes", [2, 3])
def test_averages_and_rankings_are_scikit_learn_s(num_classes):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(200, num_classes)), generator.integers(0, num_classes, 200)
    probabilities = softmax(logits, axis=1)
    positive = probabilities[:, 1] if num_classes == 2 else probabilities
    expected = {
        "roc_auc": roc_auc_score(labels, positive, multi_class="ovr", average="macro"),
        "average_precision": average_precision_score(labels, positive),
    }
    for name, score in {"precision": precision_score, "recall": recall_score, "f1": f1_score}.items():
        for average in ("micro", "macro", "weighted"):
            expected[f"{average}_{name}"] = score(labels, logits.argmax(1), average=average)
        if num_classes == 2:
            expected[name] = score(labels, logits.argmax(1))
    assert compute_task_metrics(logits, labels, tuple(expected)) == pytest.approx(expected)


def test_rankings_tell_confident_rows_apart_and_have_a_value_for_one_class():
    logits, labels = np.array([[0.0, 50.0], [0.0, 60.0], [0.0, 70.0]]), np.array([0, 1, 1])  # softmax is 1 for all
    assert compute_task_metrics(logits, labels, ("roc_auc",)) == {"roc_auc": 1.0}
    scores = compute_task_metrics(logits, np.zeros(3, int), ("roc_auc", "average_precision"))
    assert scores == {"roc_auc": 0.5, "average_precision": 0.0}
    assert compute_task_metrics(logits, np.ones(3, int), ("roc_auc", "average_precision"))["average_precision"] == 1.0


def test_rows_without_a_label_are_not_scored():
    labels = np.array([0, 1, 1, 0, -100])
    expected = compute_task_metrics(LOGITS[:4], LABELS[:4], ("accuracy",))
    assert compute_task_metrics(LOGITS, labels, ("accuracy",)) == expected == {"accuracy": 0.5}
    assert compute_task_loss(LOGITS, labels) == compute_task_loss(LOGITS[:4], LABELS[:4])
    targets = np.array([1.0, np.nan, 3.0, np.nan], np.float32)
    assert compute_task_loss(SCORES, targets) == pytest.approx((0 + 1) / 2)


@pytest.mark.parametrize("name", ["matthews_correlation", "pearson", "spearmanr"])
def test_constant_predictions_score_zero_not_nan(name, recwarn):
    is_regression = name != "matthews_correlation"
    predictions, labels = (np.ones((4, 1)), TARGETS) if is_regression else (np.ones((5, 2)), LABELS)
    assert compute_task_metrics(predictions, labels, (name,)) == {name: 0.0}
    assert not [warning for warning in recwarn if "constant" in str(warning.message)]


def test_constant_labels_and_a_single_row_score_zero_not_nan():
    assert compute_task_metrics(SCORES, np.ones(4, np.float32), ("pearson",)) == {"pearson": 0.0}
    assert compute_task_metrics(SCORES[:1], TARGETS[:1], ("spearmanr",)) == {"spearmanr": 0.0}


def test_f1_of_a_class_never_predicted_is_zero():
    assert compute_task_metrics(np.tile([1.0, 0.0], (5, 1)), LABELS, ("f1",)) == {"f1": 0.0}


def test_every_metric_returns_one_number_under_its_own_name():
    for name in METRICS:
        scores = compute_task_metrics(
            *((SCORES, TARGETS) if name in ("pearson", "spearmanr") else (LOGITS, LABELS)), (name,)
        )
        assert list(scores) == [name]
        assert type(scores[name]) is float


def test_metrics_need_no_network_and_leave_no_files(monkeypatch, tmp_path):
    def refuse(*arguments, **keywords):
        raise AssertionError("a metric opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "metrics")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compute_task_metrics(LOGITS, LABELS, ("accuracy", "f1"))
    assert list(tmp_path.iterdir()) == []


def test_scoring_leaves_the_random_state_as_it_was():
    np.random.seed(3)
    expected = np.random.rand(2)
    np.random.seed(3)
    compute_task_metrics(LOGITS, LABELS, ("accuracy",))
    assert (np.random.rand(2) == expected).all()


def test_two_processes_score_at_once_without_a_clash():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        scores = pool.map(score_once, [0, 1] * 4, chunksize=1)
    assert scores == [score_once(0), score_once(1)] * 4


def test_cross_entropy_is_the_mean_over_rows_in_float64():
    expected = -(math.log(1 / (1 + math.e)) + math.log(1 / (1 + math.exp(-3)))) / 2
    assert compute_task_loss(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([1, 0])) == pytest.approx(expected, abs=1e-15)
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(50, 3)), generator.integers(0, 3, 50)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert compute_task_loss(logits, labels) == pytest.approx(log_loss(labels, probabilities, labels=[0, 1, 2]))


def test_cross_entropy_survives_huge_logits():
    assert compute_task_loss(np.array([[1000.0, -1000.0]], np.float32), np.array([1])) == 2000.0


@pytest.mark.parametrize("score_shape", [(4,), (4, 1)])
@pytest.mark.parametrize("label_shape", [(4,), (4, 1)])
def test_squared_error_never_broadcasts(score_shape, label_shape):
    # Differences 0, 1, -1, 1; a 4 x 4 broadcast would give 3.9375.
    assert compute_task_loss(SCORES.reshape(score_shape), TARGETS.reshape(label_shape)) == 0.75


def test_agreement_is_kl_in_nats_and_the_share_of_equal_choices():
    student, teacher = np.log([[0.5, 0.5], [0.8, 0.2]]), np.log([[0.25, 0.75], [0.8, 0.2]])
    expected = (0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)) / 2
    scores = compute_teacher_agreement(student, teacher)
    assert scores == pytest.approx({"kl_to_teacher": expected, "agreement": 0.5})


def test_agreement_with_itself_is_exact_and_temperature_divides_logits():
    assert compute_teacher_agreement(LOGITS, LOGITS) == {"kl_to_teacher": 0.0, "agreement": 1.0}
    softened = compute_teacher_agreement(LOGITS, LOGITS[::-1], temperature=2.0)
    assert softened == compute_teacher_agreement(LOGITS / 2, LOGITS[::-1] / 2)


def test_agreement_of_scores_is_squared_error_and_correlation():
    scores = compute_teacher_agreement(SCORES, TARGETS)
    assert scores == pytest.approx({"mse_to_teacher": 0.75, "pearson_to_teacher": 5.5 / math.sqrt(8.75 * 5)})


@pytest.mark.parametrize(
    ("score", "remedy"),
    [
        (lambda: compute_task_metrics(LOGITS, LABELS, ("acuracy",)), "choose from"),
        (lambda: compute_task_metrics(LOGITS, LABELS[:3], ("accuracy",)), "give equally many"),
        (lambda: compute_task_metrics(LOGITS[:0], LABELS[:0], ("accuracy",)), "at least one"),
        (lambda: compute_task_metrics(LOGITS, np.full(5, -100), ("accuracy",)), "score a split that is labelled"),
        (lambda: compute_task_metrics(LOGITS * np.nan, LABELS, ("accuracy",)), "lower the learning rate"),
        (lambda: compute_task_loss(LOGITS, LABELS.astype(np.float32)), r"needs \(rows,\) or \(rows, 1\)"),
        (lambda: compute_teacher_agreement(LOGITS, np.ones((5, 3))), "give both one shape"),
        (lambda: compute_teacher_agreement(LOGITS, LOGITS[:2]), "give equally many"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(score, remedy):
    with pytest.raises(ValueError, match=remedy) as refusal:
        score()
    assert "\n" not in str(refusal.value)
