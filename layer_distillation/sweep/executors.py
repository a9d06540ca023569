"""Who executes a plan: `EXECUTORS`. The records that the runs leave are the same.

An executor takes the runs with their states, says when each begins, and yields how each has ended.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from layer_distillation.records.command_names import name_speaker
from layer_distillation.records.run_record import FINISHED
from layer_distillation.sweep.arguments import SCRIPT
from layer_distillation.sweep.plan import PlannedRun
from layer_distillation.sweep.processes import ProcessGroups

NOT_STARTED = 126  # as shells have it


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its launcher's exit status, and seconds, None where it was finished before."""

    run: PlannedRun
    status: int
    seconds: float | None


Executor = Callable[[Sequence[PlannedRun], ProcessGroups, Callable[[PlannedRun], None]], Iterator[Outcome]]


def execute_in_turn(
    runs: Sequence[PlannedRun], groups: ProcessGroups, begin: Callable[[PlannedRun], None]
) -> Iterator[Outcome]:
    """One after the other on this machine; one that fails stops no other."""
    for run in runs:
        begin(run)
        start = time.monotonic()
        if run.state == FINISHED:
            yield Outcome(run, 0, None)
        else:
            yield Outcome(run, launch_run(run, groups), time.monotonic() - start)


def launch_run(run: PlannedRun, groups: ProcessGroups) -> int:
    """Its exit status; what it prints goes behind what its log holds already."""
    try:
        with run.log.open("ab") as log:
            return groups.run(run.command, stdout=log, stderr=subprocess.STDOUT).returncode
    except OSError as error:  # a full disk, no memory
        print(f"{name_speaker(SCRIPT)}: error: {error}", file=sys.stderr)
        return NOT_STARTED


EXECUTORS: dict[str, Executor] = {"in turn": execute_in_turn}
