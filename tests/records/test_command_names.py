"""A user of the installed commands reads their names, a user of the scripts reads the scripts'."""

import sys
from pathlib import Path

import pytest

from layer_distillation.records.command_names import find_command, name_commands, name_speaker


@pytest.fixture
def start_as(monkeypatch):
    return lambda program: monkeypatch.setattr(sys, "argv", [program, "--flag"])


@pytest.mark.parametrize("program", ["run_distillation.py", "/somewhere/pytest", "-c", "", "distillation"])
def test_a_script_goes_by_its_own_name(start_as, program):
    start_as(program)
    assert name_speaker("run_distillation.py") == "run_distillation.py"
    assert name_commands("python push_student.py RUN") == "python push_student.py RUN"
    assert find_command("push_student.py") is None


@pytest.mark.parametrize("program", ["distil-preview", "/opt/bin/distil-preview", "C/distil-preview.exe"])
def test_what_an_installed_command_says_it_says_by_the_name_typed(start_as, program):
    start_as(program)
    assert name_speaker("run_distillation.py") == "distil-preview"
    assert name_commands("flags of run_distillation.py") == "flags of distil"
    assert name_commands("accelerate launch run_distillation.py --seed 1") == "distil --seed 1"
    assert name_commands("    python teacher_stores.py list") == "    distil-stores list"


def test_a_path_of_the_users_is_left_alone(start_as):
    start_as("distil")
    for text in ("my/run_distillation.py", "old_push_student.py", "compare_strategies.pyc"):
        assert name_commands(text) == text


def test_a_command_is_named_so_that_a_shell_finds_it(start_as, monkeypatch, tmp_path):
    for name in ("distil", "distil-push"):
        (tmp_path / name).touch(mode=0o755)
    start_as(str(tmp_path / "distil"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_command("push_student.py") == str(tmp_path / "distil-push")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_command("push_student.py") == "distil-push"
    other = Path(tmp_path, "other")
    other.mkdir()
    (other / "distil-push").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{other}:{tmp_path}")
    assert find_command("push_student.py") == str(tmp_path / "distil-push")
