"""What 8 bits cost by the number of rows that are asked at once: the range of their inputs is taken over the batch.

    python -m benchmarks.int8_batches runs/sick/even-seed42 --rows 1 8 32

From the repository's root. Each run was exported as onnx-int8 (`export_student.py`); its whole-vocabulary file answers
all validation and test rows in batches of each size, in the order of the data. Per size: the task's first metric, its
change from the student in PyTorch with the 95 % interval of the same resampled rows, and the mean change of a logit.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from layer_distillation.export.formats import FORMATS
from layer_distillation.export.scoring import find_headline, measure_change, place_logits, predict_splits, read_run
from layer_distillation.export.subjects import Subject, load_rows, load_student, load_texts
from layer_distillation.records.export_record import STUDENT
from layer_distillation.records.markdown_text import format_table
from layer_distillation.records.run_record import check_finished

COLUMNS = ["", "rows at once", "PyTorch", "int8", "change [95 %]", "mean change of a logit"]
FORM = "onnx-int8"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 32])
    arguments = parser.parse_args(argv)
    try:
        rows = [row for folder in arguments.runs for row in measure_run(folder, arguments.rows)]
    except (ValueError, OSError) as error:
        print(f"int8_batches.py: error: {error}", file=sys.stderr)
        return 2
    print(format_table(COLUMNS, rows))
    return 0


def measure_run(folder: Path, sizes: Sequence[int]) -> Iterator[list[str]]:
    """A row of the table for each size.

    Raises:
        ValueError: the run is not finished, not exported in this form, or of tags or answer spans.
    """
    record = check_finished(folder)
    path = folder / FORMATS[FORM].path
    if not path.exists():
        raise ValueError(f"{path} does not exist: export the run first, python export_student.py {folder}")
    run = read_run(folder, record)
    if run.kind.item_column is not None:
        raise ValueError(f"{folder} answers {run.kind.name}, whose logits are not of whole rows: give other runs")
    model, tokenizer = load_student(folder, run.kind)
    subject = Subject(STUDENT, model, tokenizer, folder, load_rows(load_texts(record), tokenizer, record))
    answer, (split, metric) = FORMATS[FORM].open(path, 1), find_headline(run)
    floats = run.score(metric, split, "student")
    for size in sizes:
        logits = predict_splits(answer, subject, batch_rows=size)
        change = measure_change(logits, run)
        error = np.abs(logits[split] - run.arrays[f"{split}.student_logits"]).mean()
        score = place_logits(run, logits).score(metric, split, "student")
        interval = f"{change['difference']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]"
        yield [folder.name, str(size), f"{floats:.4f}", f"{score:.4f}", interval, f"{error:.4f}"]


if __name__ == "__main__":
    sys.exit(main())
