"""The curves over rows: means, paired differences and the picture of made-up runs, and what is refused."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.row_curves import Point, Task, build_row_curves, main
from figure_checks import check_legible, list_texts
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.runs import read_runs
from layer_distillation.losses.flags import LossFlags
from simulated_runs import WEIGHTS, WITHOUT_TEACHER, write_run

DEFAULT = {field.name: field.default for field in fields(LossFlags) if field.name.endswith("_weight")}
LOSSES = {
    "default loss": DEFAULT,
    "logits alone": WEIGHTS | {"hidden_weight": 0.0},
    "labels alone": WITHOUT_TEACHER,
}


def write_point(folder: Path, loss: str, rows: int, seed: int, accuracy: float = 0.7, **changes: object) -> Path:
    own = LOSSES[loss] | {"max_train_samples": rows} | changes.pop("arguments", {})
    splits = {"train": rows, "validation": 60, "test": changes.pop("test_rows", 120)}
    return write_run(folder, "even", seed, accuracy, arguments=own, rows=splits, **changes)


def write_curves(folder: Path, sizes: tuple[int, ...] = (250, 500)) -> Path:
    gains = {"default loss": 0.08, "logits alone": 0.04, "labels alone": 0.0}
    for place, rows in enumerate(sizes):
        for loss, gain in gains.items():
            for seed in (1, 2):
                write_point(folder / f"{loss} {rows} {seed}", loss, rows, seed, 0.6 + 0.05 * place + gain)
    return folder


def read(folder: Path):
    return read_runs(find_run_folders([folder]))[0]


def test_means_and_paired_differences_are_those_of_the_runs(tmp_path, capsys):
    assert main([str(write_curves(tmp_path)), "--resamples", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    [task] = json.loads(lines[-1])
    assert (task["name"], task["metric"]) == ("sick", "test accuracy")
    points = {(point["loss"], point["rows"]): point for point in task["points"]}
    assert len(points) == 6
    scores = {
        (run.record.task["rows"]["train"], run.record.arguments["kl_weight"] > 0, run.record.seed): run
        for run in read(tmp_path)
        if run.record.arguments["hidden_weight"] == 0
    }
    own = {key: run.score("accuracy", "test") for key, run in scores.items()}
    logits = points["logits alone", 250]
    assert logits["values"] == pytest.approx([own[250, True, 1], own[250, True, 2]])
    value, low, high = logits["difference"]
    paired = [own[250, True, seed] - own[250, False, seed] for seed in (1, 2)]
    assert value == pytest.approx(sum(paired) / 2)
    assert low < value < high
    assert points["labels alone", 250]["difference"] is None
    assert task["teacher"] == pytest.approx(read(tmp_path)[0].score("accuracy", "test", "teacher"))
    shown = f"| sick: test accuracy | 250 | logits alone | 2 | {sum(logits['values']) / 2:.4f} ± "
    assert any(line.startswith(shown) for line in lines)


def make_task(name: str) -> Task:
    points = [
        Point(loss, rows, [0.7, 0.7 + rows / 1e5], None if loss == "labels alone" else (0.02, -0.01, 0.05))
        for rows in (250, 4500)
        for loss in LOSSES
    ]
    return Task(name, "test accuracy", 0.9, points)


def test_the_picture_has_a_column_per_task_and_names_every_number_of_rows():
    figure = build_row_curves([make_task(name) for name in ("cola", "mrpc", "sick", "sst2")])
    check_legible(figure)
    texts = list_texts(figure)
    assert {"cola", "sst2", "250", "4.5k", "default loss", "logits alone", "labels alone", "teacher"} <= set(texts)
    assert texts.count("default loss") == 1
    assert len([panel for panel in figure.axes if panel.get_visible()]) == 8


def test_a_picture_is_written(tmp_path):
    write_curves(tmp_path / "runs", sizes=(250,))
    picture = tmp_path / "rows.png"
    assert main([str(tmp_path / "runs"), "--resamples", "100", "--picture", str(picture)]) == 0
    assert picture.stat().st_size > 10_000


def test_of_tuned_runs_the_chosen_ones_count(tmp_path, capsys):
    for rate in (1e-4, 2e-4):
        for loss in LOSSES:
            own = {"learning_rate": rate, "tuned_flags": "learning_rate"}
            write_point(tmp_path / f"{loss} {rate}", loss, 250, 1, arguments=own)
    assert main([str(tmp_path), "--resamples", "100"]) == 0
    [task] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [len(point["values"]) for point in task["points"]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"teacher": {"fingerprint": "other"}}, "has another teacher than"),
        ({"test_rows": 110}, "has other test rows than"),
        ({"arguments": {"num_train_epochs": 9.0}}, "differ in more than their loss (3 epochs -> 9)"),
        ({}, "are both default loss with 250 rows and seed 1: keep one of them"),
    ],
)
def test_runs_that_cannot_be_one_curve_are_refused(tmp_path, capsys, changes, reason):
    write_point(tmp_path / "a", "labels alone", 250, 1)
    write_point(tmp_path / "b", "default loss", 250, 1)
    write_point(tmp_path / "c", "default loss", 250, 1, **changes)
    assert main([str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err


PAIRS = {"arguments": {"recombined_pairs": 100}, "task": {"unlabelled_fingerprint": "pairs"}}


@pytest.mark.parametrize(
    ("loss", "changes", "reason"),
    [
        ("default loss", PAIRS, "other unlabelled rows"),
        ("logits alone", PAIRS, "other unlabelled rows"),
        (
            "default loss",
            {"arguments": {"temperature": 9.0}},
            "are both default loss, and what their loss sums differs",
        ),
    ],
)
def test_seeds_of_another_transfer_set_or_loss_are_no_seeds_of_one_curve(tmp_path, capsys, loss, changes, reason):
    write_point(tmp_path / "a", "labels alone", 250, 1)
    write_point(tmp_path / "b", "default loss", 250, 1)
    write_point(tmp_path / "c", loss, 250, 2, **changes)
    assert main([str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err


def test_with_one_transfer_set_all_losses_are_held_against_labels_alone(tmp_path, capsys):
    for loss in LOSSES:
        write_point(tmp_path / loss, loss, 250, 1, **({} if loss == "labels alone" else PAIRS))
    assert main([str(tmp_path), "--resamples", "100"]) == 0
    [task] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(task["points"]) == 3


def test_no_run_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no run is in" in capsys.readouterr().err
