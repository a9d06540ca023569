"""A lock between runs, kept by the operating system: it ends with the process that holds it, however that ends."""

import logging

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


def acquire_with_notice(lock: FileLock) -> None:
    """Takes the lock, and says so if it has to wait for another run. It ends with the process that holds it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another run is at work on this: waiting for it (lock %s)", lock.lock_file)
        lock.acquire()
