"""Runs a command of the project, notes what it changes on disk, and holds it at a chosen moment to be killed there.

    SUDDEN_DEATH='{"root": "/x/job", "notes": "/x/notes", "moment": ["rename", "run/run_record.json"], "tear": 1}' \\
        python tests/sudden_death.py run_distillation.py FLAGS

A moment is just before a change below `root` (a file opened to be written, a rename, a removal, a new folder) or a call
of `CALLS`. `tear` cuts the file that was being written then in half: as where the kill came during the write. Nothing
of this is in the product: changes are seen by Python's audit events and, where a library writes past Python, by calls.
"""

import importlib
import json
import os
import re
import runpy
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "SUDDEN_DEATH"
REACHED, TORN = "reached", "tore"
# Moments that are no change of Python's own: script -> what is called there, by module and name.
CALLS = {
    "run_distillation.py": [
        ("layer_distillation.tasks.natural_logic", "generate_corpus"),
        ("distill_trainer", "DistillationTrainer.training_step"),
        ("distill_trainer", "DistillationTrainer.evaluate"),
        ("distill_trainer", "DistillationTrainer.predict"),
        ("layer_distillation.teachers.store_filling", "write_part"),
        ("torch", "save"),
        ("transformers.modeling_utils", "safe_save_file"),
    ],
    "compare_strategies.py": [("compare_strategies", "analyse_unit")],
}
RANDOM_PART = re.compile(r"(?<=\.unfinished)-[0-9a-f]{8}")  # of a name that no second run would come by
SAVING = ("save", "safe_save_file")  # (contents, path)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class SuddenDeath:
    """Notes a line `kind name` per change and call; at its moment it notes `reached` and goes no further."""

    def __init__(self, root: str, notes: str, moment: list[str] | None = None, tear: bool = False) -> None:
        self.root, self.notes, self.moment, self.tear = root, notes, moment, tear
        self.sizes = list_sizes(Path(root)) if tear else {}

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        change = describe_change(event, arguments)
        if change is not None and change[1].startswith(f"{self.root}/"):
            self.notice(change[0], change[1].removeprefix(f"{self.root}/"))

    def watch_calls(self, script: str) -> None:
        for module_name, name in CALLS.get(script, []):
            module = importlib.import_module(module_name)
            *path, last = name.split(".")
            owner = getattr(module, path[0]) if path else module
            setattr(owner, last, self.wrap(getattr(owner, last), last))

    def wrap(self, function: Any, name: str) -> Any:
        def noticed(*arguments: Any, **options: Any) -> Any:
            if name in SAVING:
                self.notice("write", os.path.relpath(arguments[1], self.root))
            else:
                self.notice("call", f"{name} {describe_place(arguments, self.root)}")
            return function(*arguments, **options)

        return noticed

    def notice(self, kind: str, name: str) -> None:
        name = RANDOM_PART.sub("", name)
        if self.moment == [kind, name]:
            if self.tear:
                for path in tear_newest(find_place(self.root, name), self.sizes):
                    self.note(f"{TORN} {os.path.relpath(path, self.root)}")
            self.note(REACHED)
            while True:
                time.sleep(60)
        self.note(f"{kind} {name}")
        if self.tear:
            self.sizes = list_sizes(Path(self.root))

    def note(self, line: str) -> None:
        with open(self.notes, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def describe_place(arguments: tuple[Any, ...], root: str) -> str:
    """Folder and step of a trainer, the folder of a store, nothing else."""
    first = arguments[0] if arguments else None
    if isinstance(first, Path):
        return os.path.relpath(first, root)
    if type(first).__name__ == "DistillationTrainer":
        return f"{os.path.relpath(first.args.output_dir, root)} {first.state.global_step}"
    return ""


def describe_change(event: str, arguments: tuple[Any, ...]) -> tuple[str, str] | None:
    """Kind and path of a change on disk, None for any other event."""
    if event == "open":
        path, _, flags = arguments
        return ("write", str(path)) if flags & WRITING and isinstance(path, str | os.PathLike) else None
    if event == "os.rename":
        return "rename", str(arguments[1])
    if event in ("os.remove", "os.rmdir", "os.mkdir"):
        path, folder = str(arguments[0]), arguments[-1]
        if folder not in (-1, None):
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        is_there = event == "os.mkdir" and os.path.isdir(path)
        return None if is_there else (event.removeprefix("os."), path)
    return None


def find_place(root: str, name: str) -> Path:
    """Where what is being written with a change of `name` lies: a run's folder, a part of the cache. Outside of it
    another run may be at work, whose whole files no kill halves."""
    parts = Path(name).parts
    return Path(root, *parts[:-1][: 2 if parts[0] in ("runs", "cache") else 1])


def list_sizes(root: Path) -> dict[str, tuple[int, int]]:
    """Path -> inode and bytes of every file, but for those that vanish meanwhile."""
    sizes = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                status = os.stat(path := os.path.join(folder, name))
                sizes[path] = (status.st_ino, status.st_size)
    return sizes


def tear_newest(root: Path, sizes: dict[str, tuple[int, int]]) -> list[str]:
    """Halves the file that was written last of those that grew since, if any did; a rename is no write."""
    grown = [path for path, (inode, size) in list_sizes(root).items() if size and (inode, size) not in sizes.values()]
    newest = sorted(grown, key=lambda path: os.stat(path).st_mtime_ns)[-1:]
    for path in newest:
        os.truncate(path, os.stat(path).st_size // 2)
    return newest


def run_script(words: list[str]) -> None:
    """Runs a script, or `-P -m module`, as python would, watched as the environment says."""
    sys.argv = argv = words[2:] if words[:2] == ["-P", "-m"] else words
    if argv is words:
        sys.path.insert(0, str(Path(argv[0]).resolve().parent))
    if VARIABLE in os.environ:
        death = SuddenDeath(**json.loads(os.environ[VARIABLE]))
        death.watch_calls(Path(argv[0]).name)
        sys.addaudithook(death.watch)
    if argv is words:
        runpy.run_path(argv[0], run_name="__main__")
    else:
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_script(sys.argv[1:])
