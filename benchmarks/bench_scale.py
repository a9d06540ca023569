"""Seconds per row and memory of one run, with 1, 4, 16 and 64 times as many rows of the built-in corpus.

    python -m benchmarks.bench_scale --base_rows 2000 --rounds 2

From the repository's root. Every size is a process of its own: one epoch of a 6-layer student of the built-in encoder
(12 layers of width 64, not trained: seconds do not depend on that), with a store of logits and hidden states, filled
in the same run. Rows beyond the corpus are its rows once more. Fixed costs are told apart by the smallest size: the
slope between it and each larger one is what one more row costs. The sizes take turns, and of several rounds the least
seconds of each stage count. Memory is told apart (Linux): the process's own, and the pages of mapped files that it
happens to hold, such as those of the store, which the kernel takes back when it needs them. The last line of the output
is one JSON object.
"""

import argparse
import csv
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.natural_logic import LABEL_NAMES, MAX_ROWS, generate_corpus, write_untrained_encoder

ROOT = Path(__file__).resolve().parent.parent
FACTORS = (1, 4, 16, 64)
STAGES = ("data", "teacher_outputs", "distillation")
MEMORY_KINDS = {"own_bytes": "RssAnon", "mapped_bytes": "RssFile"}  # as /proc/<process>/status calls them
WATCH_SECONDS = 0.1
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
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args(argv)
    sizes = [arguments.base_rows * factor for factor in arguments.factors]
    with tempfile.TemporaryDirectory(prefix="bench_scale-") as folder:
        write_untrained_encoder(Path(folder) / "teacher", seed=0)
        corpus = generate_corpus(min(max(sizes), MAX_ROWS - 300), 300, 0, seed=0)
        write_rows(Path(folder) / "validation.csv", corpus["validation"])
        rounds = [
            [measure_size(size, corpus["train"], Path(folder)) for size in sizes] for _ in range(arguments.rounds)
        ]
    results = [take_best(measured) for measured in zip(*rounds, strict=True)]
    print_table(results)
    print(json.dumps(results))


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["premise", "hypothesis", "label"])
        writer.writerows([row["premise"], row["hypothesis"], LABEL_NAMES[row["label"]]] for row in rows)


def measure_size(num_rows: int, rows: Sequence[dict[str, Any]], folder: Path) -> dict[str, float]:
    """Seconds of the stages that grow with the rows, and the peaks of memory in bytes."""
    write_rows(folder / "train.csv", itertools.islice(itertools.cycle(rows), num_rows))
    output, cache = folder / "run", folder / "cache"
    flags = FLAGS | {"train_file": folder / "train.csv", "validation_file": folder / "validation.csv"}
    flags |= {"teacher_model_name_or_path": folder / "teacher", "cache_dir": cache, "output_dir": output}
    command = [sys.executable, str(ROOT / "run_distillation.py"), *(f"--{name}={flags[name]}" for name in flags)]
    peaks = run_watched(command)
    record = read_run_record(output)
    shutil.rmtree(output)
    shutil.rmtree(cache)  # every run fills its own store
    return {"rows": num_rows, **peaks} | {stage: record.seconds[stage] for stage in STAGES}


def run_watched(command: Sequence[str]) -> dict[str, int]:
    """Runs a command to its end; the largest `own_bytes` and `mapped_bytes` that were seen, ten times a second.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    peaks = dict.fromkeys(MEMORY_KINDS, 0)
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as child,
    ):
        while child.poll() is None:
            held = read_memory(child.pid)
            peaks = {name: max(peak, held[name]) for name, peak in peaks.items()}
            time.sleep(WATCH_SECONDS)
        if child.returncode != 0:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise subprocess.CalledProcessError(child.returncode, command)
    return peaks


def read_memory(process_id: int) -> dict[str, int]:
    """Resident bytes of a process by kind, 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    values = dict(line.split(":", 1) for line in lines)
    return {name: int(values.get(title, "0 kB").split()[0]) * 1024 for name, title in MEMORY_KINDS.items()}


def take_best(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of several rounds of one size: the least seconds of each stage, the largest memory."""
    return {name: (min if name in STAGES else max)(result[name] for result in measured) for name in measured[0]}


def print_table(results: Sequence[dict[str, float]]) -> None:
    """Milliseconds per row beyond the smallest size, and megabytes."""
    first = results[0]
    titles = [*(f"{stage}, ms per row" for stage in STAGES), "all, ms per row", "own memory, MB", "mapped files, MB"]
    print(f"| rows | {' | '.join(titles)} |")
    print(f"|{'---|' * (len(titles) + 1)}")
    for result in results:
        costs = ["-"] * (len(STAGES) + 1)
        if result is not first:
            seconds = [result[stage] - first[stage] for stage in STAGES]
            costs = [f"{1000 * value / (result['rows'] - first['rows']):.3f}" for value in (*seconds, sum(seconds))]
        memory = [f"{result[name] / 1e6:.0f}" for name in MEMORY_KINDS]
        print(f"| {result['rows']:,} | {' | '.join([*costs, *memory])} |")


if __name__ == "__main__":
    main()
