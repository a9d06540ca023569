"""A lock is waited for with a word, and ends with the process that held it."""

import logging
import subprocess
import sys
import threading

from filelock import FileLock

from layer_distillation.records.locks import acquire_with_notice


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
