"""What runs where, below the lines of what has ended; in a terminal that a test can read."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from layer_distillation.sweep.executors import RunAtWork
from layer_distillation.sweep.live_table import make_table, read_last_line
from layer_distillation.sweep.plan import PlannedRun

ROOT = Path(__file__).resolve().parents[2]


def test_a_row_says_what_is_at_work_where_for_how_long_and_what_it_said_last(tmp_path):
    log = tmp_path / "log"
    log.write_text("first\n  1  0.71 [bold]best so far\n\n")
    run = PlannedRun("top", "top", "1", Path("runs/top-seed1"), log, flags=[], command=[])
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - closed with the test
    console.print(make_table([RunAtWork(run, "card 1, 2 threads", 10.0)], now=44.4))
    header, row = (line.rstrip() for line in console.export_text().splitlines())
    assert header.split() == ["run", "where", "seconds", "its", "last", "line"]
    assert re.split("  +", row) == ["top-seed1", "card 1, 2 threads", "34", "1 0.71 [bold]best so far"]


@pytest.mark.parametrize(
    ("content", "last"),
    [
        (b"", ""),
        (b"a\nb\n", "b"),
        (b" 1 %\r 2 %\r", "2 %"),
        (b"x" * 9000 + b"\xff\x1b[31m", "x" * 4090 + "\\xff?[31m"),
    ],
)
def test_the_last_line_of_a_log(tmp_path, content, last):
    (tmp_path / "log").write_bytes(content)
    assert read_last_line(tmp_path / "log") == last
    assert read_last_line(tmp_path / "none") == ""


SWEEP = """
import os, time
from pathlib import Path
from layer_distillation.sweep.executors import Outcome, RunAtWork
from layer_distillation.sweep.plan import PlannedRun
from layer_distillation.sweep.report import SweepReport

Path("log").write_text("epoch 3 is done")
run = PlannedRun("top", "top", "1", Path("top-seed1"), Path("log"), flags=[], command=[])
report = SweepReport(2, is_live=True)
report.number([run])
with report.watching():
    report.begin(run, "1 thread")
    report.watch([RunAtWork(run, "1 thread", time.monotonic() - 7)])
    report.end(Outcome(run, 3, 8.0))
"""


def test_on_a_terminal_lines_stand_above_a_table_that_is_gone_in_the_end(tmp_path):
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP], cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = read_terminal(ours)
    assert process.wait(timeout=30) == 0, shown
    assert "begins" not in shown
    assert re.search(r"top-seed1 +1 thread +7 +epoch 3 is done", shown), shown
    assert "0 of 2 runs ended, 1 at work" in shown
    assert "[1/2] top-seed1: 8 s, failed with exit status 3" in shown


def read_terminal(number: int) -> str:
    """All that is written to it until its other side is closed."""
    shown, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if select.select([number], [], [], 1)[0]:
                shown += os.read(number, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
    os.close(number)
    return shown.decode()
