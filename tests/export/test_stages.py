"""An export from end to end, in this process: what it leaves, what it says, what it keeps."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from export_tools import export, list_contents
from fault_tools import disk_full_from_write
from layer_distillation.export import artifacts, stages
from layer_distillation.export.clients import open_onnx
from layer_distillation.export.figure import draw_frontier
from layer_distillation.export.placing import WORKSHOP
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.run_record import read_run_record

MANY_WRITES = 60


def test_a_trimmed_student_alone_needs_no_further_package(project, capsys):
    before = list_contents(project / "run")
    assert export(project, "--formats=pytorch", "--trim_vocabulary") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].startswith("student, pytorch ")
    record = read_export_record(project / "run")
    assert [made.name for made in record.artifacts] == [
        "student, pytorch",
        "trimmed student, pytorch",
        "teacher, pytorch",
    ]
    trimmed = record.artifacts[1]
    assert trimmed.path == "trimmed/."
    assert trimmed.metrics["test"] == pytest.approx(record.artifacts[0].metrics["test"])
    assert trimmed.agreement["test"]["student"] == 1.0
    assert trimmed.bytes < record.artifacts[0].bytes
    model = AutoModelForSequenceClassification.from_pretrained(project / "run" / "trimmed")
    tokenizer = AutoTokenizer.from_pretrained(project / "run" / "trimmed")
    assert model.config.vocab_size == record.vocabulary["tokens"] == len(tokenizer) < 60
    after = list_contents(project / "run")
    assert {name for name in before if after[name] != before[name]} <= {"README.md"}


def test_the_scores_of_pytorch_are_the_runs_own(project):
    assert export(project, "--formats=pytorch") == 0
    run, record = read_run_record(project / "run"), read_export_record(project / "run")
    student, teacher = record.artifacts
    for split, metrics in run.metrics.items():
        assert student.metrics[split] == {name: pytest.approx(metrics[name]) for name in student.metrics[split]}
        wanted = run.teacher["metrics"][split]
        assert teacher.metrics[split] == {name: pytest.approx(wanted[name]) for name in teacher.metrics[split]}
    low, high = student.intervals["test"]["accuracy"]
    assert low < student.metrics["test"]["accuracy"] < high
    assert {threads: set(by_rows) for threads, by_rows in student.milliseconds.items()} == {
        "1": {"1", "32"},
        "2": {"1", "32"},
    }


def test_exports_of_other_weights_are_forgotten(project):
    assert export(project, "--formats=pytorch", "--no_scores") == 0
    assert read_export_record(project / "run") is not None
    model = AutoModelForSequenceClassification.from_pretrained(project / "run")
    model.classifier.bias.data += 1
    model.save_pretrained(project / "run")
    assert read_export_record(project / "run") is None


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_is_one_line_and_changes_nothing(project, capsys):
    """A student that is trimmed; the exporter's files come the same way."""
    before = list_contents(project / "run")
    for number in range(1, MANY_WRITES):
        with disk_full_from_write(number, project / "run") as disk:
            try:
                status = export(project, "--formats=pytorch", "--trim_vocabulary", "--no_controls")
            except SystemExit as stopped:
                status = stopped.code
        if disk.count < number:
            break
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("export_student.py: error")]
        assert (status, len(lines)) == (1, 1)
        assert "error: a file could not be written (" in lines[0]
        assert list_contents(project / "run") == before
        assert not (project / "run" / WORKSHOP).exists()
    assert status == 0
    assert 6 < number < MANY_WRITES - 1


