"""Killed anywhere, started again: the end is that of a run that nobody disturbed. `kill_study.py` does the killing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_distillation
from fork_server import serve_forks
from kill_moments import JOBS, LOOP, STAGES, find_repeats, list_differences, list_kept, read_contents
from kill_study import CLOCK, count_kills, kill_tree, run_study
from layer_distillation.records.checkpoints import find_checkpoint
from layer_distillation.records.run_record import read_run_record
from layer_distillation.sweep.check import check_run
from sudden_death import VARIABLE
from test_run_all_strategies import wait_for
from test_run_distillation import replace_flag
from tiny_project import make_project

TESTS = Path(__file__).resolve().parent


@pytest.mark.slow
def test_forty_kills_in_every_stage_leave_what_an_undisturbed_job_leaves(tmp_path):
    study = run_study(tmp_path, kills=40, seed=0)
    assert study.problems == []
    assert count_kills(study) >= 40
    assert {outcome.stage for outcome in study.outcomes if outcome.killed} == {*STAGES, CLOCK}
    assert sum(bool(outcome.torn) for outcome in study.outcomes) >= 4


@pytest.mark.slow
def test_two_runs_at_once_leave_byte_for_byte_what_one_after_the_other_leaves(tmp_path):
    """Undisturbed, times aside: the same folder, emptied between the two."""
    root, contents = tmp_path / "root", {}
    with serve_forks(tmp_path / "venv") as (venv, _):
        for name in ("loop", "two at once"):
            shutil.rmtree(root, ignore_errors=True)
            command = JOBS[name](root, venv / "bin" / "python")
            environment = os.environ | {"VIRTUAL_ENV": str(venv), "LAUNCH": "python", "OMP_NUM_THREADS": "1"}
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
            contents[name] = read_contents(root)
    assert len(contents["loop"]) > 50
    assert list_differences(contents["loop"], contents["two at once"]) == []


@pytest.mark.slow
def test_so_do_kills_of_fresh_interpreters(tmp_path):
    """The study's forks share their imports; here every start is the command as a user gives it."""
    study = run_study(tmp_path, kills=3, seed=1, names=("run",), forks=False)
    assert study.problems == []
    assert count_kills(study) >= 3


@pytest.mark.slow
def test_the_loop_as_it_is_started_by_users_goes_on_after_sigterm_and_after_sigkill(tmp_path):
    """With accelerate's launcher, which tells its child of no signal, and no forks of the study."""
    root = tmp_path / "a project"
    flags = [*make_project(root), "--num_train_epochs=30"]
    kept = root / "runs" / "odd-seed1" / "checkpoint-{}" / "trainer_state.json"

    process = start_loop(root, flags)
    wait_for(Path(str(kept).format(9)), process, seconds=300)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "stopped by SIGTERM; the same command goes on from here" in output
    log = (root / "runs" / "logs" / "odd-seed1.log").read_text()
    assert len(re.findall(r"stopped by SIGTERM; .*/odd-seed1/checkpoint-\d+ is kept", log)) == 1
    assert [read_run_record(root / "runs" / f"{name}-seed1").status for name in ("top", "odd")] == [
        "finished",
        "running",
    ]
    first_stop = find_checkpoint(root / "runs" / "odd-seed1")

    process = start_loop(root, flags)
    later = int(first_stop.rsplit("-", 1)[1]) + 6
    wait_for(Path(str(kept).format(later)), process, seconds=300)
    kill_tree(process)
    process.communicate()
    assert read_run_record(root / "runs" / "odd-seed1").status == "running"

    ended = {}
    for name, folder in (("broken", root), ("whole", tmp_path / "whole")):
        process = start_loop(folder, flags if folder == root else [*make_project(folder), "--num_train_epochs=30"])
        ended[name], _ = process.communicate(timeout=600)
        assert process.returncode == 0, ended[name]
    assert "top-seed1: finished before" in ended["broken"]
    for run in ("top-seed1", "odd-seed1"):
        broken, whole = root / "runs" / run, tmp_path / "whole" / "runs" / run
        assert read_run_record(broken).metrics == read_run_record(whole).metrics
        assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (root / "runs" / "comparison" / "comparison.json").exists()


