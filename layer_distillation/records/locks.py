"""A lock between runs that ends with the process that holds it, however that ends.

Without torch. `records/process_locks.py` has the lock of a run that is several processes.

On a local disk the operating system keeps it (flock). On a file system of a network that cannot be relied upon: mounts
may keep such locks to one machine, or know none. There a lock is a lease, a file that its holder touches again and
again: one that nobody has touched for `LEASE_SECONDS` is taken over, and its holder, should it still live, ends itself.
"""

import logging
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, LeaseCompromise, SoftFileLease, Timeout

from layer_distillation.records.folders import find_existing

logger = logging.getLogger(__name__)

KIND_VARIABLE = "LAYER_DISTILLATION_LOCKS"  # says what the mounts do not
SYSTEM, LEASE = "system", "lease"
LEASE_SECONDS, POLL_SECONDS = 120.0, 1.0
MOUNTS = Path("/proc/self/mounts")
NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs|cifs|smb|lustre|gpfs|beegfs|ceph|afs|9p|glusterfs|orangefs|virtiofs|fuse\.(sshfs|glusterfs|ceph|juicefs|beegfs)"
)


def make_lock(path: Path) -> BaseFileLock:
    """A lock that is not taken yet, of the kind that the place of its file allows.

    Raises:
        ValueError: the environment asks for a kind that there is not.
    """
    if find_lock_kind(path) == SYSTEM:
        return FileLock(path)
    return SoftFileLease(path, lease_duration=LEASE_SECONDS, poll_interval=POLL_SECONDS, on_compromise=end_holder)


def find_lock_kind(path: Path) -> str:
    kind = os.environ.get(KIND_VARIABLE, "")
    if kind not in ("", SYSTEM, LEASE):
        raise ValueError(f'{KIND_VARIABLE} is "{kind}": set it to {SYSTEM} or {LEASE}, or leave it out')
    return kind or (LEASE if NETWORK_FILE_SYSTEMS.match(find_file_system(path)) else SYSTEM)


def find_file_system(path: Path) -> str:
    """The type of the one that a file is, or would be, on."""
    place = find_existing(path.absolute()).resolve()
    mounts = [line.split()[1:3] for line in MOUNTS.read_text(encoding="utf-8").splitlines()]
    points = {Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)): kind for point, kind in mounts}
    return next(points[folder] for folder in (place, *place.parents) if folder in points)


def end_holder(loss: LeaseCompromise) -> None:
    """Another run may be at work in this place by now: this one ends as by SIGTERM, and goes on when started again."""
    logger.error("error: the lock %s was taken over (%s): this run ends", loss.lock_file, loss.reason)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Inside, no other run is in this place; the lock file stays."""
    lock = make_lock(path)
    acquire_with_notice(lock)
    try:
        yield
    finally:
        lock.release()


def acquire_with_notice(lock: BaseFileLock) -> None:
    """Takes the lock, and says so if it has to wait for another run. It ends with the process that holds it."""
    if not try_lock(lock):
        say_waiting(lock)
        lock.acquire()


def try_lock(lock: BaseFileLock, seconds: float = 0) -> bool:
    """Whether the lock was there to be taken within some seconds."""
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    return True


def say_waiting(lock: BaseFileLock) -> None:
    logger.warning("another run is at work on this: waiting for it (lock %s)", lock.lock_file)
