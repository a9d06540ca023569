"""A retrieval set beside the task's rows: compared by its own metrics, its queries resampled, and on the card."""

import json
from pathlib import Path

import numpy as np
import pytest

from compare_strategies import main as compare
from layer_distillation.cards.metadata import list_results
from layer_distillation.cards.scores import list_scores
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.report import list_blocks
from layer_distillation.comparison.results import analyse_unit
from layer_distillation.comparison.runs import read_run, read_runs
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.report import format_report
from simulated_runs import write_run

QUERIES = 80
SIZES = {"queries": QUERIES, "documents": 300, "fingerprint": "texts"}


def write_searching_run(folder: Path, strategy: str, seed: int, found: float, sizes: dict = SIZES) -> Path:
    """One of which each query finds its document at the first place with this probability, else not at all."""
    write_run(folder, strategy, seed, task={"retrieval": {"xquad": sizes}})
    draw = np.random.default_rng(seed)
    scores = {"student": draw.random((sizes["queries"], 1)) < found, "teacher": np.ones((sizes["queries"], 1))}
    scores = {name: np.repeat(values, 2, axis=1).astype(float) for name, values in scores.items()}
    with np.load(folder / "predictions.npz") as stored:
        arrays = dict(stored) | {f"xquad.{name}_scores": values for name, values in scores.items()}
    np.savez_compressed(folder / "predictions.npz", **arrays)
    record = read_run_record(folder)
    for metrics, values in ((record.metrics, scores["student"]), (record.teacher["metrics"], scores["teacher"])):
        metrics["xquad"] = dict(zip(("ndcg_at_10", "recall_at_10"), values.mean(axis=0).tolist(), strict=True))
    record.write(folder)
    return folder


def write_sweep(folder: Path) -> None:
    for strategy, found in {"top": 0.9, "bottom": 0.4}.items():
        for seed in (1, 2):
            write_searching_run(folder / f"{strategy}{seed}", strategy, seed, found)


def test_its_queries_are_what_is_compared_and_resampled(tmp_path):
    write_sweep(tmp_path)
    [unit] = group_runs(read_runs(find_run_folders([tmp_path]))[0])
    result = analyse_unit(unit, "xquad", None, 400)
    assert (result.metric_name, result.num_rows, result.best.name) == ("ndcg_at_10", QUERIES, "top")
    [pair] = result.comparisons
    means = {run.folder: run.arrays["xquad.student_scores"][:, 0].mean() for run in unit.runs}
    expected = np.mean([means[str(tmp_path / f"top{s}")] - means[str(tmp_path / f"bottom{s}")] for s in (1, 2)])
    assert pair.estimate.value == pytest.approx(expected, abs=1e-6)
    assert pair.estimate.low > 0.2
    assert result.teacher_metric == {"xquad": 1.0}
    tables = {block.title.partition(" (")[0]: block.table for block in list_blocks([result], None, [])}
    [students] = [table for title, table in tables.items() if "the kept students" in title]
    assert students[0][3] == "Validation accuracy"
    assert tables["Over seeds"][2][3] == "-"  # the loss, which a retrieval set has none of
    assert analyse_unit(unit, "xquad", "recall_at_10", 400).metric_name == "recall_at_10"
    assert analyse_unit(unit, "auto", None, 400).metric_name == "accuracy"
    with pytest.raises(ValueError, match="--metric is 'accuracy': xquad has ndcg_at_10, recall_at_10"):
        analyse_unit(unit, "xquad", "accuracy", 400)
    with pytest.raises(ValueError, match=r"--split arguana: no labelled arguana rows .*test, xquad"):
        analyse_unit(unit, "arguana", None, 400)


def test_the_command_compares_by_it(tmp_path):
    write_sweep(tmp_path / "runs")
    flags = ["--output_dir", str(tmp_path / "compared"), "--split", "xquad", "--resamples", "200"]
    assert compare([str(tmp_path / "runs"), *flags]) == 0
    unit = json.loads((tmp_path / "compared" / "comparison.json").read_text())["units"][0]
    assert (unit["split"], unit["metric_name"], unit["rows"]) == ("xquad", "ndcg_at_10", QUERIES)


def test_card_and_report_have_its_scores(tmp_path):
    folder = write_searching_run(tmp_path, "top", 1, 0.8)
    record = read_run_record(folder)
    [score] = [score for score in list_scores(folder, record) if score.name == "ndcg_at_10"]
    assert (score.split, score.rows, score.teacher) == ("xquad", QUERIES, 1.0)
    assert score.student_interval[0] < score.student < score.student_interval[1]
    assert ("xquad", "recall_at_10") in [
        (entry.dataset_split, entry.metric_type) for entry in list_results(record, None)
    ]
    lines = format_report(record, "folder").splitlines()
    assert any(line.startswith("xquad ndcg_at_10") and line.split()[2] == "1.0000" for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [("drop", "does not hold the queries of xquad"), ("score", "gives another xquad ndcg_at_10 than the record")],
)
def test_scores_that_are_not_the_records_are_left_out(tmp_path, change, message):
    folder = write_searching_run(tmp_path, "top", 1, 0.8)
    with np.load(folder / "predictions.npz") as stored:
        arrays = dict(stored)
    arrays["xquad.student_scores"] = arrays["xquad.student_scores"][1:] if change == "drop" else np.zeros((QUERIES, 2))
    np.savez_compressed(folder / "predictions.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_runs_of_other_sets_are_not_compared(tmp_path):
    write_searching_run(tmp_path / "a", "top", 1, 0.9)
    write_searching_run(tmp_path / "b", "bottom", 1, 0.4)
    write_searching_run(tmp_path / "c", "even", 1, 0.4, SIZES | {"fingerprint": "other texts"})
    [unit] = group_runs(read_runs(find_run_folders([tmp_path]))[0])
    assert len(unit.runs) == 2
