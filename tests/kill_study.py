"""Kills a run and the loop at seeded moments, starts the same command again, and looks for what is not as it should be.

    python tests/kill_study.py --kills 30 --seed 0

Four jobs (a run whose teacher is fine-tuned first, the built-in task, the loop with its comparison, the loop with two
runs at once) are done once undisturbed. Then each is done again and again, every start but the last killed with
SIGKILL, the whole process tree at once: at moments drawn from what the undisturbed job changed on disk and called,
stage by stage, many in the middle of a write; and at random seconds. Prints a Markdown table, and one JSON object as
its last line.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from fork_server import serve_forks  # noqa: E402 - the paths come first
from kill_moments import (  # noqa: E402
    CLOCK,
    JOBS,
    STAGES,
    Job,
    Moment,
    draw_moments,
    find_repeats,
    list_differences,
    list_kept,
    read_contents,
)
from sudden_death import REACHED, TORN, VARIABLE  # noqa: E402

HUNG_SECONDS = 600


@dataclass
class Outcome:
    """A start that was killed, or that ended by itself where its moment never came."""

    job: str
    stage: str
    event: str
    torn: str  # the file that was being written
    killed: bool


# ---- starting and killing ------------------------------------------------------------------------------------------


class Study:
    """All starts of all jobs, and what was wrong after them."""

    def __init__(self, folder: Path, venv: Path, server: subprocess.Popen | None) -> None:
        self.folder, self.venv, self.server = folder, venv, server
        self.outcomes: list[Outcome] = []
        self.problems: list[str] = []
        self.starts = 0

    def measure(self, name: str, make_command: Any) -> Job:
        """The job, done once undisturbed; its folder is emptied of all that it left."""
        root = self.folder / name
        environment = os.environ | {"VIRTUAL_ENV": str(self.venv), "LAUNCH": "python", "OMP_NUM_THREADS": "1"}
        job = Job(name, root, make_command(root, self.venv / "bin" / "python"), environment, [], {}, 0.0)
        shutil.copytree(root, self.folder / f"{name}-given")
        start = time.monotonic()
        status, job.events = self.start(job)
        if status != 0:
            raise RuntimeError(f"the undisturbed {name} ended with status {status}: {self.read_output()[-2000:]}")
        job.seconds, job.contents = time.monotonic() - start, read_contents(root)
        return job

    def kill_and_repeat(self, job: Job, moments: Sequence[Moment]) -> None:
        """From the beginning: a start for each moment, killed there, and one that is left alone; then compares."""
        shutil.rmtree(job.root)
        shutil.copytree(self.folder / f"{job.name}-given", job.root)
        for moment in [*moments, None]:
            kept = list_kept(job.root)
            status, events = self.start(job, moment)
            killed = status is None
            if moment is not None:
                torn = [event.removeprefix(f"{TORN} ") for event in events if event.startswith(TORN)]
                self.outcomes.append(Outcome(job.name, moment.stage, moment.event, "".join(torn), killed))
            if not killed and status != 0:
                self.report(job, moments, f"a start ended with status {status}: {self.read_output()[-500:]}")
            for event in find_repeats(kept, events):
                self.report(job, moments, f"done twice: {event}")
            if not killed:
                break  # done before the moment came
        for difference in list_differences(job.contents, read_contents(job.root)):
            self.report(job, moments, difference)

    def report(self, job: Job, moments: Sequence[Moment], problem: str) -> None:
        self.problems.append(f"{job.name}: {problem} [{'; '.join(moment.event for moment in moments)}]")

    def start(self, job: Job, moment: Moment | None = None) -> tuple[int | None, list[str]]:
        """Exit status, None where it was killed, and what it did; ended by its moment if that comes."""
        self.starts += 1
        notes = self.folder / "notes"
        notes.write_text("")
        watched = {"root": str(job.root), "notes": str(notes)}
        if moment is not None and moment.event:
            watched |= {"moment": moment.event.split(" ", 1), "tear": moment.tears}
        with (self.folder / "output").open("w") as output:
            process = subprocess.Popen(
                job.command,
                env=job.environment | {VARIABLE: json.dumps(watched)},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        limit = moment.seconds if moment is not None and moment.seconds else HUNG_SECONDS
        end = time.monotonic() + limit
        while process.poll() is None and time.monotonic() < end and f"{REACHED}\n" not in notes.read_text():
            time.sleep(0.02)
        status = process.poll()
        if status is None:
            kill_tree(process, [] if self.server is None else psutil.Process(self.server.pid).children(recursive=True))
        lines = notes.read_text().splitlines()
        if status is None and limit == HUNG_SECONDS and REACHED not in lines:
            raise TimeoutError(f"{job.name} did not end in {HUNG_SECONDS} s: {self.read_output()[-2000:]}")
        return status, [line for line in lines if line != REACHED]

    def read_output(self) -> str:
        return (self.folder / "output").read_text()


def kill_tree(process: subprocess.Popen, others: Sequence[psutil.Process] = ()) -> None:
    """SIGKILL to the command, to all that it started, and to others: forks of the server that work for it."""
    parent = psutil.Process(process.pid)
    parent.suspend()  # or it would start its next command before it is killed itself
    doomed = [parent, *parent.children(recursive=True), *others]
    for end in (psutil.Process.suspend, psutil.Process.kill):  # the loop may be among the others
        for one in doomed:
            with suppress(psutil.NoSuchProcess):
                end(one)
    process.wait()
    psutil.wait_procs(doomed, timeout=30)


def plan_chains(jobs: Sequence[Job], draw: random.Random, length: int) -> Iterator[tuple[Job, list[Moment]]]:
    """For ever: every job in turn with so many moments of its own, the last of which comes twice, then with random
    seconds."""
    drawn: Counter = Counter()
    while True:
        for job in jobs:
            moments = draw_moments(job, draw, length, drawn)
            yield job, [*moments, moments[-1]]
        for job in jobs:
            yield job, [Moment(CLOCK, "", seconds=draw.uniform(0.1, 0.4) * job.seconds) for _ in range(2)]


def run_study(folder: Path, kills: int, seed: int, names: Sequence[str] = tuple(JOBS), forks: bool = True) -> Study:
    """Chains until there were so many kills. Without `forks` every start is a fresh python, whose imports take long."""
    draw = random.Random(seed)
    with serve_forks(folder / "venv") if forks else nullcontext(make_plain_venv(folder / "venv")) as (venv, server):
        study = Study(folder, venv, server)
        jobs = [study.measure(name, JOBS[name]) for name in names]
        for job, moments in plan_chains(jobs, draw, length=7 if forks else 2):
            study.kill_and_repeat(job, moments)
            if count_kills(study) >= kills:
                return study


def make_plain_venv(folder: Path) -> tuple[Path, None]:
    """As `serve_forks`, with a fresh interpreter for every command."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{TESTS / "sudden_death.py"}" "$@"\n')
    python.chmod(0o755)
    return folder, None


def count_kills(study: Study) -> int:
    return sum(outcome.killed for outcome in study.outcomes)


# ---- what is told ----------------------------------------------------------------------------------------------------


def format_table(study: Study) -> str:
    """Per stage: kills of each job, and how many of them in the middle of a write."""
    lines = [f"| killed in | {' | '.join(JOBS)} | in mid-write |", f"|---{'|---' * len(JOBS)}|---|"]
    for stage in [*STAGES, CLOCK]:
        killed = [outcome for outcome in study.outcomes if outcome.stage == stage and outcome.killed]
        counts = [sum(outcome.job == name for outcome in killed) for name in JOBS]
        lines.append(f"| {stage} | {' | '.join(map(str, counts))} | {sum(bool(outcome.torn) for outcome in killed)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        study = run_study(Path(folder), arguments.kills, arguments.seed)
    print(format_table(study))
    whole = {"kills": count_kills(study), "starts": study.starts, "seconds": round(time.monotonic() - start, 1)}
    print(json.dumps(whole | {"problems": study.problems, "outcomes": [asdict(each) for each in study.outcomes]}))
    return 1 if study.problems else 0


if __name__ == "__main__":
    sys.exit(main())
