"""Faults for tests: a disk that is full at the n-th write, and small disks in a mount namespace of their own.

`python tests/fault_tools.py FOLDER size 8k,64k,64m` runs a tiny project on a disk that grows, a JSON line per run,
`... MODEL.onnx openvino` writes a model on disks that are too small by some pages; it
needs the right to mount, which `get_namespace_command` gives.
"""

import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import safetensors.torch
import torch
from safetensors import SafetensorError
from transformers import TokenizersBackend

import conftest  # noqa: F401 - the paths
import run_distillation
from layer_distillation.records.run_record import read_run_record
from layer_distillation.runs.failures import is_unwritten
from tiny_project import make_project

NAMESPACES = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])
NO_MOUNT = "neither root nor user namespaces may mount a tmpfs here"
WRITING = os.O_WRONLY | os.O_RDWR


# ---- the n-th write ----------------------------------------------------------------------------------------------


class FullDisk:
    """Counts the writes below `folder` and fails those from the `first_failing` on, as a disk that has become full.

    A file is opened, hence made or emptied, and then nothing can be written to it. What Python opens is seen by an
    audit hook, which cannot be taken away again and is therefore one for the process; what safetensors, torch and
    tokenizers open in their own code is seen where they are called.
    """

    def __init__(self) -> None:
        self.folder = ""
        self.first_failing = 0
        self.count = 0
        self.is_failing = False

    def see_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or self.is_failing:
            return
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike) and arguments[2] & WRITING:
            self.see_write(os.fsdecode(arguments[0]), OSError(errno.ENOSPC, "No space left on device"))
        elif event == "os.mkdir":
            self.see_write(os.fsdecode(arguments[0]), OSError(errno.ENOSPC, "No space left on device"), is_file=False)

    def see_write(self, path: str, error: Exception, is_file: bool = True) -> None:
        if not os.path.abspath(path).startswith(self.folder):
            return
        self.count += 1
        if self.count < self.first_failing:
            return
        self.is_failing = True  # what is opened here is not to be counted
        try:
            if is_file:
                Path(path).write_bytes(b"")
        finally:
            self.is_failing = False
        raise error


FULL_DISK = FullDisk()
HOOKED: list[bool] = []


def hook_process() -> None:
    """Once per process: the audit hook."""
    if not HOOKED:
        sys.addaudithook(FULL_DISK.see_event)
        HOOKED.append(True)


@contextmanager
def disk_full_from_write(number: int, folder: Path) -> Iterator[FullDisk]:
    """Inside, the writes below `folder` fail from the `number`-th on; `count` says how many were tried."""
    hook_process()
    serialize, save, save_tokenizer = safetensors.torch.serialize_file, torch.save, TokenizersBackend._save_pretrained

    def serialize_file(tensors: Any, path: Any, *rest: Any, **named: Any) -> None:
        text = "Error while serializing: I/O error: No space left on device (os error 28)"
        FULL_DISK.see_write(os.fspath(path), SafetensorError(text))
        serialize(tensors, path, *rest, **named)

    def save_with_torch(content: Any, path: Any, *rest: Any, **named: Any) -> None:
        text = "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"
        FULL_DISK.see_write(os.fspath(path), RuntimeError(text))
        save(content, path, *rest, **named)

    def save_backend(tokenizer: Any, save_directory: str, *rest: Any, **named: Any) -> tuple[str, ...]:
        FULL_DISK.see_write(f"{save_directory}/tokenizer.json", Exception("No space left on device (os error 28)"))
        return save_tokenizer(tokenizer, save_directory, *rest, **named)

    FULL_DISK.folder, FULL_DISK.first_failing, FULL_DISK.count = f"{folder}/", number, 0
    try:
        with (
            patch.object(safetensors.torch, "serialize_file", serialize_file),
            patch.object(torch, "save", save_with_torch),
            patch.object(TokenizersBackend, "_save_pretrained", save_backend),
        ):
            yield FULL_DISK
    finally:
        FULL_DISK.folder = ""


# ---- a run and what it said ----------------------------------------------------------------------------------------


def run_quietly(flags: Sequence[str]) -> tuple[int, list[str]]:
    """Exit status of run_distillation.py in this process, and its lines of errors; a traceback goes through."""
    errors = io.StringIO()
    with redirect_stderr(errors), redirect_stdout(io.StringIO()):
        try:
            status = run_distillation.main(flags)
        except SystemExit as stopped:
            status = stopped.code
    return status, [line for line in errors.getvalue().splitlines() if line.startswith("run_distillation.py: ")]


