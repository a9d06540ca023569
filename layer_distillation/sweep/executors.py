"""Who executes a plan: an executor takes the runs with their states, says when each begins and what is at work, and
yields how each has ended. The records that the runs leave are the same.

Entry: `execute_here`.
"""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_distillation.records.command_names import name_speaker
from layer_distillation.records.run_record import FINISHED
from layer_distillation.sweep.arguments import SCRIPT
from layer_distillation.sweep.places import WHOLE_MACHINE, Place
from layer_distillation.sweep.plan import PlannedRun
from layer_distillation.sweep.processes import ProcessGroups
from layer_distillation.sweep.remote_run import NOT_STARTED

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its launcher's exit status, and seconds, None where it was finished before."""

    run: PlannedRun
    status: int
    seconds: float | None


@dataclass(frozen=True)
class RunAtWork:
    """A run that was begun, where, and when by `time.monotonic`."""

    run: PlannedRun
    where: str
    start: float

    def end(self, status: int) -> Outcome:
        return Outcome(self.run, status, time.monotonic() - self.start)


class Listener(Protocol):
    """Who is told what an executor does."""

    def begin(self, run: PlannedRun, where: str = "") -> None:
        """A run begins, or goes on elsewhere. `where` is nothing for one that is finished, or the only one at work."""

    def watch(self, at_work: Sequence[RunAtWork]) -> None:
        """Several times a second while an executor waits for some of several."""


Executor = Callable[[Sequence[PlannedRun], ProcessGroups, Listener], Iterator[Outcome]]


def execute_here(
    runs: Sequence[PlannedRun], groups: ProcessGroups, listener: Listener, places: Sequence[Place] = (WHOLE_MACHINE,)
) -> Iterator[Outcome]:
    """As many at once on this machine as there are places, one after the other in one; one that fails stops no other.

    What several of them need first, a teacher or a store, the first that comes to it makes under its lock, and the
    others wait for it.
    """
    waiting, free, jobs = deque(runs), list(places), dict[Place, Job]()
    while waiting or jobs:
        while waiting and free:
            run = waiting.popleft()
            if run.state == FINISHED:
                listener.begin(run)
                yield Outcome(run, 0, None)
                continue
            place = free.pop(0)
            listener.begin(run, place.describe())
            jobs[place] = Job(run, place, groups)
        ended = [(place, status) for place, job in jobs.items() if (status := job.find_status()) is not None]
        for place, status in ended:
            free.append(place)
            yield jobs.pop(place).at_work.end(status)
        if not ended:
            listener.watch([job.at_work for job in jobs.values()])
            time.sleep(POLL_SECONDS)


def note_failure(run: PlannedRun, reason: str) -> None:
    """What a run's log cannot know itself."""
    with run.log.open("a", encoding="utf-8") as log:
        log.write(f"{name_speaker(SCRIPT)}: error: {reason}\n")


class Job:
    """A run at work on this machine, in a process group of its own. What it prints goes behind what its log holds
    already."""

    def __init__(self, run: PlannedRun, place: Place, groups: ProcessGroups) -> None:
        self.at_work, self.groups = RunAtWork(run, place.describe(), time.monotonic()), groups
        self.process: subprocess.Popen | None = None
        try:
            with run.log.open("ab") as log:
                self.process = groups.start(
                    run.command, place.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
        except OSError as error:  # a full disk, no memory
            print(f"{name_speaker(SCRIPT)}: error: {error}", file=sys.stderr)

    def find_status(self) -> int | None:
        """None while it is at work."""
        return NOT_STARTED if self.process is None else self.groups.find_status(self.process)
