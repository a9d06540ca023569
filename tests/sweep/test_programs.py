"""The launcher is that of this very Python, and scripts are found wherever the package lies."""

import sys
from pathlib import Path

import pytest

from layer_distillation.sweep.programs import find_launch, find_script, make_environment

ROOT = Path(__file__).resolve().parents[2]


def write_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_launchers_beside_this_python_come_first_be_its_environment_active_or_not(tmp_path, monkeypatch):
    python = write_program(tmp_path / "venv" / "bin" / "python")
    write_program(tmp_path / "elsewhere" / "accelerate")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    environment = make_environment()
    assert environment["PATH"].split(":") == [str(python.parent), str(tmp_path / "elsewhere")]


@pytest.mark.parametrize(
    ("launch", "words"), [(None, ["accelerate", "launch"]), ("  ", ["accelerate", "launch"]), ("sh  -x", ["sh", "-x"])]
)
def test_launch_is_words_and_the_script(tmp_path, launch, words):
    write_program(tmp_path / "accelerate")
    write_program(tmp_path / "sh")
    environment = {"PATH": str(tmp_path)} | ({} if launch is None else {"LAUNCH": launch})
    assert find_launch(environment) == [*words, str(ROOT / "run_distillation.py")]


def test_a_launcher_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no torchrun: install requirements\.txt, or set LAUNCH=python"):
        find_launch({"PATH": str(tmp_path), "LAUNCH": "torchrun --nproc_per_node 2"})


def test_scripts_are_found_without_being_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "compare_strategies", raising=False)
    assert find_script("compare_strategies") == str(ROOT / "compare_strategies.py")
    assert "compare_strategies" not in sys.modules
