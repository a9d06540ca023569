"""Seconds per row and memory of one run, with 1, 4, 16 and 64 times as many rows of the built-in corpus.

    python -m benchmarks.bench_scale --base_rows 1000

From the repository's root. Every size is a process of its own: one epoch of a 6-layer student of the built-in encoder
(12 layers of width 64, not trained: seconds do not depend on that), with a store of logits and hidden states, filled
in the same run. Rows beyond the corpus are its rows once more. Fixed costs are told apart by the smallest size: the
slope between it and each larger one is what one more row costs. The last line of the output is one JSON object.
"""

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from natural_logic import LABEL_NAMES, MAX_ROWS, generate_corpus, write_untrained_encoder
from run_record import read_run_record

ROOT = Path(__file__).resolve().parent.parent
FACTORS = (1, 4, 16, 64)
STAGES = ("data", "teacher_outputs", "distillation")
FLAGS = {
    "teacher_training": "never",
    "allow_untrained_teacher": "true",
    "teacher_outputs": "stored",
    "num_train_epochs": "1",
    "bf16": "false",
    "use_cpu": "true",
    "disable_tqdm": "true",
    "max_length": "32",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--base_rows", type=int, default=1000)
    parser.add_argument("--factors", type=int, nargs="+", default=FACTORS)
    arguments = parser.parse_args(argv)
    sizes = [arguments.base_rows * factor for factor in arguments.factors]
    with tempfile.TemporaryDirectory(prefix="bench_scale-") as folder:
        write_untrained_encoder(Path(folder) / "teacher", seed=0)
        corpus = generate_corpus(min(max(sizes), MAX_ROWS - 300), 300, 0, seed=0)
        write_rows(Path(folder) / "validation.csv", corpus["validation"])
        results = [measure_size(size, corpus["train"], Path(folder)) for size in sizes]
    print_table(results)
    print(json.dumps(results))


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["premise", "hypothesis", "label"])
        writer.writerows([row["premise"], row["hypothesis"], LABEL_NAMES[row["label"]]] for row in rows)


def measure_size(num_rows: int, rows: Sequence[dict[str, Any]], folder: Path) -> dict[str, float]:
    """Seconds of the stages that grow with the rows, and the peak of resident memory."""
    write_rows(folder / "train.csv", itertools.islice(itertools.cycle(rows), num_rows))
    output = folder / f"run-{num_rows}"
    flags = FLAGS | {"train_file": folder / "train.csv", "validation_file": folder / "validation.csv"}
    flags |= {"teacher_model_name_or_path": folder / "teacher", "cache_dir": folder / "cache", "output_dir": output}
    command = [
        sys.executable,
        str(ROOT / "run_distillation.py"),
        *(f"--{name}={value}" for name, value in flags.items()),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    record = read_run_record(output)
    stages = {stage: record.seconds[stage] for stage in STAGES}
    return {"rows": num_rows, "peak_memory_bytes": record.peak_memory_bytes} | stages


def print_table(results: Sequence[dict[str, float]]) -> None:
    """Milliseconds per row beyond the smallest size, and megabytes."""
    first = results[0]
    print(f"| rows | {' | '.join(f'{stage}, ms per row' for stage in STAGES)} | peak memory, MB |")
    print(f"|{'---|' * (len(STAGES) + 2)}")
    for result in results:
        costs = [
            "-"
            if result is first
            else f"{1000 * (result[stage] - first[stage]) / (result['rows'] - first['rows']):.3f}"
            for stage in STAGES
        ]
        print(f"| {result['rows']:,} | {' | '.join(costs)} | {result['peak_memory_bytes'] / 1e6:.0f} |")


if __name__ == "__main__":
    main()
