"""Runs whose rows have no gold label are compared by agreement with the teacher, and the verdict says so."""

import json
from pathlib import Path

import numpy as np
import pytest

from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.report import list_blocks
from layer_distillation.comparison.results import analyse_unit
from layer_distillation.comparison.runs import Run, read_run
from layer_distillation.comparison.verdict import write_verdict
from simulated_runs import write_run

SPLITS = ["train", "validation", "test"]


def write_without_gold(folder: Path, strategy: str, without: list[str]) -> Run:
    """A simulated run of which the labels of some splits are gone."""
    write_run(folder, strategy)
    arrays = dict(np.load(folder / "predictions.npz"))
    path = folder / "run_record.json"
    record = json.loads(path.read_text())
    record["task"]["without_gold"] = without
    record["teacher"] |= {"kind": "soft labels", "columns": ["p_a", "p_b"], "layers": None, "parameters": None}
    record["teacher"] |= {"name": "soft labels of the training file", "is_local": False, "metrics": {}}
    if without == SPLITS:
        record["task"]["metric_names"] = ["agreement"]
    for split in without[1:]:
        arrays[f"{split}.labels"] = np.full_like(arrays[f"{split}.labels"], -100)
        chosen = [arrays[f"{split}.{model}_logits"].argmax(axis=1) for model in ("student", "teacher")]
        record["metrics"][split] = {"kl_to_teacher": 0.25, "agreement": float(np.mean(np.equal(*chosen)))}
    path.write_text(json.dumps(record))
    np.savez(folder / "predictions.npz", **arrays)
    return read_run(folder)


def test_agreement_is_the_metric_and_the_distance_to_the_teacher_the_loss(tmp_path):
    runs = [write_without_gold(tmp_path / name, name, SPLITS) for name in ("odd", "even")]
    [unit] = group_runs(runs)
    result = analyse_unit(unit, "auto", None, 500)
    assert (result.split, result.metric_name) == ("test", "agreement")
    assert result.best.estimate.value == max(run.record.metrics["test"]["agreement"] for run in runs)
    assert result.best.runs[0].validation_loss == 0.25
    assert result.teacher_metric == {}
    assert result.teacher_lead is None
    assert result.get_kept_share(result.best) is None
    verdict = write_verdict(result)
    assert "The teacher: soft labels of the training file (p_a, p_b); no teacher model was loaded." in verdict
    assert any(line.startswith("No gold label was seen: all scores are closeness to the teacher") for line in verdict)
    tables = {block.title: block.table for block in list_blocks([result], None, [])}
    [students] = [table for title, table in tables.items() if "the kept students" in title]
    assert students[0][2:4] == ["Validation KL to the teacher", "Validation agreement"]
    assert students[1][-1] == "-"


def test_gold_labels_of_the_evaluation_rows_score_as_ever_and_the_verdict_says_what_was_learned(tmp_path):
    runs = [write_without_gold(tmp_path / name, name, ["train"]) for name in ("odd", "even")]
    [unit] = group_runs(runs)
    result = analyse_unit(unit, "auto", None, 500)
    assert result.metric_name == "accuracy"
    assert result.name_loss("validation") == "loss"
    assert any(
        line.startswith("Trained on the teacher alone: no gold label in train.") for line in write_verdict(result)
    )


def test_validation_rows_without_gold_are_scored_by_closeness_though_the_test_has_gold(tmp_path):
    runs = [write_without_gold(tmp_path / name, name, ["train", "validation"]) for name in ("odd", "even")]
    [unit] = group_runs(runs)
    result = analyse_unit(unit, "auto", None, 500)
    assert (result.split, result.metric_name, result.metric_beside) == ("test", "accuracy", "agreement")
    expected = {run.record.strategy: run.record.metrics["validation"]["agreement"] for run in runs}
    assert {arm.name: arm.average("validation_metric") for arm in result.arms} == expected
    tables = {block.title: block.table for block in list_blocks([result], None, [])}
    [students] = [table for title, table in tables.items() if "the kept students" in title]
    assert students[0][2:4] == ["Validation KL to the teacher", "Validation agreement"]
    assert analyse_unit(unit, "validation", None, 500).metric_name == "agreement"
    with pytest.raises(ValueError, match="--metric is 'accuracy': validation has agreement"):
        analyse_unit(unit, "validation", "accuracy", 500)


def test_a_record_whose_agreement_is_not_that_of_its_predictions_is_left_out(tmp_path):
    run = write_without_gold(tmp_path / "odd", "odd", SPLITS)
    path = tmp_path / "odd" / "run_record.json"
    record = json.loads(path.read_text())
    record["metrics"]["test"]["agreement"] = run.record.metrics["test"]["agreement"] - 0.1
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="gives another test agreement than the record"):
        read_run(tmp_path / "odd")
