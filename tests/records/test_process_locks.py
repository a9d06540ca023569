"""The lock of a run: alone in its folder, waited for with a word, and no trace where the run leaves none."""

import logging
import threading

import pytest
import torch.distributed
from filelock import FileLock

from layer_distillation.records import process_locks
from layer_distillation.records.process_locks import (
    acquire_together,
    hold_lock_together,
    hold_run_folder,
    leave_process_group,
)


def test_inside_the_folder_is_held_and_a_run_that_leaves_something_leaves_it(tmp_path):
    folder = tmp_path / "runs" / "top"
    with hold_run_folder(folder):
        assert not is_free(folder / ".lock")
        (folder / "run_record.json").touch()
    assert is_free(folder / ".lock")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "run_record.json"]


def is_free(path) -> bool:
    lock = FileLock(path)
    is_taken = process_locks.try_lock(lock)
    lock.release()
    return is_taken


@pytest.mark.parametrize("exists", [False, True])
def test_a_run_that_fails_before_it_writes_leaves_no_folder(tmp_path, exists):
    folder = tmp_path / "runs" / "top"
    if exists:
        folder.mkdir(parents=True)

    def fail() -> None:
        with hold_run_folder(folder):
            raise ValueError("no such strategy")

    with pytest.raises(ValueError, match="no such strategy"):
        fail()
    assert not folder.exists()


def test_a_run_that_waits_says_so_once_and_goes_on_though_the_folder_is_gone_meanwhile(tmp_path, caplog):
    lock = FileLock(tmp_path / "run" / ".lock", thread_local=False)
    with caplog.at_level(logging.WARNING), hold_run_folder(tmp_path / "run"):
        thread = threading.Thread(target=acquire_together, args=(lock, 0.1))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(10)
    assert lock.is_locked
    assert [record.message for record in caplog.records] == [
        f"another run is at work on this: waiting for it (lock {lock.lock_file})"
    ]
    lock.release()


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), hold_lock_together(tmp_path / "file" / ".lock"):
        pass


def test_a_process_leaves_its_group_before_the_interpreter_ends():
    leave_process_group()  # of one process there is none
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    leave_process_group()
    assert not torch.distributed.is_initialized()
