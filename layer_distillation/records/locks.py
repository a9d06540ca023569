"""A lock between runs, kept by the operating system: it ends with the process that holds it, however that ends.

Without torch. `records/process_locks.py` has the lock of a run that is several processes.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Inside, no other run is in this place; the lock file stays."""
    lock = FileLock(path)
    acquire_with_notice(lock)
    try:
        yield
    finally:
        lock.release()


def acquire_with_notice(lock: FileLock) -> None:
    """Takes the lock, and says so if it has to wait for another run. It ends with the process that holds it."""
    if not try_lock(lock):
        say_waiting(lock)
        lock.acquire()


def try_lock(lock: FileLock, seconds: float = 0) -> bool:
    """Whether the lock was there to be taken within some seconds."""
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    return True


def say_waiting(lock: FileLock) -> None:
    logger.warning("another run is at work on this: waiting for it (lock %s)", lock.lock_file)
