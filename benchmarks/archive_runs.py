"""Copies what `compare_strategies.py` needs of finished runs, so that published tables can be checked by anyone.

    python benchmarks/archive_runs.py runs/sick results/sick

Of every finished run below the first folder: its record, with file names instead of this machine's paths, and the
predictions that were compared. The students stay where they are, and so do the data: rows are put in the order of their
labels and of the teacher's logits, the same for all runs of a teacher, from which no data set can be read back.
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

from layer_distillation.records.run_record import FINISHED, RECORD_NAME, RunRecord, read_run_record

PREDICTIONS_NAME = "predictions.npz"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("archive", type=Path)
    arguments = parser.parse_args(argv)
    archived = 0
    for path in sorted(arguments.runs.rglob(RECORD_NAME)):
        record = read_run_record(path.parent)
        if record.status == FINISHED:
            archive_run(record, path.parent, arguments.archive / path.parent.relative_to(arguments.runs))
            archived += 1
    print(f"{archived} finished runs copied to {arguments.archive}")
    return 0 if archived else 1


def archive_run(record: RunRecord, folder: Path, target: Path) -> None:
    """Record and predictions of one run."""
    arguments = {name: shorten_paths(value) for name, value in record.arguments.items()}
    teacher = record.teacher | {"name": shorten_paths(record.teacher["name"])}
    if "members" in teacher:
        members = [member | {"name": shorten_paths(member["name"])} for member in teacher["members"]]
        teacher |= {"members": members}
    command = shorten_paths(record.command)
    dataclasses.replace(record, arguments=arguments, teacher=teacher, command=command).write(target)
    with np.load(folder / PREDICTIONS_NAME) as predictions:
        np.savez_compressed(target / PREDICTIONS_NAME, **sort_rows(dict(predictions)))


def sort_rows(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every split's rows by label, then by the teacher's logits."""
    sorted_arrays = {}
    for split in {name.rpartition(".")[0] for name in arrays}:
        teacher_logits, labels = arrays[f"{split}.teacher_logits"], arrays[f"{split}.labels"]
        order = np.lexsort((*teacher_logits.T, labels))
        sorted_arrays |= {name: array[order] for name, array in arrays.items() if name.rpartition(".")[0] == split}
    return sorted_arrays


def shorten_paths(value: Any) -> Any:
    """`/some/folder/train.csv` becomes `train.csv`, wherever a text has a path from the root or the home folder."""
    if not isinstance(value, str):
        return value
    return re.sub(r"(?<![\w.])(?:~?/)(?:[^\s/'\"=,]+/)*", "", value)


if __name__ == "__main__":
    sys.exit(main())
