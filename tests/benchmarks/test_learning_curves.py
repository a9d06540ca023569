"""The curves of several arms: what is kept, last and best against hand-made histories, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.learning_curves import build_learning_curves, main
from figure_checks import LONG_NAMES, check_legible, list_texts
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.runs import read_runs
from simulated_runs import write_run

METRICS = {3: [0.1, 0.4, 0.3], 4: [0.3, 0.2, 0.7]}  # seed -> after each epoch


def write_curve(folder: Path, seed: int, **changes: object) -> Path:
    history = [
        {"epoch": epoch, "eval_loss": 1.0 / epoch, "eval_accuracy": value}
        for epoch, value in enumerate(METRICS[seed], start=1)
    ]
    changes = {"history": history, "best_epoch": float(seed - 2)} | changes
    return write_run(folder, "top", seed, 0.8, **changes)


def test_kept_last_and_best_are_means_over_seeds(tmp_path, capsys):
    for seed in METRICS:
        write_curve(tmp_path / str(seed), seed)
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    arm = report["arms"]["top"]
    runs, _ = read_runs(find_run_folders([tmp_path]))
    assert report["metric"] == "validation accuracy"
    assert report["teacher"] == pytest.approx(runs[0].score("accuracy", "validation", "teacher"))
    assert arm["seeds"] == [3, 4]
    assert arm["kept epochs"] == [1.0, 2.0]
    assert arm["kept"] == pytest.approx(sum(run.score("accuracy", "validation") for run in runs) / 2)
    assert arm["last"] == pytest.approx(0.5)
    assert (arm["best"], arm["best epoch"]) == (pytest.approx(0.5), 3)
    assert lines[2].startswith("| top | 2 | 1 2 | ")
    assert f"0.500 ({0.5 / report['teacher']:.0%}), epoch 3" in lines[2]


def test_best_is_not_the_last_where_the_metric_falls(tmp_path, capsys):
    write_curve(tmp_path / "3", 3)
    assert main([str(tmp_path)]) == 0
    arm = json.loads(capsys.readouterr().out.splitlines()[-1])["arms"]["top"]
    assert (arm["best"], arm["best epoch"], arm["last"]) == (0.4, 2, 0.3)


def test_what_is_varied_makes_arms_with_epochs_of_their_own(tmp_path, capsys):
    write_curve(tmp_path / "long", 3)
    short = write_curve(tmp_path / "short", 4, arguments={"num_train_epochs": 2.0})
    record = json.loads((short / "run_record.json").read_text())
    record["history"] = record["history"][:2]
    (short / "run_record.json").write_text(json.dumps(record))
    assert main([str(tmp_path)]) == 2
    assert "name what differs with --vary" in capsys.readouterr().err
    picture = tmp_path / "curves.png"
    assert main([str(tmp_path), "--vary", "num_train_epochs", "--picture", str(picture)]) == 0
    arms = json.loads(capsys.readouterr().out.splitlines()[-1])["arms"]
    assert {name: arm["last"] for name, arm in arms.items()} == {
        "top, num_train_epochs 3": 0.3,
        "top, num_train_epochs 2": 0.2,
    }
    assert picture.stat().st_size > 10_000
    runs, _ = read_runs(find_run_folders([tmp_path]), varied=["num_train_epochs"])
    figure = build_learning_curves(runs)
    check_legible(figure)
    check_legible(
        build_learning_curves([replace(run, record=replace(run.record, strategy=LONG_NAMES[0] * 3)) for run in runs])
    )
    assert {"validation loss", "validation accuracy", "teacher", "top, num_train_epochs 2"} <= set(list_texts(figure))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"teacher": {"fingerprint": "other"}}, "a teacher that"),
        ({"task": {"name": "other"}}, "a task that"),
        ({"rows": {"train": 90, "validation": 70, "test": 120}}, "validation rows that"),
    ],
)
def test_curves_of_other_things_are_refused(tmp_path, capsys, changes, reason):
    write_curve(tmp_path / "a", 3)
    write_curve(tmp_path / "b", 4, **changes)
    assert main([str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err


def test_runs_that_were_not_evaluated_alike_are_refused(tmp_path, capsys):
    folders = [write_curve(tmp_path / str(seed), seed) for seed in METRICS]
    record = json.loads((folders[1] / "run_record.json").read_text())
    for entry in record["history"]:
        entry["epoch"] += 3
    (folders[1] / "run_record.json").write_text(json.dumps(record))
    assert main([str(tmp_path)]) == 2
    assert "has not the epochs of others" in capsys.readouterr().err
    (folders[1] / "run_record.json").write_text(json.dumps(record | {"history": []}))
    assert main([str(tmp_path)]) == 2
    assert "has no eval_accuracy of any epoch" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path, capsys):
    write_curve(tmp_path / "3", 3)
    assert main([str(tmp_path / "3"), "--picture", str(tmp_path / "nowhere" / "curves.png")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_second_run_of_a_seed_is_refused(tmp_path, capsys):
    for name in "ab":
        write_curve(tmp_path / name, 3)
    assert main([str(tmp_path)]) == 2
    assert "second run of top, seed 3" in capsys.readouterr().err


def test_a_run_that_chose_no_epoch_keeps_its_last(tmp_path, capsys):
    write_curve(tmp_path / "3", 3, best_epoch=None)
    assert main([str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["arms"]["top"]["kept epochs"] == [3]


def test_a_setting_that_no_run_has_is_refused(tmp_path, capsys):
    write_curve(tmp_path / "3", 3)
    assert main([str(tmp_path), "--vary", "loss", "learning_rat"]) == 2
    assert "--vary learning_rat: no run has such a setting" in capsys.readouterr().err


def test_no_run_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no run is in" in capsys.readouterr().err
