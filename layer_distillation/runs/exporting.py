"""`--export` of a run: its finished student goes through export_student.py, in a process of its own.

Another process, because whatever the run set for training (threads, precision, its group of processes) is not how a
student is deployed. Entry: before anything is trained `check_export` and, once the data tell their kind,
`check_exported`; `export_result` after all else, and then `list_exported` for what is pushed with the student.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from layer_distillation.cards.artifacts import TRIMMED_FORM, group_forms
from layer_distillation.export.formats import check_packages, check_trimming, parse_formats
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.interruption import Interrupted, signals_as_exceptions
from layer_distillation.students.arguments import StudentArguments
from layer_distillation.tasks.kinds.entry import TaskKind

EXPORT_SCRIPT = Path(__file__).parents[2] / "export_student.py"
# By which a launcher tells a process of its place among others; the export is alone.
LAUNCHER_PREFIXES = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "ACCELERATE_")


def check_export(arguments: StudentArguments) -> None:
    """Raises ValueError for formats that do not exist or whose packages are not installed."""
    if arguments.export is not None:
        check_packages(parse_formats(arguments.export, "--export"))
    elif arguments.trim_vocabulary:
        raise ValueError("--trim_vocabulary true goes with --export: add that, such as --export onnx-int8")


def check_exported(arguments: StudentArguments, kind: TaskKind) -> None:
    """Raises ValueError where a student of this kind is not exported so."""
    if arguments.export is None:
        return
    try:
        check_trimming(kind, arguments.trim_vocabulary)
    except ValueError as error:
        raise ValueError(f"--export {arguments.export}: {error}") from error


def export_result(folder: Path, arguments: StudentArguments, cache_dir: str) -> int:
    """The exit status of the export, 0 where none is asked for; its report goes where this process's does."""
    if arguments.export is None or os.environ.get("RANK", "0") != "0":
        return 0
    process = subprocess.Popen(write_command(folder, arguments, cache_dir), env=leave_launcher(os.environ))
    try:
        with signals_as_exceptions():
            return process.wait()
    except Interrupted as interrupted:
        return interrupted.exit_status
    finally:
        process.terminate()
        process.wait()


def list_exported(folder: Path, arguments: StudentArguments) -> tuple[str, ...]:
    """What the command asked to export, and what there is of it: a form that failed or was refused is not."""
    if arguments.export is None:
        return ()
    asked = {*parse_formats(arguments.export), *([TRIMMED_FORM] if arguments.trim_vocabulary else [])}
    return tuple(form for form in group_forms(read_export_record(folder)) if form in asked)


def write_command(folder: Path, arguments: StudentArguments, cache_dir: str) -> list[str]:
    words = [sys.executable, str(EXPORT_SCRIPT), str(folder), "--formats", arguments.export, "--cache_dir", cache_dir]
    return [*words, "--trim_vocabulary"] if arguments.trim_vocabulary else words


def leave_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(LAUNCHER_PREFIXES)}
