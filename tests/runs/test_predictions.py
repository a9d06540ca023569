"""Predictions are kept in the order of the rows, and scored where there are labels."""

import numpy as np
import pytest
from datasets import Dataset
from transformers import EvalPrediction

from layer_distillation.runs.predictions import add_teacher_logits, save_predictions, score_logits, select_scores
from layer_distillation.tasks.loading import TaskData


def make_data(test_labels: list[int]) -> TaskData:
    train, validation, test = (Dataset.from_dict({"labels": labels}) for labels in ([0, 1], [0, 1, 1], test_labels))
    return TaskData("tiny", train, {"validation": validation}, test, ("text",), ["a", "b"], ("accuracy",), None, None)


LOGITS = {"validation": np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]]), "test": np.array([[0.0, 1.0], [1.0, 0.0]])}


def score(prediction: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def test_a_split_without_labels_is_not_scored():
    scores = score_logits(make_data([-100, -100]), LOGITS, score)
    assert scores.keys() == {"validation"}
    assert scores["validation"]["accuracy"] == pytest.approx(2 / 3)
    right, wrong = np.log(1 + np.exp(-2.0)), np.log(1 + np.exp(2.0))
    assert scores["validation"]["loss"] == pytest.approx((2 * right + wrong) / 3)


def test_teacher_logits_stay_with_their_rows():
    data = add_teacher_logits(make_data([0, 1]), LOGITS)
    assert data.validation["validation"][1]["teacher_logits"] == [0.0, 2.0]
    assert data.test[1]["teacher_logits"] == [1.0, 0.0]
    assert "teacher_logits" not in data.train.column_names


def test_predictions_are_written_without_pickle(tmp_path):
    save_predictions({"test": {"student_logits": LOGITS["test"], "labels": np.array([0, 1])}}, tmp_path)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as stored:
        assert stored.files == ["test.student_logits", "test.labels"]
        np.testing.assert_array_equal(stored["test.student_logits"], LOGITS["test"])
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_timings_are_no_scores():
    metrics = {"test_loss": 1.0, "test_accuracy": 0.5, "test_runtime": 3.0, "test_samples_per_second": 9.0}
    assert select_scores(metrics, "test") == {"loss": 1.0, "accuracy": 0.5}
