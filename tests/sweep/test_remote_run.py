"""A command on a machine of a cluster: its log, its end, and that nothing outlives it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from layer_distillation.sweep import remote_run
from layer_distillation.sweep.remote_run import run_command
from sweep_tools import has_ended


def test_its_log_folder_variables_and_status_are_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")  # as the cluster has set it there
    monkeypatch.setenv("OTHER", "the machine's")
    (tmp_path / "log").write_text("before\n")
    script = "echo $WORD $CUDA_VISIBLE_DEVICES $OTHER; pwd; exit 5"
    given = {"WORD": "given", "CUDA_VISIBLE_DEVICES": "0", "PATH": os.environ["PATH"]}
    assert run_command(["sh", "-c", script], "log", str(tmp_path), given) == 5
    assert (tmp_path / "log").read_text() == f"before\ngiven 3\n{tmp_path}\n"
    assert run_command(["sh", "-c", "kill -KILL $$"], "log", str(tmp_path), given) == 137


def test_what_a_launcher_leaves_behind_is_ended_too(tmp_path):
    script = f"sleep 60 & echo $! > '{tmp_path}/left'"
    assert run_command(["sh", "-c", script], "log", str(tmp_path), os.environ) == 0
    assert has_ended(int((tmp_path / "left").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_runs_it_is_cancelled_or_killed_and_it_ends(tmp_path, number):
    there = tmp_path / "there"
    script = f"echo $$ > '{tmp_path}/half'; mv '{tmp_path}/half' '{there}'; exec sleep 60"
    code = f"import os, runpy; run = runpy.run_path({remote_run.__file__!r})['run_command']; "
    code += f"run(['sh', '-c', {script!r}], 'log', {str(tmp_path)!r}, os.environ)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not there.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(timeout=20)
    assert has_ended(int(there.read_text()))