# ---- with the optional packages -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("packages", "quick")
def test_every_form_of_student_and_teacher_is_scored_and_the_students_are_kept(project, capsys, monkeypatch):
    monkeypatch.setattr(stages, "draw_frontier", draw_frontier)
    assert export(project, "--formats=onnx-int8,onnx") == 0
    folder = project / "run"
    record = read_export_record(folder)
    assert [made.name for made in record.artifacts] == [
        f"{model}, {form}" for model in ("student", "teacher") for form in ("pytorch", "onnx-int8", "onnx")
    ]
    assert [made.path for made in record.artifacts if made.model == "teacher"] == [None] * 3
    plain = record.find("student", "onnx")
    assert plain.agreement["test"]["student"] == plain.agreement["validation"]["student"] == 1.0
    assert plain.metrics["test"] == pytest.approx(record.artifacts[0].metrics["test"], abs=1e-5)
    assert plain.change["difference"] == 0.0
    assert (folder / plain.path).stat().st_size == plain.bytes
    assert "frontier" in record.verdict[0] or "dominated" in record.verdict[0]
    assert record.verdict[0] in capsys.readouterr().out
    assert (folder / "export.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["onnx"]
    batch = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), np.int64)}
    assert open_onnx(folder / "onnx" / "model.onnx", 1)(batch).shape == (1, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("packages", "quick")
def test_a_second_student_finds_its_teacher_exported_and_scored(project, monkeypatch, tmp_path):
    """In a cache of its own, to which the fine-tuned teacher is copied; the second student has another opset."""
    cache = Path(read_run_record(project / "run").arguments["cache_dir"])
    shutil.copytree(cache / "teachers", tmp_path / "cache" / "teachers")
    flags = ("--formats=onnx,onnx-int8", "--trim_vocabulary", f"--cache_dir={tmp_path / 'cache'}")
    converted, asked = [], []
    convert, predict = artifacts.convert, artifacts.predict_splits
    monkeypatch.setattr(
        artifacts,
        "convert",
        lambda model, *rest: (converted.append(model.config.num_hidden_layers), convert(model, *rest)),
    )
    monkeypatch.setattr(artifacts, "predict_splits", lambda *given: asked.append(given[1].name) or predict(*given))
    assert export(project, *flags) == 0
    first = read_export_record(project / "run")
    assert converted == [2, 4]  # the trimmed student comes of the whole one's file
    assert asked == ["student"] * 2 + ["trimmed student"] + ["teacher"] * 2
    assert export(project, *flags) == 0
    assert converted == [2, 4, 2]
    assert asked[5:] == ["student"] * 2 + ["trimmed student"]
    for before, after in zip(first.artifacts, read_export_record(project / "run").artifacts, strict=True):
        assert (before.name, before.metrics, before.agreement, before.change, before.bytes) == (
            *(after.name, after.metrics, after.agreement, after.change, after.bytes),
        )


@pytest.mark.slow
@pytest.mark.usefixtures("packages", "quick")
def test_a_later_export_keeps_what_it_does_not_make_and_replaces_what_it_does(project):
    assert export(project, "--formats=onnx", "--no_controls") == 0
    (project / "run" / "onnx" / "model.onnx").write_bytes(b"old")
    assert export(project, "--formats=onnx-int8", "--no_controls") == 0
    assert (project / "run" / "onnx" / "model.onnx").read_bytes() == b"old"
    names = [made.name for made in read_export_record(project / "run").artifacts]
    assert names == ["student, pytorch", "student, onnx-int8", "student, onnx"]
    assert export(project, "--formats=onnx", "--no_controls") == 0
    assert (project / "run" / "onnx" / "model.onnx").read_bytes() != b"old"


@pytest.mark.slow
@pytest.mark.usefixtures("packages", "quick")
def test_a_form_that_loses_too_much_is_warned_of_and_with_strict_not_kept(project, monkeypatch, capsys):
    measure = stages.measure_change
    monkeypatch.setattr(stages, "measure_change", lambda *given: measure(*given) | {"difference": -0.05})
    assert export(project, "--formats=onnx", "--no_controls", "--strict") == 1
    assert "warning: student, onnx: loses 0.0500" in capsys.readouterr().out
    assert not (project / "run" / "onnx").exists()
    assert export(project, "--formats=onnx", "--no_controls") == 0
    assert (project / "run" / "onnx" / "model.onnx").exists()
    assert "loses 0.0500" in read_export_record(project / "run").find("student", "onnx").warning
    monkeypatch.setattr(stages, "measure_change", measure)
    assert export(project, "--formats=onnx-int8", "--max_metric_loss=1", "--no_controls", "--strict") == 0
    assert "loses 0.0500" in read_export_record(project / "run").find("student", "onnx").warning


@pytest.mark.slow
@pytest.mark.usefixtures("packages", "quick")
def test_an_export_that_fails_leaves_everything_as_it_was(project, monkeypatch):
    assert export(project, "--formats=onnx", "--no_controls") == 0
    before = list_contents(project / "run")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stages, "measure_costs", fail)
    with pytest.raises(ZeroDivisionError):
        export(project, "--formats=onnx,onnx-int8", "--no_controls")
    assert list_contents(project / "run") == before
