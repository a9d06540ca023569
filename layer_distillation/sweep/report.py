"""What a sweep says: a line per run on stdout while it is at work, and what failed on stderr at its end.

Entry: `SweepReport`.
"""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from layer_distillation.records.command_names import name_speaker
from layer_distillation.records.markdown_text import clean_text
from layer_distillation.sweep.arguments import SCRIPT
from layer_distillation.sweep.executors import Outcome, RunAtWork
from layer_distillation.sweep.plan import PlannedRun
from layer_distillation.sweep.states import summarize_run
from layer_distillation.sweep.tuning import choose_values, describe_choice

if TYPE_CHECKING:
    from layer_distillation.sweep.live_table import LiveTable

LAST_LINES = 40  # of a log, among which the reason of a failure is looked for


class SweepReport:
    """Tells each run as it begins and ends; keeps what is finished, in the order of the plan, and what failed."""

    def __init__(self, num_runs: int, is_live: bool = False) -> None:
        self.num_runs, self.is_live = num_runs, is_live
        self.numbers: dict[Path, int] = {}  # of the runs that are executed, by folder, in the order of the plan
        self.has_line: dict[Path, bool] = {}  # of those that have begun: whether the line of their end has, too
        self.num_ended = 0
        self.table: LiveTable | None = None
        self.finished: list[PlannedRun] = []
        self.trials: dict[str, list[PlannedRun]] = {}  # finished, by arm
        self.chosen: dict[str, dict[str, str]] = {}  # the values of each arm whose trials are all finished
        self.failures: list[str] = []

    def number(self, runs: Sequence[PlannedRun]) -> None:
        """What is executed next."""
        self.numbers |= {run.folder: number for number, run in enumerate(runs, len(self.numbers) + 1)}

    def begin(self, run: PlannedRun, where: str = "") -> None:
        begins = "goes on" if run.folder in self.has_line else "begins"  # where a node has died
        self.has_line[run.folder] = not where
        if not where:
            print(f"{self.name(run)}: ", end="", flush=True)
        elif self.table is None:
            print(f"{self.name(run)}: {begins}, {where}", flush=True)

    def watch(self, at_work: Sequence[RunAtWork]) -> None:
        if self.table is not None:
            self.table.show(at_work, self.num_ended, self.num_runs)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, what several runs at once are doing is a table, where there is a terminal to show it."""
        if not (self.is_live and sys.stdout.isatty()):
            yield
            return
        from layer_distillation.sweep.live_table import LiveTable  # here, because it loads rich

        with LiveTable() as self.table:
            yield
        self.table = None

    def name(self, run: PlannedRun) -> str:
        return f"[{self.numbers[run.folder]}/{self.num_runs}] {run.name}"

    def end(self, outcome: Outcome) -> None:
        """A run has succeeded where its launcher says so and a finished record with a readable student is there."""
        run, self.num_ended = outcome.run, self.num_ended + 1
        took = "finished before" if outcome.seconds is None else f"{int(outcome.seconds)} s"
        line = took if self.has_line[run.folder] else f"{self.name(run)}: {took}"
        if (score := find_score(outcome)) is not None:
            self.finished.append(run)
            self.finished.sort(key=self.get_number)
            print(f"{line}, {score}", flush=True)
            self.choose(run)
            return
        reason = find_reason(run.log)
        print(f"{line}, failed with exit status {outcome.status} {reason}".rstrip(), flush=True)
        self.failures.append(f"{run.name}: exit status {outcome.status}, log {run.log}{reason and f': {reason}'}")

    def get_number(self, run: PlannedRun) -> int:
        return self.numbers[run.folder]

    def choose(self, run: PlannedRun) -> None:
        """After the last trial of its arm: which values the arm has from now on."""
        if not run.is_trial:
            return
        trials = self.trials.setdefault(run.arm, [])
        trials.append(run)
        trials.sort(key=self.get_number)
        if len(trials) == run.tuning.count_trials():
            self.chosen |= choose_values(trials)
            print(describe_choice(trials), flush=True)

    def tell(self, line: str) -> None:
        """Between the runs."""
        print(clean_text(line), flush=True)

    def tell_failures(self) -> int:
        """Returns the exit status of the sweep."""
        if not self.failures:
            return 0
        print("\nfailed, the same command tries again:", file=sys.stderr)
        for failure in self.failures:
            print(f"  {failure}", file=sys.stderr)
        return 1


def find_score(outcome: Outcome) -> str | None:
    """What the run scored, None where it failed: why, where its launcher does not know, goes to its log."""
    if outcome.status != 0:
        return None
    try:
        return summarize_run(outcome.run.folder)
    except ValueError as error:
        with outcome.run.log.open("a", encoding="utf-8", errors="surrogateescape") as log:
            log.write(f"{name_speaker(SCRIPT)}: {error}\n")
        return None


def find_reason(log: Path) -> str:
    """The last error among a log's last lines, or nothing. A progress bar's line is as long as all that it ever was."""
    if not log.exists():
        return ""
    with log.open(encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        lines = [part for line in deque(file, LAST_LINES) for part in line.split("\r")]
    return next((clean_text(line) for line in reversed(lines) if "error: " in line), "")
