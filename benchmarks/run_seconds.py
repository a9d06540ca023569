"""Where a run's seconds go, from the start of its process to its exit.

    python -m benchmarks.run_seconds --rounds 2 -- --teacher_model_name_or_path FOLDER --train_file train.csv ...

After `--` come the flags of `run_distillation.py`, without --output_dir and --cache_dir: both are new in every round,
so that every run fills its store. Each run is a process of its own, in which the functions of `STAGES` are timed; a
stage inside another counts as itself alone, and what is in none is "the rest". Processor seconds, of all threads, are
beside those of the clock: on a busy machine they say more. The last line of the output is one JSON object.
"""

import argparse
import functools
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START, IMPORTS, REST, EXIT = "start of Python", "imports", "the rest", "exit"
# What is replaced, `module:name` where it is looked up, or `module:class.method` -> the stage that its seconds are of.
STAGES = {
    "layer_distillation.runs.preparation:load_task": "reading data",
    "layer_distillation.runs.preparation:tokenize_task": "tokenizing",
    "layer_distillation.runs.preparation:prepare_teacher": "loading the teacher",
    "layer_distillation.runs.preparation:make_student": "cutting the student",
    "layer_distillation.runs.preparation:fingerprint_task": "fingerprints",
    "layer_distillation.teachers.loading:fingerprint_model": "fingerprints",
    "layer_distillation.outputs.store:fingerprint_rows": "fingerprints",
    "layer_distillation.runs.facts:fingerprint_rows": "fingerprints",
    "layer_distillation.teachers.supply:open_or_fill": "the teacher's pass and store",
    "run_distillation:score_untrained": "untrained scores",
    "run_distillation:make_trainer": "making the trainer",
    "distill_trainer:DistillationTrainer.train": "training steps",
    "distill_trainer:DistillationTrainer.evaluate": "evaluations of epochs",
    "distill_trainer:DistillationTrainer._save_checkpoint": "checkpoints",
    "distill_trainer:DistillationTrainer._load_best_model": "restoring the best",
    "run_distillation:predict_splits": "final scores",
    "run_distillation:measure_speed": "timing for the card",
    "run_distillation:finish_run": "saving student and card",
    "run_distillation:check_reload": "loading it again",
    "run_distillation:leave_process_group": EXIT,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="OMP_NUM_THREADS (default: all cores).")
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="-- FLAGS", help="Of run_distillation.py.")
    arguments = parser.parse_args(argv)
    flags = [flag for flag in arguments.flags if flag != "--"]
    rounds = [measure_run(flags, arguments.threads) for _ in range(arguments.rounds)]
    if None in rounds:
        return 1
    print(format_table(rounds))
    print(json.dumps({"benchmark": "run_seconds", "flags": len(flags), "threads": arguments.threads, "rounds": rounds}))
    return 0


# ---- the parent ----------------------------------------------------------------------------------------------------


def measure_run(flags: list[str], threads: int) -> dict[str, dict[str, float]] | None:
    """Stage -> seconds of the clock and of the processor, of one run; None where it failed, and said why."""
    with tempfile.TemporaryDirectory(prefix="run_seconds-") as work:
        report = Path(work) / "report.json"
        folders = ["--output_dir", f"{work}/run", "--cache_dir", f"{work}/cache"]
        command = [sys.executable, "-m", "benchmarks.run_seconds_child", str(report), *flags, *folders]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=False)
        end, after = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            return None
        told = json.loads(report.read_text(encoding="utf-8"))
    stages: dict[str, dict[str, float]] = told["stages"]
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    stages[START] = {"clock": told["began"] - start, "processor": told["processor_before"]}
    stages[EXIT] = {"clock": end - told["ended"], "processor": processor - told["processor_after"]}
    known = {kind: sum(stage[kind] for stage in stages.values()) for kind in ("clock", "processor")}
    stages[REST] = {"clock": end - start - known["clock"], "processor": processor - known["processor"]}
    return {name: stages[name] for name in list_stages() if name in stages} | {
        "all": {"clock": end - start, "processor": processor}
    }


def list_stages() -> list[str]:
    """In the order of a run."""
    return list(dict.fromkeys([START, IMPORTS, *(name for name in STAGES.values() if name != EXIT), REST, EXIT]))


def format_table(rounds: list[dict[str, dict[str, float]]]) -> str:
    """One row per stage: seconds of the clock in each round, and of the processor."""
    titles = ["stage", *(f"clock {number}" for number in range(1, len(rounds) + 1))]
    titles += [f"processor {number}" for number in range(1, len(rounds) + 1)]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for name in [*list_stages(), "all"]:
        if any(name in stages for stages in rounds):
            empty = {"clock": 0.0, "processor": 0.0}
            cells = [f"{stages.get(name, empty)[kind]:.2f}" for kind in ("clock", "processor") for stages in rounds]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


# ---- the child -----------------------------------------------------------------------------------------------------


class StageClock:
    """Seconds by stage; those of a stage inside another are the inner one's alone."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._open: list[str] = []
        self._since = self.read()

    @staticmethod
    def read() -> tuple[float, float]:
        return time.time(), time.process_time()

    def switch(self) -> None:
        """What went by since the last switch belongs to the innermost open stage."""
        now = self.read()
        if self._open:
            stage = self.stages.setdefault(self._open[-1], {"clock": 0.0, "processor": 0.0})
            for kind, moment, before in zip(stage, now, self._since, strict=True):
                stage[kind] += moment - before
        self._since = now

    def timed(self, name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.switch()
            self._open.append(name)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch()
                self._open.pop()

        return call

    def replace_all(self) -> None:
        for place, name in STAGES.items():
            module, _, path = place.partition(":")
            *owners, attribute = path.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            setattr(owner, attribute, self.timed(name, getattr(owner, attribute)))


if __name__ == "__main__":
    sys.exit(main())
