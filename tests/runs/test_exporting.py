"""`--export` of a run: checked before training, and then a command of its own."""

import sys
from pathlib import Path

import pytest

import run_distillation
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs import exporting
from layer_distillation.runs.exporting import (
    check_export,
    check_exported,
    export_result,
    leave_launcher,
    write_command,
)
from layer_distillation.students.arguments import StudentArguments
from layer_distillation.tasks.kinds.table import TASK_KINDS
from tiny_project import make_project


def test_a_format_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"^--export has 'onx' \(did you mean onnx\?\)"):
        check_export(StudentArguments(export="onx"))


def test_a_vocabulary_is_trimmed_for_an_export_alone():
    with pytest.raises(ValueError, match="--trim_vocabulary true goes with --export: add that"):
        check_export(StudentArguments(trim_vocabulary=True))
    check_export(StudentArguments(export="pytorch", trim_vocabulary=True))


def test_what_no_exporter_takes_is_refused_by_the_kind_of_the_data():
    export, trimmed = StudentArguments(export="onnx"), StudentArguments(export="onnx", trim_vocabulary=True)
    with pytest.raises(ValueError, match="--export onnx: --trim_vocabulary and a student for token-classification"):
        check_exported(trimmed, TASK_KINDS["token-classification"])
    check_exported(export, TASK_KINDS["token-classification"])
    check_exported(trimmed, TASK_KINDS["embedding"])


def test_the_command_is_that_of_export_student():
    arguments = StudentArguments(export="onnx,onnx-int8", trim_vocabulary=True)
    command = write_command(Path("runs/odd"), arguments, "cache")
    assert Path(command[1]).is_file()
    assert command[0] == sys.executable
    assert command[2:] == ["runs/odd", "--formats", "onnx,onnx-int8", "--cache_dir", "cache", "--trim_vocabulary"]


def test_the_export_does_not_take_itself_for_a_process_of_the_run():
    assert leave_launcher({"RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "1", "HOME": "/"}) == {"HOME": "/"}


def test_without_the_flag_nothing_is_started(tmp_path):
    assert export_result(tmp_path, StudentArguments(), "cache") == 0


def test_its_exit_status_is_the_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "write_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    assert export_result(tmp_path, StudentArguments(export="pytorch"), "cache") == 3


@pytest.mark.slow
def test_a_run_exports_its_student_and_the_flag_makes_it_no_other_run(tmp_path):
    flags = [*make_project(tmp_path), "--num_train_epochs=1"]
    assert run_distillation.main(flags) == 0
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert run_distillation.main([*flags, "--export=pytorch", "--trim_vocabulary=true"]) == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    assert [made.model for made in read_export_record(tmp_path / "run").artifacts] == [
        "student",
        "trimmed student",
        "teacher",
    ]
    assert read_run_record(tmp_path / "run").arguments["output_dir"] == str(tmp_path / "run")
