"""Intervals of the card's scores, and which run a row of a comparison belongs to."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from compare_strategies import main as compare
from layer_distillation.cards.scores import estimate_interval, list_scores, read_comparison_row
from layer_distillation.comparison.runs import read_run
from layer_distillation.records.run_record import RunRecord, read_run_record
from made_students import make_record, write_predictions
from simulated_runs import write_run


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two strategies of two seeds, compared."""
    for strategy, accuracy in {"top": 0.85, "bottom": 0.5}.items():
        for seed in (1, 2):
            write_run(tmp_path / "runs" / f"{strategy}{seed}", strategy, seed, accuracy)
    flags = [str(tmp_path / "runs"), "--output_dir", str(tmp_path / "comparison"), "--no_pictures"]
    assert compare([*flags, "--resamples", "200"]) == 0
    return tmp_path / "runs"


# ---- intervals -------------------------------------------------------------------------------------------------------


def compute_wilson(count: int, rows: int) -> tuple[float, float]:
    """(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z = 1.96"""
    share, square = count / rows, 1.959963984540054**2 / rows
    spread = math.sqrt(square * share * (1 - share) + square**2 / 4)
    return (share + square / 2 - spread) / (1 + square), (share + square / 2 + spread) / (1 + square)


def test_a_share_of_rows_has_wilsons_interval(tmp_path):
    write_predictions(tmp_path)
    scores = {(score.split, score.name): score for score in list_scores(tmp_path, make_record())}
    accuracy = scores["validation", "accuracy"]
    assert accuracy.student_interval == pytest.approx(compute_wilson(5, 8))
    assert accuracy.teacher_interval == pytest.approx(compute_wilson(6, 8))
    assert scores["validation", "agreement"].student_interval == pytest.approx(compute_wilson(7, 8))
    assert scores["validation", "agreement"].teacher_interval is None
    assert scores["validation", "loss"].student_interval is None


@pytest.mark.parametrize("num_classes", [1, 3])
def test_other_metrics_have_the_bootstraps_interval_around_them(num_classes, tmp_path):
    names = ("pearson", "spearmanr") if num_classes == 1 else ("macro_f1", "matthews_correlation")
    run = read_run(write_run(tmp_path / "run", accuracy=0.8, num_classes=num_classes, metric_names=names))
    for name in names:
        low, high = estimate_interval(run, "test", name, "student")
        assert low < run.record.metrics["test"][name] < high
        assert 0.05 < high - low < 0.3
        assert estimate_interval(run, "test", name, "student") == (low, high)


def test_where_every_resample_gives_one_score_there_is_no_interval(tmp_path):
    run = read_run(write_run(tmp_path / "run", accuracy=0.8, metric_names=("macro_f1", "accuracy")))
    perfect = np.eye(3)[run.get_truth("test").labels]
    run.arrays["test.student_logits"] = perfect
    assert estimate_interval(run, "test", "macro_f1", "student") is None
    low, high = estimate_interval(run, "test", "accuracy", "student")
    assert (low, high) == pytest.approx(compute_wilson(120, 120))


@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_without_whole_predictions_scores_stand_without_intervals_and_it_is_said(content, tmp_path, caplog):
    if content is not None:
        (tmp_path / "predictions.npz").write_bytes(content)
    scores = list_scores(tmp_path, make_record())
    assert [score.student for score in scores] == [0.625, 0.75, 0.875, 0.75, 0.5]
    assert all(score.student_interval is None for score in scores)
    assert "no intervals in the model card" in caplog.text


def test_predictions_of_another_student_give_no_intervals(tmp_path):
    write_predictions(tmp_path)
    scores = list_scores(tmp_path, make_record(metrics={"validation": {"accuracy": 0.5, "loss": 0.75}}))
    assert all(score.student_interval is None for score in scores)


# ---- comparison ------------------------------------------------------------------------------------------------------


def read_row(runs: Path, name: str, record: RunRecord | None = None):
    return read_comparison_row(runs.parent / "comparison", record or read_run_record(runs / name), runs / name)


def test_a_run_finds_its_strategys_row(runs):
    row = read_row(runs, "bottom2")
    unit = json.loads((runs.parent / "comparison" / "comparison.json").read_text())["units"][0]
    arm = next(arm for arm in unit["arms"] if arm["arm"] == "bottom")
    assert (row.arm, row.best, row.split, row.metric_name, row.rows) == ("bottom", "top", "test", "accuracy", 120)
    assert row.seeds == ["1", "2"]
    assert (row.mean, row.standard_deviation) == (arm["metric"], arm["metric_standard_deviation"])
    assert row.difference == arm["difference_to_best"] > 0.2
    assert row.interval == (arm["difference_low"], arm["difference_high"])
    assert row.p_value == arm["p_holm"]
    assert len(row.verdict) == 2
    assert row.verdict[1].startswith("bottom ")


def test_the_best_strategy_has_no_difference_to_itself(runs):
    row = read_row(runs, "top1")
    assert (row.difference, row.interval, row.p_value) == (None, None, None)
    assert len(row.verdict) == 1


@pytest.mark.parametrize(
    "change", [{"seed": 9}, {"strategy": "even"}, {"task": {"fingerprint": "others"}}, {"student": {"layers": [2, 1]}}]
)
def test_a_run_that_was_not_compared_is_refused_with_the_remedy(change, runs):
    record = read_run_record(runs / "top1")
    for name, value in change.items():
        setattr(record, name, getattr(record, name) | value if isinstance(value, dict) else value)
    with pytest.raises(ValueError, match=r"does not hold this run.*run compare_strategies.py again with .*top1"):
        read_row(runs, "top1", record)


def test_a_run_trained_again_since_is_refused(runs):
    record = read_run_record(runs / "top1")
    record.metrics["test"]["accuracy"] -= 0.05
    with pytest.raises(ValueError, match="does not hold this run"):
        read_row(runs, "top1", record)


@pytest.mark.parametrize("content", ["{", "[]", '{"units": [{}]}', '{"units": 3}', "\x00"])
def test_what_is_no_comparison_is_refused(content, runs):
    (runs.parent / "comparison" / "comparison.json").write_text(content)
    with pytest.raises(ValueError, match=r"is no comparison of this version: run compare_strategies.py again"):
        read_row(runs, "top1")


def test_a_folder_without_a_comparison_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match=r"no comparison is in .*give a folder that holds comparison\.json"):
        read_comparison_row(tmp_path / "runs", read_run_record(runs / "top1"), runs / "top1")


def test_a_run_is_found_in_a_comparison_of_what_was_varied(runs, tmp_path):
    folder = write_run(runs / "hot", "top", 1, 0.8, arguments={"temperature": 4.0})
    flags = [str(runs), "--output_dir", str(tmp_path / "comparison"), "--no_pictures", "--vary", "temperature"]
    assert compare([*flags, "--resamples", "200"]) == 0
    row = read_comparison_row(tmp_path / "comparison", read_run_record(folder), folder)
    assert "top, temperature 4" in str(row)
