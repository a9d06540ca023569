"""A lock is waited for with a word, and ends with the process that held it; on a network it is a lease."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLease

from layer_distillation.records import locks
from layer_distillation.records.locks import acquire_with_notice, find_file_system, make_lock, try_lock
from layer_distillation.records.process_locks import hold_run_folder


def test_a_waiting_run_says_so_and_goes_on_when_the_lock_is_free(tmp_path, caplog):
    holder, waiter = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock", thread_local=False)
    holder.acquire()
    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=acquire_with_notice, args=(waiter,))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert "waiting for it" in caplog.text
        holder.release()
        thread.join(5)
    assert waiter.is_locked
    waiter.release()


def test_a_killed_holder_leaves_no_stale_lock(tmp_path):
    path = str(tmp_path / "lock")
    script = f"import os; from filelock import FileLock; FileLock({path!r}).acquire(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    FileLock(tmp_path / "lock").acquire(timeout=1)


# ---- where locks of the system cannot be relied upon ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("ext4", FileLock),
        ("tmpfs", FileLock),
        ("fuse.overlayfs", FileLock),
        ("nfs4", SoftFileLease),
        ("lustre", SoftFileLease),
        ("fuse.sshfs", SoftFileLease),
    ],
)
def test_the_kind_of_a_lock_goes_by_the_file_system_that_it_lies_on(tmp_path, monkeypatch, mount, expected):
    shared = tmp_path / "shared by all"
    shared.mkdir()
    mounts = tmp_path / "mounts"
    point = str(shared).replace(" ", "\\040")
    mounts.write_text(f"disk / ext4 rw 0 0\nold {point} ext4 rw 0 0\nserver:/x {point} {mount} rw 0 0\n")
    monkeypatch.setattr(locks, "MOUNTS", mounts)
    assert find_file_system(shared / "not" / "there" / "yet") == mount
    assert isinstance(make_lock(shared / "runs" / ".lock"), expected)
    assert isinstance(make_lock(tmp_path / ".lock"), FileLock)
    (tmp_path / "link").symlink_to(shared)
    assert find_file_system(tmp_path / "link" / ".lock") == mount


def test_the_environment_may_say_what_the_mounts_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYER_DISTILLATION_LOCKS", "lease")
    assert isinstance(make_lock(tmp_path / ".lock"), SoftFileLease)
    monkeypatch.setenv("LAYER_DISTILLATION_LOCKS", "nfs")
    with pytest.raises(ValueError, match='LAYER_DISTILLATION_LOCKS is "nfs": set it to system or lease'):
        make_lock(tmp_path / ".lock")


HOLDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from layer_distillation.records import locks
locks.LEASE_SECONDS = {lease}
with locks.hold_lock(Path({path!r})):
    print("taken", flush=True)
    time.sleep(60)
"""
LEASE = 1.5


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """A process that holds a lease, with heartbeats."""
    monkeypatch.setenv("LAYER_DISTILLATION_LOCKS", "lease")
    monkeypatch.setattr(locks, "LEASE_SECONDS", LEASE)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.05)
    root = str(Path(locks.__file__).resolve().parents[2])
    script = HOLDER.format(root=root, lease=LEASE, path=str(tmp_path / "lock"))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lease_is_kept_as_long_as_its_holder_lives_and_free_once_it_is_killed(holder, tmp_path):
    assert not try_lock(make_lock(tmp_path / "lock"), 2 * LEASE)
    holder.kill()
    holder.wait()
    assert try_lock(make_lock(tmp_path / "lock"), 1)


@pytest.mark.slow
def test_a_holder_that_is_not_heard_of_loses_its_lease_and_ends_itself_when_it_wakes_up(holder, tmp_path):
    """As on a machine that stood still, or was cut off from the file system."""
    holder.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    successor = make_lock(tmp_path / "lock")
    assert try_lock(successor, 10 * LEASE)
    assert time.monotonic() - start > LEASE - 0.5  # its last touch may have been just before the stop
    holder.send_signal(signal.SIGCONT)
    assert holder.wait(timeout=20) == -signal.SIGTERM
    assert "was taken over (owner-changed): this run ends" in holder.stderr.read()
    assert successor.is_locked
    successor.release()


def test_the_lease_of_a_machine_that_is_gone_is_taken_over_when_its_time_is_up(holder, tmp_path):
    marker = tmp_path / "lock"
    holder.kill()
    holder.wait()
    assert os.uname().nodename in marker.read_text()
    marker.write_text(marker.read_text().replace(os.uname().nodename, "a-node-that-died"))
    assert not try_lock(make_lock(marker), LEASE / 2)
    assert try_lock(make_lock(marker), 4 * LEASE)


def test_a_run_folder_is_held_by_a_lease_as_by_a_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYER_DISTILLATION_LOCKS", "lease")
    with hold_run_folder(tmp_path / "run"):
        assert not try_lock(make_lock(tmp_path / "run" / ".lock"))
    assert not (tmp_path / "run").exists()  # as nothing was left in it
    with hold_run_folder(tmp_path / "run"):
        (tmp_path / "run" / "run_record.json").touch()
    assert try_lock(make_lock(tmp_path / "run" / ".lock"))
