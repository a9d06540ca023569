"""Packs what `compare_strategies.py` needs of finished runs, so that published tables can be checked by anyone.

    python benchmarks/archive_runs.py runs/sick results/sick

makes results/sick.runs.tar.xz, which is read as if it were the folder results/sick. Of every finished run below the
first folder, or in an archive: its record, with file names instead of this machine's paths, and the predictions that
were compared. The students stay where they are, and so do the data: rows are put in the order of their labels and of
the teacher's logits, the same for all runs of a teacher, from which no data set can be read back. docs/ARCHIVES.md has
the format.
"""

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from layer_distillation.comparison.archives import (
    PREDICTIONS_NAME,
    SUFFIX,
    format_predictions,
    name_stood_for,
    write_archive,
)
from layer_distillation.comparison.finding import RunFolder, find_run_folders, get_place
from layer_distillation.comparison.runs import read_predictions, read_record
from layer_distillation.records.run_record import FINISHED, RECORD_NAME, RunRecord


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("archive", type=Path)
    arguments = parser.parse_args(argv)
    archive = name_stood_for(arguments.archive)
    archive = archive.with_name(archive.name + SUFFIX)
    try:
        runs = pack_runs(arguments.runs)
        write_archive(archive, runs)
    except (ValueError, OSError) as error:
        print(f"archive_runs.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{len(runs)} finished runs packed into {archive}, {archive.stat().st_size / 1e6:.1f} MB")
    return 0


def pack_runs(path: Path) -> dict[str, dict[str, bytes]]:
    """Run -> file name -> bytes. Raises ValueError where no run is finished, or one of them cannot be read."""
    packed = {}
    for folder in find_run_folders([path]):
        place = get_place(folder)
        try:
            record = read_record(folder)
            if record.status == FINISHED:
                predictions = format_predictions(sort_rows(read_predictions(folder)))
                files = {RECORD_NAME: format_record(folder, record), PREDICTIONS_NAME: predictions}
                packed[place.relative_to(name_stood_for(path)).as_posix()] = files
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    if not packed:
        raise ValueError(f"no run in {path} is finished: start its command again")
    return packed


def format_record(folder: RunFolder, record: RunRecord) -> bytes:
    """As it is where it names no folder of this machine, so that packing what was packed changes no byte."""
    cleaned = clean_record(record)
    if cleaned != record:
        return cleaned.format().encode("utf-8")
    return (folder / RECORD_NAME).read_bytes() if isinstance(folder, Path) else folder.files[RECORD_NAME]


def clean_record(record: RunRecord) -> RunRecord:
    """Without this machine's folders."""
    arguments = {name: shorten_paths(value) for name, value in record.arguments.items()}
    teacher = record.teacher | {"name": shorten_paths(record.teacher["name"])}
    if "members" in teacher:
        members = [member | {"name": shorten_paths(member["name"])} for member in teacher["members"]]
        teacher |= {"members": members}
    command = shorten_paths(record.command)
    return dataclasses.replace(record, arguments=arguments, teacher=teacher, command=command)


def sort_rows(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every split's rows by label, then by the teacher's logits; the arrays stay in their order, and so do the items
    (tags, say) of a row that has several.

    Raises:
        ValueError: an array is of neither rows nor items.
    """
    orders = {}
    for split in dict.fromkeys(name.rpartition(".")[0] for name in arrays):
        teacher_logits, labels = arrays[f"{split}.teacher_logits"], arrays[f"{split}.labels"]
        keys = (*teacher_logits.T, *np.atleast_2d(labels.T)[::-1])
        row_items = arrays.get(f"{split}.row_items")
        rows = np.lexsort(keys) if row_items is None else order_groups(labels, teacher_logits, row_items)
        items = rows if row_items is None else spread_order(rows, row_items)
        orders[split] = {len(items): items, len(rows): rows}
    sorted_arrays = {}
    for name, array in arrays.items():
        order = orders[name.rpartition(".")[0]].get(len(array))
        if order is None:
            raise ValueError(f"{name} has {len(array)} values, neither one per row nor one per item: not to be packed")
        sorted_arrays[name] = array[order]
    return sorted_arrays


def order_groups(labels: np.ndarray, teacher_logits: np.ndarray, row_items: np.ndarray) -> np.ndarray:
    """Rows by the labels of all their items, then by the teacher's logits of these."""
    ends = np.cumsum(row_items)[:-1]
    keys = zip(*([own.tolist() for own in np.split(array, ends)] for array in (labels, teacher_logits)), strict=True)
    return np.array([row for row, _ in sorted(enumerate(keys), key=lambda numbered: numbered[1])], np.int64)


def spread_order(rows: np.ndarray, row_items: np.ndarray) -> np.ndarray:
    """The same order of the items, each row's together."""
    starts = np.cumsum(row_items) - row_items
    return np.concatenate([np.arange(starts[row], starts[row] + row_items[row]) for row in rows])


def shorten_paths(value: Any) -> Any:
    """`/some/folder/train.csv` becomes `train.csv`, wherever a text has a path from the root or the home folder."""
    if not isinstance(value, str):
        return value
    return re.sub(r"(?<![\w.])(?:~?/)(?:[^\s/'\"=,]+/)*", "", value)


if __name__ == "__main__":
    sys.exit(main())
