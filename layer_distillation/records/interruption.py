"""Ctrl-C and SIGTERM end a run with one line that says what is kept, and the exit status that shells expect."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from layer_distillation.records.checkpoints import find_checkpoint


class Interrupted(KeyboardInterrupt):
    """The process was asked to stop by `signal_number`."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

    @property
    def exit_status(self) -> int:
        """130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal_number


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise Interrupted, so that every `finally` on the way runs. Main thread only."""
    before = {number: signal.signal(number, raise_interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_interrupted(signal_number: int, frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not cut short what the first one ends
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signal_number)


def describe_interruption(folder: Path, interrupted: Interrupted) -> str:
    """One line: where the same command goes on."""
    checkpoint = find_checkpoint(folder)
    kept = f"{checkpoint} is kept" if checkpoint else f"no checkpoint is in {folder} yet"
    return f"stopped by {interrupted}; {kept}, a teacher and its outputs stay cached, and the same command goes on"
