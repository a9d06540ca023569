"""Scores of made-up answers: as the run's own where they are its own, paired changes, regressions."""

import numpy as np
import pytest

from layer_distillation.export.scoring import find_headline, measure_change, read_run, score_artifact
from layer_distillation.records.export_record import Artifact
from layer_distillation.records.run_record import read_run_record
from simulated_runs import write_run

REGRESSION = {"num_classes": 1, "metric_names": ("pearson", "spearmanr")}


def read(folder, **options):
    path = write_run(folder, **options)
    return read_run(path, read_run_record(path))


def list_logits(run, model: str = "student") -> dict[str, np.ndarray]:
    return {split: run.arrays[f"{split}.{model}_logits"] for split in ("validation", "test")}


@pytest.mark.parametrize("options", [{}, REGRESSION], ids=["classes", "numbers"])
def test_the_students_own_answers_have_its_scores_and_no_change(tmp_path, options):
    run = read(tmp_path, **options)
    made = Artifact("student", "onnx", None, 1)
    score_artifact(made, list_logits(run), run)
    for split, metrics in run.record.metrics.items():
        for name in run.record.task["metric_names"]:
            assert made.metrics[split][name] == pytest.approx(metrics[name], abs=1e-6)
            low, high = made.intervals[split][name]
            assert low < metrics[name] < high
        assert made.agreement[split]["student"] == pytest.approx(1.0)
    assert measure_change(list_logits(run), run) == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_a_change_is_paired_by_row(tmp_path):
    """Ten of the right answers turned wrong: all resamples lose, and far less than the unpaired interval is wide."""
    run = read(tmp_path)
    logits = {split: array.copy() for split, array in list_logits(run).items()}
    labels = run.arrays["test.labels"]
    right = np.flatnonzero(logits["test"].argmax(axis=1) == labels)[:10]
    logits["test"][right] = np.roll(logits["test"][right], 1, axis=1)
    change = measure_change(logits, run)
    assert find_headline(run) == ("test", "accuracy")
    assert change["difference"] == pytest.approx(-10 / len(labels))
    assert change["low"] < change["difference"] < change["high"] < 0


def test_without_labels_of_test_the_validation_rows_decide(tmp_path):
    run = read(tmp_path, has_test_labels=False)
    assert find_headline(run) == ("validation", "accuracy")
    made = Artifact("teacher", "onnx", None, 1)
    score_artifact(made, list_logits(run, "teacher"), run)
    assert set(made.metrics) == {"validation"}
    assert made.agreement["test"]["teacher"] == 1.0 > made.agreement["test"]["student"]
