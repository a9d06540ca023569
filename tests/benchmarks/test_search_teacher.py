"""The search of a teacher's settings on a tiny project: what it writes, skips, ranks and refuses."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import run_distillation
from benchmarks.search_teacher import main
from layer_distillation.teachers import training
from tiny_project import make_project

DRAFT = {
    "task": "csv",
    "settings": {"learning_rate": 0.0001, "epochs": 1, "batch": 32, "warmup": 0.1, "weight_decay": 0.0}
    | {"layer_decay": 1.0, "seed": 42},
    "seconds": 93.2,
    "epochs": [
        {"validation_loss": 0.4, "validation_accuracy": 0.7, "test_loss": 0.5, "test_accuracy": 0.6},
        {"validation_loss": 0.5, "validation_accuracy": 0.9, "test_loss": 0.7, "test_accuracy": 0.8},
    ],
}


def test_trials_are_written_once_and_ranked_by_the_kept_epoch(tmp_path, capsys):
    flags = make_project(tmp_path, has_head=False)
    path = tmp_path / "trials.jsonl"
    words = [str(path), "--trial", "learning_rate=1e-3,epochs=2,layer_decay=0.9,batch=8"]
    assert main([*words, "--", *flags]) == 0
    [line] = path.read_text().splitlines()
    trial = json.loads(line)
    assert list(trial) == ["task", "settings", "seconds", "epochs"]
    assert trial["settings"] == DRAFT["settings"] | {
        "learning_rate": 1e-3,
        "epochs": 2,
        "layer_decay": 0.9,
        "batch": 8,
    }
    assert len(trial["epochs"]) == 2
    assert {"validation_loss", "validation_accuracy", "test_loss", "test_accuracy"} <= trial["epochs"][0].keys()
    path.write_text(line + "\n" + json.dumps(DRAFT | {"task": trial["task"]}) + "\n")
    capsys.readouterr()
    assert main([*words, "--trial", "learning_rate=1e-4,epochs=1", "--", *flags]) == 0
    assert len(path.read_text().splitlines()) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "| 0.0001 | 1 | 32 | 1 | 0.7000 | 0.6000 | 0.9000 | 0.8000 | 93 |" in lines
    best = json.loads(lines[-1])
    if best["settings"]["batch"] == 32:
        assert best["flags"] == "--teacher_learning_rate 0.0001 --teacher_num_train_epochs 1"
        assert best["epoch"]["validation_accuracy"] == 0.7


def test_the_metric_may_choose_the_epoch_that_is_kept(tmp_path, capsys):
    flags = make_project(tmp_path, has_head=False)
    path = tmp_path / "trials.jsonl"
    path.write_text(json.dumps(DRAFT | {"task": tmp_path.name}) + "\n")
    name = "--teacher_metric_for_best_model"
    assert main([str(path), "--", *flags, name, "accuracy"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["epoch"]["validation_accuracy"] == 0.9
    assert main([str(path), "--", *flags, name, "auc"]) == 2
    assert f"a trial of {tmp_path.name} has validation_loss, validation_accuracy" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_with_these_flags_makes_the_same_teacher(tmp_path, monkeypatch):
    """Its weights after the last epoch; the run keeps the epoch of the lowest loss."""
    flags = make_project(tmp_path, has_head=False)
    found = []
    make = training.make_trainer

    def remember(*values):
        trainer = make(*values)
        found.append(trainer)
        return trainer

    for place in ("benchmarks.search_teacher", "layer_distillation.teachers.training"):
        monkeypatch.setattr(f"{place}.make_trainer", remember)
    assert (
        main([str(tmp_path / "t.jsonl"), "--trial", "learning_rate=1e-3,epochs=1,layer_decay=0.5", "--", *flags]) == 0
    )
    own = {"learning_rate": 1e-3, "num_train_epochs": 1, "layer_decay": 0.5}
    assert run_distillation.main([*flags, *(f"--teacher_{name}={value}" for name, value in own.items())]) == 0
    [folder] = [path for path in (tmp_path / "cache" / "teachers").iterdir() if path.is_dir()]
    kept = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in found[0].model.state_dict().items())


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ("learning_rat=1", "--trial has 'learning_rat=1': give name=value,..., names are learning_rate"),
        ("epochs=x", "give epochs a number"),
        ("", "names are"),
        ("layer_decay=2", "--teacher_layer_decay is 2: give 1 (none) or less"),
        ("epochs=1", "has a trained head"),
    ],
)
def test_what_cannot_be_tried_is_one_line(tmp_path, capsys, trial, message):
    flags = make_project(tmp_path)
    assert main([str(tmp_path / "t.jsonl"), "--trial", trial, "--", *flags]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "t.jsonl").exists()


@pytest.mark.parametrize(("content", "message"), [('{"task": "x"', "line 1 is no trial"), ("", "holds no trial of")])
def test_a_file_without_trials_is_one_line(tmp_path, capsys, content, message):
    (tmp_path / "t.jsonl").write_text(content)
    assert main([str(tmp_path / "t.jsonl"), "--", *make_project(tmp_path, has_head=False)]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
