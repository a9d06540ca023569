"""A signal ends all that was started, at once, and nothing is left behind."""

import ctypes
import os
import signal
import subprocess
import time

import pytest

from layer_distillation.records.interruption import Interrupted
from layer_distillation.sweep.processes import ProcessGroups
from sweep_tools import send_once_there

BECOME_SUBREAPER = 36  # of prctl(2)


@pytest.fixture
def groups() -> ProcessGroups:
    return ProcessGroups(os.environ)


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_the_exit_status_is_that_of_shells(groups, script, status):
    assert groups.run(["sh", "-c", script]).returncode == status
    assert groups.at_work == []


def test_standard_input_is_what_is_given_or_empty(groups):
    assert groups.run(["cat"], text="given\n", stdout=subprocess.PIPE).stdout == "given\n"
    assert groups.run(["cat"], stdout=subprocess.PIPE).stdout == ""
    shown = groups.run(["sh", "-c", "echo $WORD"], variables={"WORD": "given"}, stdout=subprocess.PIPE).stdout
    assert shown == "given\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_a_command_started_and_not_the_command_alone(groups, tmp_path, number):
    before = signal.getsignal(number)
    send_once_there(tmp_path / "there", number)
    script = f"echo $$ > '{tmp_path}/half'; mv '{tmp_path}/half' '{tmp_path}/there'; sleep 60; exit"
    with pytest.raises(Interrupted) as interrupted, groups:
        groups.run(["sh", "-c", script])
    assert interrupted.value.signal_number == number
    with pytest.raises(ProcessLookupError):
        os.killpg(int((tmp_path / "there").read_text()), 0)
    assert signal.getsignal(number) is before


def test_a_signal_that_comes_while_a_command_is_started_ends_it_too(groups, monkeypatch):
    started, start = [], subprocess.Popen

    def start_and_be_signalled(*arguments, **options):
        started.append(start(*arguments, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start_and_be_signalled)
    with pytest.raises(Interrupted), groups:
        groups.run(["sleep", "60"])
    assert started[0].returncode == -signal.SIGTERM


def test_an_orphan_that_this_process_has_to_clear_up_after_keeps_nobody_waiting(groups, tmp_path):
    """As the first process of a container, which every orphan becomes a child of."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(BECOME_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        send_once_there(tmp_path / "there", signal.SIGTERM)
        with pytest.raises(Interrupted), groups:
            groups.run(["sh", "-c", f"sleep 60 & touch '{tmp_path}/there' && sleep 60"])
    finally:
        prctl(BECOME_SUBREAPER, 0, 0, 0, 0)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_signal_that_was_ignored_stays_ignored(groups):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with groups:
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_command_that_is_not_there_is_an_error_and_leaves_nothing(groups):
    with pytest.raises(FileNotFoundError):
        groups.run(["no-such-command"])
    assert groups.at_work == []


def wait_as_ray_does() -> None:
    """Whatever a signal's handler raises in it becomes a plain interrupt."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except Interrupted:
        raise KeyboardInterrupt from None


def test_a_signal_is_named_where_a_library_puts_a_plain_interrupt_in_its_place(groups):
    with pytest.raises(Interrupted) as interrupted, groups:
        wait_as_ray_does()
    assert interrupted.value.exit_status == 143


def test_an_interrupt_without_a_signal_stays_what_it_is(groups):
    with pytest.raises(KeyboardInterrupt) as interrupted, groups:
        raise KeyboardInterrupt
    assert type(interrupted.value) is KeyboardInterrupt
