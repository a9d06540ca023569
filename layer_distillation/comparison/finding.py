"""Finds runs: folders with a record, and the same inside archives, which are read as the folders they stand for.

`results/sick` is a folder, or all that `results/sick.runs.tar.xz` holds, or both; `results/sick/even-*` picks runs of
either, where the shell has found no such folder and left the pattern as it is, or was told to by quotes.

Entry: `find_run_folders`.
"""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from layer_distillation.comparison.archives import SUFFIX, PackedRun, name_stood_for, read_archive
from layer_distillation.records.run_record import RECORD_NAME

RunFolder = Path | PackedRun
Reader = Callable[[Path], list[PackedRun]]


def find_run_folders(paths: Sequence[Path]) -> list[RunFolder]:
    """Every run in or under the given folders, archives and patterns, each once.

    Raises ValueError where nothing is there, or no run is found in it.
    """
    found: dict[tuple[Path, Path | None], RunFolder] = {}
    read = cache(read_archive)
    for path in paths:
        pattern = glob.escape(str(path)) if path.exists() else str(path)
        matches = [Path(match) for match in sorted(glob.glob(pattern))]
        runs = [run for match in matches for run in list_runs(match, read)]
        runs += [run for archive, rest in list_archives_above(pattern) for run in pick(read(archive), archive, rest)]
        if not runs:
            refuse(path, any(match.is_dir() for match in matches))
        for run in sorted(runs, key=lambda run: get_place(run) / RECORD_NAME):
            archive = run.archive.resolve() if isinstance(run, PackedRun) else None
            found.setdefault((get_place(run).resolve(), archive), run)
    return mark_shadowed(list(found.values()))


def refuse(path: Path, is_folder: bool) -> None:
    if is_folder:
        raise ValueError(f"no run is in {path}: a run's folder holds {RECORD_NAME}; give one, or one above some")
    raise ValueError(
        f"{path} is no folder: give folders of runs, archives of them (*{SUFFIX}), or a folder that holds some, such "
        "as runs"
    )


def list_runs(path: Path, read: Reader) -> list[RunFolder]:
    """In or under one folder, or in one archive; none for anything else."""
    if path.name.endswith(SUFFIX) and path.is_file():
        return list(read(path))
    if (path / RECORD_NAME).is_file():
        return [path]
    if not path.is_dir():
        return []
    archives = [archive for archive in path.rglob(f"*{SUFFIX}") if not archive.name.startswith(".")]
    packed = [run for archive in sorted(archives) for run in read(archive)]
    return [*(record.parent for record in path.rglob(RECORD_NAME)), *packed]


def list_archives_above(pattern: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Archives that stand for a folder at or above the place, with the rest of the pattern below that folder."""
    parts = Path(pattern).parts
    for length in range(len(parts), 0, -1):
        if parts[length - 1] not in ("/", ".."):
            for match in sorted(glob.glob(str(Path(*parts[:length])) + SUFFIX)):
                yield Path(match), parts[length:]


def pick(runs: Sequence[PackedRun], archive: Path, rest: Sequence[str]) -> list[PackedRun]:
    """The runs at or below what the pattern names, and whatever says that the archive cannot be read."""
    picked = []
    for run in runs:
        parts = () if run.folder == archive else run.folder.relative_to(name_stood_for(archive)).parts
        is_there = len(parts) >= len(rest) and all(map(fnmatchcase, parts, rest))
        if is_there or run.folder == archive:
            picked.append(run)
    return picked


def get_place(run: RunFolder) -> Path:
    return run.folder if isinstance(run, PackedRun) else run


def mark_shadowed(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """A run that is there as a folder and in an archive, or in two archives, counts once: the folder, or the first."""
    read: dict[Path, RunFolder] = {}
    for run in sorted(runs, key=lambda run: isinstance(run, PackedRun)):
        read.setdefault(get_place(run).resolve(), run)
    marked: list[RunFolder] = []
    for run in runs:
        first = read[get_place(run).resolve()]
        if isinstance(run, PackedRun) and first is not run:
            where = f"in {first.archive}" if isinstance(first, PackedRun) else "a folder"
            run = replace(run, problem=f"in {run.archive}, but {where} too, which is read: keep one of them")
        marked.append(run)
    return marked
