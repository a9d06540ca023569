"""Regressions and several teachers through the whole command; disks that are full for writers of ONNX and OpenVINO."""

import csv
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import fault_tools
import run_distillation
from export_tools import export, list_contents
from fault_tools import NO_MOUNT, disk_full_from_write, get_namespace_command
from layer_distillation.export.conversion import convert
from layer_distillation.export.formats import FORMATS
from layer_distillation.export.placing import WORKSHOP
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.run_record import read_run_record
from tiny_project import make_project, write_teacher

SHORT = ("--num_train_epochs=1", "--hidden_weight=0", "--pkd_weight=0")
NUMBERS = {"red": 0.5, "green": 2.0, "blue": 4.5}


def finish(flags: list[str]) -> None:
    assert run_distillation.main([*flags, *SHORT]) == 0


def make_regression(folder: Path) -> list[str]:
    """The colours as numbers, and a teacher with one output."""
    flags = make_project(folder, labels=["score"])
    for path in folder.glob("*.csv"):
        rows = list(csv.DictReader(path.open()))
        lines = [f"{row['text']},{NUMBERS[row['label']] + index / 100}" for index, row in enumerate(rows)]
        path.write_text("\n".join(["text,label", *lines]) + "\n")
    return flags


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_a_regression_is_exported_with_its_own_metrics(tmp_path, capsys):
    finish(make_regression(tmp_path))
    assert export(tmp_path, "--formats=onnx,onnx-int8", "--trim_vocabulary") == 0
    record, run = read_export_record(tmp_path / "run"), read_run_record(tmp_path / "run")
    assert run.task["label_names"] is None
    names = set(run.task["metric_names"])
    assert record.headline["metric"] in names
    assert len(record.artifacts) == 9
    for made in record.artifacts:
        assert made.metrics["test"].keys() == names | {"loss"}
        assert made.agreement["test"]["student" if made.model != "teacher" else "teacher"] > 0.9
    plain = record.find("student", "onnx")
    assert {name: plain.metrics["test"][name] for name in names} == {
        name: pytest.approx(run.metrics["test"][name], abs=1e-4) for name in names
    }
    assert plain.change["difference"] == pytest.approx(0, abs=1e-4)
    assert f"test {record.headline['metric']}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_of_several_teachers_the_first_is_the_control_with_its_own_scores(tmp_path):
    """The run wrote down the answers of both together; the one that would be deployed is scored by itself."""
    flags = make_project(tmp_path)
    write_teacher(tmp_path / "second", num_layers=2)
    finish([*flags, f"--additional_teachers={tmp_path / 'second'}"])
    assert export(tmp_path, "--formats=onnx") == 0
    record = read_export_record(tmp_path / "run")
    teachers = [made for made in record.artifacts if made.model == "teacher"]
    assert [made.format for made in teachers] == ["pytorch", "onnx"]
    assert teachers[0].metrics["test"] == pytest.approx(teachers[1].metrics["test"], abs=1e-4)
    first = read_run_record(tmp_path / "run").teacher["members"][0]
    assert teachers[0].metrics["test"]["accuracy"] == pytest.approx(first["metrics"]["test"]["accuracy"])
    assert read_export_record(tmp_path / "run").find("student", "onnx").agreement["test"]["student"] == 1.0


# ---- full disks --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_writer_of_onnx_is_told_as_such(exported, tmp_path):
    model, tokenizer, source = exported
    writers = {"convert": lambda target: convert(model, tokenizer, target, 20)} | {
        form: lambda target, form=form: FORMATS[form].write(source, target)
        for form in ("onnx", "onnx-fp16", "onnx-int8")
    }
    for name, write in writers.items():
        for number in range(1, 5):
            # An OSError and nothing else, whatever stage of the exporter it comes through.
            with disk_full_from_write(number, tmp_path) as disk, suppress(OSError):
                write(tmp_path / f"{name}.onnx")
            if disk.count < number:
                break
        assert 1 < number < 4


@pytest.mark.slow
@pytest.mark.usefixtures("packages", "quick")
def test_a_disk_that_is_full_at_any_write_of_an_onnx_export_is_one_line_and_changes_nothing(project, capsys):
    before = list_contents(project / "run")
    for number in range(1, 60):
        with disk_full_from_write(number, project / "run") as disk:
            try:
                status = export(project, "--formats=onnx,onnx-int8", "--no_controls")
            except SystemExit as stopped:
                status = stopped.code
        if disk.count < number or status == 0:  # a folder that is there already need not be made
            break
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("export_student.py: error")]
        assert (status, len(lines)) == (1, 1)
        assert "error: a file could not be written (" in lines[0]
        assert list_contents(project / "run") == before
        assert not (project / "run" / WORKSHOP).exists()
    assert status == 0
    assert 4 < number < 59
    kept = [made for made in read_export_record(project / "run").artifacts if made.format != "pytorch"]
    assert [(project / "run" / made.path).stat().st_size for made in kept] == [made.bytes for made in kept]
    assert len(kept) == 2


@pytest.mark.slow
def test_a_small_disk_is_told_by_openvino_too_or_everything_is_on_it(exported, tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    if (command := get_namespace_command()) is None:
        pytest.skip(NO_MOUNT)
    shutil.copyfile(exported[2], tmp_path / "model.onnx")
    words = [*command, sys.executable, fault_tools.__file__, str(tmp_path / "model.onnx"), "openvino"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    whole = entries[0]["sizes"]
    assert {entry["missing"] for entry in entries if "error" in entry} >= {8, entries[-1]["missing"]}
    for entry in entries:
        assert entry.get("is_told", True)
        assert entry.get("sizes", whole).keys() == whole.keys()
        assert all(abs(size - whole[name]) < 500 for name, size in entry.get("sizes", whole).items())  # names differ
