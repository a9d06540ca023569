"""The table of what to deploy: made-up exports merged, and one tiny task from end to end."""

from pathlib import Path

import pytest

from benchmarks import deployment
from benchmarks.deployment import (
    describe,
    is_exported,
    list_commands,
    main,
    merge_exports,
    parse_arguments,
    write_table,
)
from figure_checks import check_legible
from layer_distillation.export.figure import build_frontier
from layer_distillation.records.export_record import STUDENT, TEACHER, fingerprint_weights, read_export_record
from made_exports import STUDENT_FORMS, TEACHER_FORMS, make_artifact, make_export
from made_students import make_record, write_student
from tiny_project import make_project

SLOW_TEACHER = [make_artifact(TEACHER, "pytorch", 0.8636, 200.0, 400.0, 90.9), *TEACHER_FORMS[1:]]
FOUR_LAYERS = [make_artifact(STUDENT, "onnx-int8", 0.8640, 36.0, 112.0, 19.5)]


def merge():
    exports = {
        "even-3": make_export(*STUDENT_FORMS, *TEACHER_FORMS),
        "spread-4": make_export(*FOUR_LAYERS, *SLOW_TEACHER),
    }
    return merge_exports(exports)


def test_times_of_a_later_export_are_those_beside_the_first_ones_teacher():
    """Its teacher took 2 and 4 times as long, so the student would have taken 18 and 28 ms."""
    merged = merge()
    assert [made.name for made in merged.artifacts] == [
        "teacher, pytorch",
        "teacher, onnx-int8",
        "student even-3, pytorch",
        "student even-3, onnx-int8",
        "student spread-4, onnx-int8",
    ]
    assert merged.artifacts[-1].milliseconds == {"1": {"1": 18.0, "32": 28.0}}
    assert merged.artifacts[2].milliseconds == STUDENT_FORMS[0].milliseconds


def test_the_table_says_who_is_on_a_frontier_and_the_verdict_is_of_all():
    text = describe(merge(), "sick")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == "|  | test accuracy [95 %] | MB | ms, batch of 1 | ms, batch of 32 | on a frontier |"
    assert rows[1].endswith("| 90.9 | 100.00 | 100.0 | - |")
    assert rows[-1].endswith("| 19.5 | 18.00 | 28.0 | ms, batch of 1, ms, batch of 32, MB |")
    assert "- dominated: student even-3, pytorch by teacher, onnx-int8" in text
    check_legible(build_frontier(merge().artifacts, merge()))


def test_an_export_of_these_weights_with_its_teacher_is_not_made_again(tmp_path):
    arguments = parse_arguments([str(tmp_path), "--data", "d", "--teacher", "t"])
    run = write_student(tmp_path / "sick" / "even-3", make_record())
    assert [command[1] for command in list_commands("sick", 3, arguments)] == [
        "run_distillation.py",
        "export_student.py",
    ]
    make_export(*STUDENT_FORMS, *TEACHER_FORMS, weights=fingerprint_weights(run)).write(run)
    assert is_exported(run)
    [command] = list_commands("sick", 3, arguments)
    assert command[1] == "run_distillation.py"
    assert command[command.index("--output_dir") + 1] == str(run)


def test_a_tasks_teacher_is_that_of_its_recipe(tmp_path):
    arguments = parse_arguments([str(tmp_path), "--data", "d", "--teacher", "t"])
    recipes = [next(list_commands(task, 3, arguments))[2] for task in ("sst2", "nothing")]
    assert recipes == [str(deployment.ROOT / "recipes" / "teacher_sst2.yaml"), "--train_file"]


def test_tables_of_a_folder_without_exports_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no exported student: run this without --tables_only"):
        write_table(tmp_path, "sick")
    with pytest.raises(SystemExit):
        parse_arguments([str(tmp_path)])


@pytest.mark.slow
def test_a_tiny_task_from_end_to_end_and_again(tmp_path, monkeypatch, capsys):
    make_project(tmp_path / "tiny")
    monkeypatch.setattr(deployment, "FORMATS", "pytorch")
    monkeypatch.setattr(deployment, "STRATEGIES", {1: "top", 2: "even"})
    words = [str(tmp_path / "out"), "--data", str(tmp_path), "--teacher", str(tmp_path / "tiny" / "teacher")]
    words += [
        "--tasks",
        "tiny",
        "--layers",
        "1",
        "2",
        "--cache_dir",
        str(tmp_path / "cache"),
        "--timing_seconds",
        "0.01",
    ]
    words += ["--flags", "--use_cpu --max_length 16 --hidden_weight 0 --pkd_weight 0"]
    main(words)
    assert capsys.readouterr().out.count("export_student.py") == 2
    table = (tmp_path / "out" / "tiny" / "deployment.md").read_text()
    assert table.count("| teacher, pytorch |") == 1
    assert all(f"| {name}, pytorch |" in table for name in ("student top-1", "trimmed student even-2"))
    assert (tmp_path / "out" / "tiny" / "deployment.png").read_bytes().startswith(b"\x89PNG")
    weights = [fingerprint_weights(tmp_path / "out" / "tiny" / name) for name in ("top-1", "even-2")]
    main(words)
    assert capsys.readouterr().out.count("export_student.py") == 0
    assert [
        read_export_record(Path(tmp_path / "out" / "tiny" / name)).weights for name in ("top-1", "even-2")
    ] == weights
