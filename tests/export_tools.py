"""A tiny finished run to export, and the command on it."""

from pathlib import Path

import pytest

import run_distillation
from export_student import main
from tiny_project import make_project

HIDDEN = (".lock",)
NO_CLIENT = "TRANSFORMERS_JS names no folder in which `npm install @huggingface/transformers@4.3.2` was run"
MISSING = "the packages of requirements-export.txt are not installed"


def finish_run(folder: Path) -> Path:
    """The folder of a run whose teacher it fine-tuned itself."""
    flags = [*make_project(folder, has_head=False), "--num_train_epochs=1", "--teacher_num_train_epochs=1"]
    assert run_distillation.main(flags) == 0
    return folder / "run"


def export(folder: Path, *flags: str) -> int:
    return main([str(folder / "run"), "--timing_seconds=0.01", *flags])


def refuse(folder: Path, capsys: pytest.CaptureFixture, *flags: str) -> str:
    """The one line of a command that ends with status 2 and changes nothing."""
    before = list_contents(folder / "run")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        export(folder, *flags)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("export_student.py: error: ")]
    assert (stopped.value.code, len(lines)) == (2, 1)
    assert list_contents(folder / "run") == before
    return lines[0].removeprefix("export_student.py: error: ")


def list_contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in HIDDEN
    }
