"""Runs are started one after the other, and each says how it ended."""

import os
import sys
from pathlib import Path

import pytest

from layer_distillation.sweep.executors import EXECUTORS, NOT_STARTED, Outcome
from layer_distillation.sweep.plan import PlannedRun
from layer_distillation.sweep.processes import ProcessGroups

execute_in_turn = EXECUTORS["in turn"]


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def make_run(place: Path, name: str, *command: str, state: str = "open") -> PlannedRun:
    log = place / "logs" / f"{name}.log"
    return PlannedRun(name, name, "1", place / name, log, flags=[], command=list(command), state=state)


def execute(*runs: PlannedRun) -> tuple[list[Outcome], list[str]]:
    begun: list[str] = []
    outcomes = execute_in_turn(runs, ProcessGroups(os.environ), lambda run: begun.append(run.name))
    return list(outcomes), begun


def test_one_that_fails_or_cannot_be_started_stops_no_other(place, capsys):
    runs = [
        make_run(place, "fails", "sh", "-c", "echo out; echo err >&2; exit 3"),
        make_run(place, "gone", "no-such-launcher"),
        make_run(place, "passes", "true"),
    ]
    outcomes, begun = execute(*runs)
    assert begun == ["fails", "gone", "passes"]
    assert [outcome.status for outcome in outcomes] == [3, NOT_STARTED, 0]
    assert runs[0].log.read_text() == "out\nerr\n"
    assert "no-such-launcher" in capsys.readouterr().err


def test_the_next_one_begins_when_the_last_one_has_ended(place):
    runs = [make_run(place, name, "sh", "-c", f"ls '{place}'; touch '{place}/{name}'") for name in ("first", "second")]
    outcomes = execute_in_turn(runs, ProcessGroups(os.environ), lambda run: None)
    assert next(outcomes).run is runs[0]
    assert not runs[1].log.exists()
    assert next(outcomes).run is runs[1]
    assert "first" in runs[1].log.read_text()


def test_what_is_finished_is_not_started(place):
    outcomes, begun = execute(make_run(place, "done", sys.executable, "-c", "1 / 0", state="finished"))
    assert [(outcome.status, outcome.seconds) for outcome in outcomes] == [(0, None)]
    assert begun == ["done"]
    assert list((place / "logs").iterdir()) == []


def test_a_log_is_gone_on_with(place):
    run = make_run(place, "again", "echo", "second")
    run.log.write_bytes(b"first \xff\n")
    execute(run)
    assert run.log.read_bytes() == b"first \xff\nsecond\n"
