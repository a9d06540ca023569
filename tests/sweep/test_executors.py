"""Runs are started one after the other or several at once, and each says how it ended."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from layer_distillation.records.interruption import Interrupted
from layer_distillation.sweep.executors import Outcome, RunAtWork, execute_here
from layer_distillation.sweep.places import Place
from layer_distillation.sweep.plan import PlannedRun
from layer_distillation.sweep.processes import ProcessGroups
from layer_distillation.sweep.remote_run import NOT_STARTED
from sweep_tools import send_once_there

TWO_PLACES = [Place(0, threads=3, cards=("4", "5")), Place(1, threads=3, cards=("6", "7"))]


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


class Listener:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.seen: set[tuple[str, ...]] = set()

    def begin(self, run: PlannedRun, where: str = "") -> None:
        self.begun.append(f"{run.name} {where}".strip())

    def watch(self, at_work: Sequence[RunAtWork]) -> None:
        self.seen.add(tuple(job.run.name for job in at_work))


def make_run(place: Path, name: str, *command: str, state: str = "open") -> PlannedRun:
    log = place / "logs" / f"{name}.log"
    return PlannedRun(name, name, "1", place / name, log, flags=[], command=list(command), state=state)


def execute(*runs: PlannedRun, **options: list[Place]) -> tuple[list[Outcome], Listener]:
    listener = Listener()
    return list(execute_here(runs, ProcessGroups(os.environ), listener, **options)), listener


def test_one_that_fails_or_cannot_be_started_stops_no_other(place, capsys):
    runs = [
        make_run(place, "fails", "sh", "-c", "echo out; echo err >&2; exit 3"),
        make_run(place, "gone", "no-such-launcher"),
        make_run(place, "passes", "true"),
    ]
    outcomes, listener = execute(*runs)
    assert listener.begun == ["fails", "gone", "passes"]
    assert [outcome.status for outcome in outcomes] == [3, NOT_STARTED, 0]
    assert runs[0].log.read_text() == "out\nerr\n"
    assert "no-such-launcher" in capsys.readouterr().err


def test_the_next_one_begins_when_the_last_one_has_ended(place):
    runs = [make_run(place, name, "sh", "-c", f"ls '{place}'; touch '{place}/{name}'") for name in ("first", "second")]
    outcomes = execute_here(runs, ProcessGroups(os.environ), Listener())
    assert next(outcomes).run is runs[0]
    assert not runs[1].log.exists()
    assert next(outcomes).run is runs[1]
    assert "first" in runs[1].log.read_text()


def test_what_is_finished_is_not_started(place):
    outcomes, listener = execute(make_run(place, "done", sys.executable, "-c", "1 / 0", state="finished"))
    assert [(outcome.status, outcome.seconds) for outcome in outcomes] == [(0, None)]
    assert listener.begun == ["done"]
    assert list((place / "logs").iterdir()) == []


def test_a_log_is_gone_on_with(place):
    run = make_run(place, "again", "echo", "second")
    run.log.write_bytes(b"first \xff\n")
    execute(run)
    assert run.log.read_bytes() == b"first \xff\nsecond\n"


# ---- several at once -----------------------------------------------------------------------------------------------

MEET = "touch '{place}/{name}'; until [ -e '{place}/{other}' ]; do sleep 0.02; done; echo $OMP_NUM_THREADS"


def test_as_many_are_at_work_as_there_are_places_and_each_has_its_part_of_the_machine(place):
    """The first two end only because both are at work; the third comes when one of them has ended."""
    runs = [
        make_run(place, name, "sh", "-c", MEET.format(place=place, name=name, other=other) + " $CUDA_VISIBLE_DEVICES")
        for name, other in (("a", "b"), ("b", "a"), ("c", "a"))
    ]
    outcomes, listener = execute(*runs, places=TWO_PLACES)
    assert [outcome.status for outcome in outcomes] == [0, 0, 0]
    assert listener.begun[:2] == ["a card 4,5, 3 threads", "b card 6,7, 3 threads"]
    assert (runs[0].log.read_text(), runs[1].log.read_text()) == ("3 4,5\n", "3 6,7\n")
    assert runs[2].log.read_text() in ("3 4,5\n", "3 6,7\n")
    assert ("a", "b") in listener.seen
    assert max(map(len, listener.seen)) == 2


def test_of_several_the_first_to_end_is_told_first_and_a_failure_stops_no_other(place):
    wait = f"until [ -e '{place}/go' ]; do sleep 0.02; done"
    runs = [make_run(place, "slow", "sh", "-c", wait), make_run(place, "quick", "sh", "-c", "exit 5")]
    runs += [make_run(place, "gone", "no-such-launcher"), make_run(place, "last", "touch", f"{place}/go")]
    runs += [make_run(place, "done", "false", state="finished")]
    outcomes, _ = execute(*runs, places=TWO_PLACES)
    ended = {outcome.run.name: outcome.status for outcome in outcomes}
    assert ended == {"quick": 5, "gone": NOT_STARTED, "last": 0, "done": 0, "slow": 0}
    assert list(ended)[:2] == ["quick", "gone"]


def test_a_signal_ends_all_that_are_at_work(place):
    script = f"echo $$ > '{place}/half-{{0}}'; mv '{place}/half-{{0}}' '{place}/{{0}}'; sleep 60; exit"
    runs = [make_run(place, name, "sh", "-c", script.format(name)) for name in ("a", "b")]
    send_once_there(place / "b", 15)
    groups = ProcessGroups(os.environ)
    start = time.monotonic()
    with pytest.raises(Interrupted), groups:
        list(execute_here(runs, groups, Listener(), TWO_PLACES))
    assert time.monotonic() - start < 10
    for name in ("a", "b"):
        with pytest.raises(ProcessLookupError):
            os.killpg(int((place / name).read_text()), 0)
