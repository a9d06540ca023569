"""What runs where, on a terminal: a table that follows the runs at work, below the lines of those that have ended.

Entry: `LiveTable`.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from layer_distillation.records.markdown_text import clean_text
from layer_distillation.sweep.executors import RunAtWork

REFRESH_SECONDS = 0.5
LAST_BYTES = 4096  # of a log, in which its last line is looked for


class LiveTable:
    """Inside the `with`, printed lines go above the table; at its end the table is gone."""

    def __init__(self) -> None:
        self.live = Live(transient=True, auto_refresh=False)
        self.last_time = 0.0

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.live.stop()

    def show(self, at_work: Sequence[RunAtWork], num_ended: int, num_runs: int) -> None:
        """Not more often than is of use."""
        now = time.monotonic()
        if now - self.last_time > REFRESH_SECONDS:
            self.last_time = now
            summary = f"{num_ended} of {num_runs} runs ended, {len(at_work)} at work"
            self.live.update(Group(make_table(at_work, now), Text(summary, style="dim")), refresh=True)


def make_table(at_work: Sequence[RunAtWork], now: float) -> Table:
    """A row per run: what, where, for how long, and the last that it said."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name, options in (
        ("run", {"no_wrap": True}),
        ("where", {"no_wrap": True}),
        ("seconds", {"no_wrap": True, "justify": "right"}),
        ("its last line", {"no_wrap": True, "ratio": 1, "overflow": "ellipsis"}),
    ):
        table.add_column(name, **options)
    for job in at_work:
        seconds, last = f"{now - job.start:.0f}", read_last_line(job.run.log)
        table.add_row(*map(Text, (job.run.name, job.where, seconds, last)))
    return table


def read_last_line(log: Path) -> str:
    """The last words in a log, or nothing, as where it is not there yet."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        text = file.read().decode("utf-8", errors="backslashreplace")
    lines = [line.strip() for part in text.split("\n") for line in part.split("\r")]
    return clean_text(next((line for line in reversed(lines) if line), ""))
