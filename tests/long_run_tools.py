"""Runs run_distillation.py for long in one process, and prints what it takes as one JSON line.

python tests/long_run_tools.py FOLDER steps stored|live     2,000 steps
python tests/long_run_tools.py FOLDER runs                  20 runs, of every strategy
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

import conftest  # noqa: F401 - the paths, and one thread
import run_distillation
from tiny_project import make_project, write_csv

NUM_STEPS, WATCHED_STEPS = 2000, (500, 1000, 1500, 1999)
NUM_RUNS = 20
STRATEGIES = ("top", "bottom", "odd", "even", "spread", "ends", "random", "scratch", "influence", "cka")


def measure_process() -> dict[str, int]:
    """Resident bytes, without what is only waiting to be collected, and open files."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"rss_bytes": pages * os.sysconf("SC_PAGESIZE"), "open_files": len(os.listdir("/proc/self/fd"))}


class Measure(TrainerCallback):
    """Measures at some steps."""

    def __init__(self, measured: list[dict[str, int]]) -> None:
        self.measured = measured

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in WATCHED_STEPS:
            self.measured.append(measure_process())


def train_many_steps(folder: Path, teacher_outputs: str) -> dict[str, Any]:
    """Two epochs of 1,000 steps with the flags' defaults for logging, evaluating and saving."""
    flags = make_project(folder)
    write_csv(folder / "train.csv", 8 * NUM_STEPS // 2, seed=1)
    measured, make_trainer = [], run_distillation.make_trainer

    def make_measured_trainer(*arguments):
        trainer = make_trainer(*arguments)
        trainer.add_callback(Measure(measured))
        return trainer

    run_distillation.make_trainer = make_measured_trainer
    status = run_distillation.main([*flags, f"--teacher_outputs={teacher_outputs}"])
    record = (folder / "run" / "run_record.json").stat().st_size
    return {"status": status, "measured": measured, "record_bytes": record}


def run_many_times(folder: Path) -> dict[str, Any]:
    """Every strategy with two seeds, one after the other."""
    flags, measured, statuses = [*make_project(folder), "--num_train_epochs=1"], [], []
    for run in range(NUM_RUNS):
        own = [f"--layer_strategy={STRATEGIES[run % len(STRATEGIES)]}", f"--seed={run // len(STRATEGIES)}"]
        statuses.append(run_distillation.main([*flags, *own, f"--output_dir={folder}/run{run}"]))
        measured.append(measure_process())
    return {"status": max(statuses), "measured": measured}


if __name__ == "__main__":
    target, what, *rest = Path(sys.argv[1]), *sys.argv[2:]
    print(json.dumps(train_many_steps(target, *rest) if what == "steps" else run_many_times(target)))
