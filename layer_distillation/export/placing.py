"""Artifacts come under their final names whole or not at all: made in a hidden folder beside them, renamed last.

Entry: `open_workshop`, `put_in_place`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WORKSHOP = ".unfinished-export"
REPLACED = ".replaced-"


@contextmanager
def open_workshop(folder: Path) -> Iterator[Path]:
    """An empty folder on the disk of the artifacts, gone at the end; what a kill left of an earlier one goes first."""
    finish_replacing(folder)
    workshop = folder / WORKSHOP
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir()
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def put_in_place(made: Path, target: Path) -> None:
    """Renames a finished file or folder; one of that name is replaced whole."""
    target.parent.mkdir(exist_ok=True)
    if made.is_dir() and target.exists():  # no folder can be renamed onto another
        old = target.with_name(f"{REPLACED}{target.name}")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        made.rename(target)
        shutil.rmtree(old)
    else:
        made.replace(target)


def finish_replacing(folder: Path) -> None:
    """What a kill between two renames left: the old folder comes back where the new one had not come yet."""
    for old in folder.glob(f"{REPLACED}*"):
        target = old.with_name(old.name.removeprefix(REPLACED))
        if target.exists():
            shutil.rmtree(old)
        else:
            old.rename(target)


def measure_bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(map(measure_bytes, path.iterdir()))
