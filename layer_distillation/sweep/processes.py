"""Commands in process groups of their own: a signal to the sweep ends all that a command has started, at once.

Entry: `ProcessGroups`.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from layer_distillation.records.interruption import Interrupted, raise_interrupted


class ProcessGroups:
    """Inside the `with`, SIGINT and SIGTERM raise Interrupted, and what is at work is ended by the same signal and
    waited for. A signal that this process was started to ignore, as a script's background jobs are, stays ignored.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.at_work: list[subprocess.Popen] = []
        self.handlers: dict[int, Any] = {}  # of before
        self.is_starting, self.held_signal, self.taken_signal = False, 0, 0

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self.handlers[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.end_all(self.taken_signal or signal.SIGTERM)
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if self.taken_signal and isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
            raise Interrupted(self.taken_signal) from error  # Ray's waits put a plain one in its place (2.60)

    def handle(self, signal_number: int, frame: FrameType | None) -> None:
        if self.is_starting:
            self.held_signal = signal_number
        else:
            self.interrupt(signal_number)

    def interrupt(self, signal_number: int) -> None:
        self.taken_signal = signal_number
        raise_interrupted(signal_number, None)

    def run(
        self,
        command: Sequence[str],
        text: str | None = None,
        variables: Mapping[str, str] | None = None,
        **streams: Any,
    ) -> subprocess.CompletedProcess:
        """Waits for a command; its exit status is as shells have it, 128 + n where signal n ended it.

        Args:
            text: its standard input, which is empty otherwise.
            variables: further ones of its environment.
            streams: `stdout` and `stderr` of `subprocess.Popen`.

        Raises:
            OSError: it could not be started.
            Interrupted: a signal came.
        """
        given = subprocess.DEVNULL if text is None else subprocess.PIPE
        process = self.start(command, variables, stdin=given, text=True, **streams)
        output, _ = process.communicate(text)
        return subprocess.CompletedProcess(command, self.find_status(process), output)

    def find_status(self, process: subprocess.Popen) -> int | None:
        """The exit status as `run` has it of a command that has ended, None of one at work."""
        status = process.poll()
        if status is None:
            return None
        self.at_work.remove(process)
        return status if status >= 0 else 128 - status

    def start(
        self, command: Sequence[str], variables: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen:
        """Not waited for; arguments and errors are those of `run`, which see.

        A signal between the start and the note of it would leave the command at work: it is held until then.
        """
        environment = {**self.environment, **(variables or {})}
        self.is_starting = True
        try:
            process = subprocess.Popen(command, process_group=0, env=environment, **options)
            self.at_work.append(process)
        finally:
            self.is_starting = False
            if self.held_signal:
                self.interrupt(self.held_signal)
        return process

    def end_all(self, signal_number: int) -> None:
        for process in self.at_work:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal_number)
        for process in self.at_work:
            wait_for_group(process)


def wait_for_group(process: subprocess.Popen) -> None:
    """Until nothing is left of the group that a process leads: a launcher may end before what it started."""
    process.wait()
    with suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, 0)
            with suppress(ChildProcessError):  # the first process of a container has to clear up after orphans itself
                os.waitpid(-process.pid, os.WNOHANG)
            time.sleep(0.1)
