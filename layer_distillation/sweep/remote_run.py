"""A run on a machine of a cluster: this file's function travels there and needs nothing but Python.

Entry: `run_command`.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

POLL_SECONDS = 0.2
OWN_VARIABLES = ("CUDA_VISIBLE_DEVICES",)  # which the cluster sets on the machine itself
NOT_STARTED = 126  # as shells have it
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def run_command(command: Sequence[str], log: str, folder: str, variables: Mapping[str, str]) -> int:
    """The exit status as shells have it; what the command prints goes behind what its log holds already.

    Ended from outside (a cancelled task, SIGTERM), it ends all that the command started and waits for it. Should this
    process be killed, the kernel ends the command.

    Args:
        folder: where the sweep was started: its paths are relative to that.
    """
    prctl = ctypes.CDLL(None).prctl
    with open(os.path.join(folder, log), "ab") as file:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**variables, **{name: os.environ[name] for name in OWN_VARIABLES if name in os.environ}},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=lambda: prctl(DIE_WITH_PARENT, signal.SIGTERM, 0, 0, 0),
            )
        except OSError as error:
            file.write(f"error: {error}\n".encode())
            return NOT_STARTED
        try:
            while process.poll() is None:  # no blocking wait: a cancelled task is told between two of Python's steps
                time.sleep(POLL_SECONDS)
        finally:
            end_group(process)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def end_group(process: subprocess.Popen) -> None:
    """SIGTERM to what is left of the group that a process leads, until nothing is."""
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        while True:  # a launcher may end before what it started
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(POLL_SECONDS)
    except ProcessLookupError:
        return