def start_loop(root: Path, flags: list[str]) -> subprocess.Popen:
    flags = [flag for flag in flags if not flag.startswith("--output_dir")]
    environment = {name: value for name, value in os.environ.items() if name != "LAUNCH"} | {"VIRTUAL_ENV": sys.prefix}
    return subprocess.Popen(
        [LOOP, "--strategies", "top odd", "--seeds", "1", "--output_root", str(root / "runs"), *flags],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# ---- the study itself ----------------------------------------------------------------------------------------------

WRITER = """
import os
with open("half", "w") as file:
    file.write("12345678")
os.rename("half", "whole")
"""


@pytest.mark.parametrize(("tear", "left"), [(False, "12345678"), (True, "1234")])
def test_a_command_is_held_at_its_moment_and_what_it_writes_is_torn(tmp_path, tear, left):
    root, notes, script = tmp_path / "root", tmp_path / "notes", tmp_path / "writer.py"
    root.mkdir()
    script.write_text(WRITER)
    watched = {"root": str(root), "notes": str(notes), "moment": ["rename", "whole"], "tear": tear}
    script.write_text(WRITER.replace('"half"', repr(str(root / "half"))).replace('"whole"', repr(str(root / "whole"))))
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "sudden_death.py"), str(script)], env=os.environ | {VARIABLE: json.dumps(watched)}
    )
    end = time.monotonic() + 60
    while not (notes.exists() and "reached" in notes.read_text()):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert notes.read_text().splitlines() == ["write half", *["tore half"] * tear, "reached"]
    assert [path.name for path in root.iterdir()] == ["half"]
    assert (root / "half").read_text() == left


def test_the_study_sees_what_is_left_behind_lost_changed_or_done_twice(tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / "model.safetensors").write_bytes(b"1")
        (tmp_path / name / "run" / "run.json").write_text('{"loss": 1, "seconds": 1}')
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    (broken / "run" / "run.json").write_text('{"loss": 1, "seconds": 2}')
    assert list_differences(read_contents(whole), read_contents(broken)) == []
    (whole / "card.txt").touch()
    (broken / "run" / ".unfinished-record").touch()
    (broken / "run" / "model.safetensors").write_bytes(b"2")
    (broken / "run" / "run.json").write_text('{"loss": 2, "seconds": 1}')
    assert list_differences(read_contents(whole), read_contents(broken)) == [
        "card.txt is missing",
        "run/.unfinished-record is left behind",
        "run/model.safetensors differs",
        "run/run.json differs",
    ]
    (broken / "cache" / "teachers" / "0a").mkdir(parents=True)
    kept = list_kept(broken) | {"run": 3}
    events = [
        "call training_step run 2",
        "call training_step run 3",
        "call training_step cache/teachers/0a.unfinished 7",
    ]
    assert find_repeats(kept, events) == [events[0], events[2]]


# ---- what the study found --------------------------------------------------------------------------------------------


def test_checkpoints_of_a_run_that_was_killed_while_it_removed_them_are_removed_by_the_same_command(
    tmp_path, monkeypatch
):
    flags = [*make_project(tmp_path), "--num_train_epochs=1"]
    assert run_distillation.main(flags) == 0
    left = tmp_path / "run" / "checkpoint-3"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert check_run(flags)["state"] == "open"
    monkeypatch.setattr(run_distillation, "distil", lambda *_: pytest.fail("trained again"))
    assert run_distillation.main(replace_flag(flags, keep_checkpoints="true")) == 0
    assert left.exists()
    assert run_distillation.main(flags) == 0
    assert not left.exists()
    assert check_run(flags)["state"] == "finished"
