"""What trackers are told of a run: its name, its group, terms, layers and final scores, read from what they keep."""

import importlib.util
import json
import sqlite3
from pathlib import Path

import pytest

from layer_distillation.runs.arguments import parse_command_line
from layer_distillation.runs.trackers import name_run
from run_distillation import main
from tiny_project import make_project

FLAGS = ["--kl_weight", "0.5", "--num_train_epochs", "2", "--layer_strategy", "odd", "--seed", "7"]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


def make_flags(folder: Path, run: str, *extra: str) -> list[str]:
    flags = make_project(folder / "colours")
    place = flags.index("--output_dir") if "--output_dir" in flags else None
    if place is not None:
        del flags[place : place + 2]
    flags = [flag for flag in flags if not flag.startswith("--output_dir=")]
    return [*flags, *FLAGS, "--output_dir", str(folder / "my sweep" / run), *extra]


def name(flags: list[str]) -> dict[str, str]:
    return name_run(parse_command_line(flags))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("odd-seed7", "colours/odd-seed7"),
        ("odd-without-teacher-seed7", "colours/odd-without-teacher-seed7"),
        ("anything", "colours/odd-seed7"),
    ],
)
def test_a_run_is_named_by_task_arm_and_seed_and_grouped_by_its_sweep(tmp_path, run, expected):
    assert name(make_flags(tmp_path, run)) == {"run_name": expected, "project": "my-sweep"}


def test_a_name_and_a_project_that_are_given_stay(tmp_path):
    flags = make_flags(tmp_path, "odd-seed7", "--run_name", "mine", "--project", "ours")
    assert name(flags) == {"run_name": "mine", "project": "ours"}


@pytest.mark.slow
@needs("tensorboard")
def test_tensorboard_has_terms_layers_and_final_scores(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    flags = make_flags(tmp_path, "odd-seed7", "--report_to", "tensorboard", "--logging_steps", "1")
    assert main(flags) == 0
    record = json.loads((tmp_path / "my sweep" / "odd-seed7" / "run_record.json").read_text(encoding="utf-8"))
    events = EventAccumulator(str(tmp_path / "my sweep" / "tensorboard" / "colours" / "odd-seed7"))
    events.Reload()
    scalars, texts = set(events.Tags()["scalars"]), events.Tags()["tensors"]
    assert {"train/loss", "train/ce_loss", "train/kl_loss", "eval/loss", "test/accuracy"} <= scalars
    assert events.Scalars("test/accuracy")[-1].value == pytest.approx(record["metrics"]["test"]["accuracy"])
    assert events.Scalars("eval/validation_accuracy")[-1].value == pytest.approx(
        record["metrics"]["validation"]["accuracy"]
    )
    [text] = [name for name in texts if "layer_map" in name]
    assert "1" in events.Tensors(text)[-1].tensor_proto.string_val[0].decode()


@pytest.mark.slow
@needs("trackio")
def test_trackio_has_terms_layers_and_final_scores(tmp_path, monkeypatch):
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    assert main(make_flags(tmp_path, "odd-seed7", "--report_to", "trackio", "--logging_steps", "1")) == 0
    [database] = (tmp_path / "trackio").glob("my-sweep*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, metrics FROM metrics").fetchall()
    assert {run for run, _ in rows} == {"colours/odd-seed7"}
    logged = {key for _, metrics in rows for key in json.loads(metrics)}
    assert {"train/loss", "train/kl_loss", "eval/loss", "test/accuracy", "train/layer_map"} <= logged
