"""A machine in equal parts, one for each of the runs that are at work at once: threads, cards, and memory that lasts.

Entry: `divide_machine`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from layer_distillation.records.run_record import FINISHED, read_run_record
from layer_distillation.sweep.plan import PlannedRun

GIGABYTE = 1e9
CONTROL_GROUP = Path("/sys/fs/cgroup")
MEMORY_FACTS = Path("/proc/meminfo")


@dataclass(frozen=True)
class Place:
    """What a run at work has of the machine; all of it, as it finds it, where it is the only one."""

    number: int = 0
    threads: int | None = None
    cards: tuple[str, ...] = ()

    def describe(self) -> str:
        """Nothing of the whole machine."""
        if self.threads is None:
            return ""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"card {','.join(self.cards)}, {threads}" if self.cards else threads

    @property
    def variables(self) -> dict[str, str]:
        """Of a run's environment. Launchers of several processes look for a free port, where all would take one."""
        if self.threads is None:
            return {}
        variables = {"OMP_NUM_THREADS": str(self.threads), "PET_STANDALONE": "1"}
        return variables | ({"CUDA_VISIBLE_DEVICES": ",".join(self.cards)} if self.cards else {})


WHOLE_MACHINE = Place()


def divide_machine(jobs: int, runs: Sequence[PlannedRun], environment: Mapping[str, str]) -> list[Place]:
    """As many places as jobs; each has an equal part, so that a run does not depend on which it gets.

    Raises:
        ValueError: the runs that would be at work at once need more memory than there is.
    """
    if jobs == 1:
        return [WHOLE_MACHINE]
    num_cards = max(run.needs.num_cards for run in runs)
    check_memory(jobs, runs, num_cards)
    cards = name_cards(num_cards, environment)
    threads = int(environment.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    return [Place(job, max(1, threads // jobs), share_cards(cards, job, jobs)) for job in range(jobs)]


def name_cards(num_cards: int, environment: Mapping[str, str]) -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them: those of a sweep that was given some, else by number."""
    given = environment.get("CUDA_VISIBLE_DEVICES")
    return given.split(",")[:num_cards] if given else [str(number) for number in range(num_cards)]


def share_cards(cards: Sequence[str], job: int, jobs: int) -> tuple[str, ...]:
    """An equal number for every job; where there are fewer cards than jobs, several jobs share one."""
    each = len(cards) // jobs
    if each:
        return tuple(cards[job * each : (job + 1) * each])
    return (cards[job % len(cards)],) if cards else ()


# ---- memory --------------------------------------------------------------------------------------------------------


def check_memory(jobs: int, runs: Sequence[PlannedRun], num_cards: int) -> None:
    """Raises ValueError where a machine, or a card that several jobs share, is too small for them."""
    needed, reason = find_memory_bytes(runs)
    free, where = (runs[0].needs.card_bytes, "a card has") if num_cards else (measure_free_bytes(), "free here are")
    at_once = -(-jobs // num_cards) if num_cards else jobs
    if at_once * needed <= free:
        return
    fitting = max(1, int(free // needed)) * max(1, num_cards)
    raise ValueError(
        f"--jobs {jobs} takes about {at_once * needed / GIGABYTE:.1f} GB, {at_once} x {needed / GIGABYTE:.1f} GB "
        f"({reason}), and {where} {free / GIGABYTE:.1f} GB: take --jobs {fitting}{' or fewer' * (fitting > 1)}"
    )


def find_memory_bytes(runs: Sequence[PlannedRun]) -> tuple[int, str]:
    """The most that a run takes, and how that is known: finished ones of the plan have measured it."""
    peaks = [read_run_record(run.folder).peak_memory_bytes for run in runs if run.state == FINISHED]
    if measured := [peak for peak in peaks if peak is not None]:
        return max(measured), "the most that a finished run of this plan took"
    return max(run.needs.memory_bytes for run in runs), "estimated from the teacher's weights"


def measure_free_bytes() -> int:
    """What this machine, or the container that we are in, can still give."""
    facts = dict(line.split(":") for line in MEMORY_FACTS.read_text(encoding="ascii").splitlines())
    free = int(facts["MemAvailable"].split()[0]) * 1024
    limit = CONTROL_GROUP / "memory.max"
    if not limit.exists() or limit.read_text(encoding="ascii").strip() == "max":
        return free
    statistics = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
    used = int((CONTROL_GROUP / "memory.current").read_text(encoding="ascii")) - int(statistics["inactive_file"])
    return min(free, int(limit.read_text(encoding="ascii")) - used)