def fail(flags: Sequence[str], status: int, message: str) -> str:
    """The one line that the run ends with."""
    got, lines = run_quietly(flags)
    assert (got, len(lines)) == (status, 1), lines
    assert re.search(message, lines[0]), lines[0]
    return lines[0]


def finish(flags: Sequence[str]) -> dict[str, dict[str, float]]:
    """The metrics of the run, which passes."""
    assert run_quietly(flags) == (0, [])
    [folder] = [flag.removeprefix("--output_dir=") for flag in flags if flag.startswith("--output_dir=")][-1:]
    return read_run_record(Path(folder)).metrics


def list_leftovers(folder: Path) -> list[str]:
    """Files and folders that only a run at work may have: half-written ones."""
    marks = (".unfinished", ".exported", ".tmp")
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if any(mark in path.name for mark in marks) or path.name.startswith(".run_record")
    )


# ---- small disks ---------------------------------------------------------------------------------------------------


def get_namespace_command() -> list[str] | None:
    """The command in front of which mounting is allowed and seen by nobody else, None where there is none."""
    for command in NAMESPACES:
        with suppress(FileNotFoundError):
            probe = [*command, "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/mnt"]
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return command
    return None


def mount(folder: Path, *options: str) -> None:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Lazily: a store that was mapped in this process may still be open."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def sweep_disks(folder: Path, option: str, values: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The same command on one disk that grows from value to value of a mount option, until the run passes."""
    flags = make_faulty_project(folder, folder / "disk")
    mount(folder / "disk", "size=64m", f"{option}={values[0]}")
    try:
        for value in values:
            mount(folder / "disk", "remount", f"{option}={value}")
            status, lines = run_quietly(flags)
            yield {option: value, "status": status, "lines": lines}
            if status == 0:
                yield {"left": list_leftovers(folder / "disk"), "metrics": read_run_record(folder / "disk/run").metrics}
                return
    finally:
        unmount(folder / "disk")


def make_faulty_project(folder: Path, disk: Path) -> list[str]:
    """A run of one epoch whose teacher is yet to be fine-tuned, for one epoch too; what it writes goes to `disk`."""
    flags = make_project(folder / "project", has_head=False)
    return [
        *(flag for flag in flags if not flag.startswith(("--output_dir", "--cache_dir", "--num_train_epochs"))),
        *(f"--output_dir={disk}/run", f"--cache_dir={disk}/cache"),
        *("--num_train_epochs=1", "--teacher_num_train_epochs=1"),
    ]


def refuse_read_only(folder: Path) -> Iterator[dict[str, Any]]:
    """The same command with its output, then its cache on a disk that is mounted read-only, then with neither."""
    mount(folder / "disk", "size=64m", "ro")
    (folder / "good").mkdir()
    flags = make_faulty_project(folder, folder / "good")
    try:
        for name in ("output_dir", "cache_dir"):
            status, lines = run_quietly([*flags, f"--{name}={folder / 'disk' / name}"])
            yield {"flag": name, "status": status, "lines": lines, "left": list_leftovers(folder / "good")}
    finally:
        unmount(folder / "disk")


def sweep_openvino(source: Path) -> Iterator[dict[str, Any]]:
    """The ONNX file as OpenVINO's, on disks of one page less and less than it takes; its writer is not Python's."""
    from layer_distillation.export.formats import FORMATS

    def write(folder: Path) -> dict[str, int]:
        FORMATS["openvino"].write(source, folder / "openvino")
        return {path.name: path.stat().st_size for path in (folder / "openvino").iterdir()}

    mount(disk := source.parent / "disk", "size=64m")
    pages = 1 + sum(-(-size // 4096) for size in write(disk).values())  # and one for the folder
    unmount(disk)
    for missing in (-2, -1, 0, 1, 2, 3, 8, pages // 2):
        mount(disk, f"size={4 * (pages - missing)}k")
        try:
            yield {"missing": missing, "sizes": write(disk)}
        except Exception as error:  # whatever it raises
            yield {"missing": missing, "error": str(error), "is_told": is_unwritten(error)}
        unmount(disk)


if __name__ == "__main__":
    target, what, values = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    sweeps = {"read-only": lambda: refuse_read_only(target), "openvino": lambda: sweep_openvino(target)}
    for entry in sweeps.get(what, lambda: sweep_disks(target, what, values[0].split(",")))():
        print(json.dumps(entry), flush=True)
