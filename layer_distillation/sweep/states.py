"""What is finished of a plan, what its runs need, and what a finished one scored.

Loads no torch: `check.py` does, in a process of its own.

Entry: `add_states`, `summarize_run`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from layer_distillation.records.run_record import check_finished, find_loss_name
from layer_distillation.sweep.plan import Needs, PlannedRun
from layer_distillation.sweep.processes import ProcessGroups

CHECK = ("-P", "-m", "layer_distillation.sweep.check")  # -P: no file of the user's folder stands for a library


def add_states(runs: Sequence[PlannedRun], groups: ProcessGroups) -> list[PlannedRun]:
    """The plan with the state of every run, and what it needs.

    Raises:
        SystemExit: a flag is wrong, as the check has said on stderr in one line; its exit status.
    """
    same_modules = {"PYTHONPATH": os.pathsep.join(sys.path)}  # this process's, be the package installed or not
    lines = "".join(f"{json.dumps(run.flags)}\n" for run in runs)
    command = [sys.executable, *CHECK, sys.argv[0]]
    done = groups.run(command, text=lines, variables=same_modules, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        replace(run, state=each["state"], needs=Needs(**each["needs"])) for run, each in zip(runs, found, strict=True)
    ]


def summarize_run(folder: Path) -> str:
    """What a finished run scored on its first validation split, in a few words.

    Raises:
        ValueError: the run is not finished, or its student cannot be read.
    """
    record = check_finished(folder)
    split, metrics = next(iter(record.metrics.items()))
    headline = record.task["metric_names"][0]
    loss = find_loss_name(metrics)
    return f"{split} {headline} {metrics[headline]:.4f}, {loss} {metrics[loss]:.4f}"
