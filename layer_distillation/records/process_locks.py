"""What all processes of a run do together: hold a lock against other runs, and learn that one of them failed.

Entry: `hold_run_folder`, `hold_lock_together`, around what two runs may not do at the same time; `agree_on_failure`;
`leave_process_group` at the end of a process.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch.distributed
from accelerate import PartialState
from accelerate.utils import gather_object
from filelock import BaseFileLock

from layer_distillation.records.locks import make_lock, say_waiting, try_lock

RUN_LOCK_NAME = ".lock"
TRY_SECONDS = 5.0  # below --ddp_timeout, after which a collective operation ends the run that waits in it
AGREED = "raised by every process of the run"


@contextmanager
def hold_run_folder(folder: Path) -> Iterator[None]:
    """Inside, no other run writes to this output folder; a run that leaves nothing in it leaves no folder either."""
    path = folder / RUN_LOCK_NAME
    with hold_lock_together(path):
        try:
            yield
        finally:
            if PartialState().is_main_process:
                remove_if_alone(path)


def remove_if_alone(path: Path) -> None:
    """Removes a lock that is held, and its folder, where nothing else is in it; whoever waits makes the lock anew."""
    with suppress(OSError):  # a folder that is gone or not empty any more is no fault
        if list(path.parent.iterdir()) == [path]:
            path.unlink()
            path.parent.rmdir()


@contextmanager
def hold_lock_together(path: Path) -> Iterator[None]:
    """Inside, this run is alone, with all its processes; the lock file stays.

    Raises:
        OSError: the lock cannot be made, in every process.
    """
    lock = make_lock(path)
    acquire_together(lock)
    try:
        yield
    finally:
        lock.release()


def acquire_together(lock: BaseFileLock, try_seconds: float = TRY_SECONDS) -> None:
    """The main process takes the lock, and makes the folders on the way to it. After every try all processes agree
    whether it has: another run may train for hours, and none of them could wait so long in one operation."""
    is_taken = try_together(lock, 0)
    if not is_taken and PartialState().is_main_process:
        say_waiting(lock)
    while not is_taken:
        is_taken = try_together(lock, try_seconds)


def try_together(lock: BaseFileLock, seconds: float) -> bool:
    """Whether the main process has got the lock within some seconds: the same answer in every process."""
    is_taken = False
    with agree_on_failure():
        if PartialState().is_main_process:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # gone with the run that was waited for: the next try makes it anew
                is_taken = try_lock(lock, seconds)
    return any(gather_object([is_taken]))


@contextmanager
def agree_on_failure() -> Iterator[None]:
    """Waits for all processes; if one fails inside, all raise its error, instead of waiting for it for ever."""
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if failure is not None and PartialState().num_processes == 1:
        raise failure
    failures = [error for error in gather_object([failure]) if error is not None]
    if failures:
        failures[0].add_note(AGREED)
        raise failures[0]


def is_agreed(error: Exception) -> bool:
    """Whether every process raised this error: one of them is enough to tell."""
    return AGREED in vars(error).get("__notes__", ())


def leave_process_group() -> None:
    """Ends this process's part in the run, and the threads of its group.

    A thread that lets go of its last tensor while the interpreter ends aborts the process (torch 2.13 with gloo:
    "terminate called without an active exception"). The threads end with the group, and the group with the last thing
    that holds it: the trainer's wrapped model, which is in a cycle. Its last holder has to be Python's own object, as
    this alone releases the interpreter's lock, which a thread may want, while it waits for the threads.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        group = torch.distributed.group.WORLD
        torch.distributed.destroy_process_group()
        gc.collect()
        del group
