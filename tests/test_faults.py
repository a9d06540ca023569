"""Full disks, lost folders, dead processes: one line, the right exit status, nothing half-written is trusted, and the
same command gives the result of an undisturbed run once the fault is gone."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from transformers import TrainerCallback

import compare_strategies
import run_distillation
from fault_tools import (
    NO_MOUNT,
    disk_full_from_write,
    fail,
    finish,
    get_namespace_command,
    list_leftovers,
    make_faulty_project,
    run_quietly,
)
from layer_distillation.records.run_record import read_run_record
from simulated_runs import write_run
from tiny_project import make_project

TOOLS = Path(__file__).with_name("fault_tools.py")
MANY_WRITES = 400  # a run of the tiny project has fewer


# ---- a full disk -------------------------------------------------------------------------------------------------


def fail_at_write(folder: Path, flags: Sequence[str], number: int) -> bool:
    """Whether the run had so many writes; then it ended at that one in one line."""
    with disk_full_from_write(number, folder) as disk:
        status, lines = run_quietly(flags)
    if disk.count < number:
        assert (status, lines) == (0, [])
        return False
    assert (status, len(lines)) == (1, 1), lines
    assert re.search(r"error: a file could not be written \(.*\); .* free in .*the same command goes on$", lines[0])
    return True


@pytest.mark.slow
def test_a_disk_that_fills_up_within_a_checkpoint_ends_in_one_line_and_the_run_goes_on(tmp_path):
    flags = [*make_project(tmp_path / "project"), "--num_train_epochs=1"]
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole, broken = ([*flags, f"--output_dir={tmp_path / name}/run"] for name in ("whole", "broken"))
    metrics = finish(whole)
    assert fail_at_write(tmp_path / "broken", broken, number=14)
    assert list((tmp_path / "broken" / "run").glob("checkpoint-*"))
    assert finish(broken) == metrics


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_ends_the_run_in_one_line(tmp_path):
    """Every write of a run with its own teacher, one after the other; after every sixth the command runs again."""
    metrics = finish(make_faulty_project(tmp_path, tmp_path / "whole"))
    for number in range(1, MANY_WRITES):
        disk = tmp_path / str(number)
        disk.mkdir()
        flags = make_faulty_project(tmp_path, disk)
        if not fail_at_write(disk, flags, number):
            break
        if number % 6 == 0:
            assert finish(flags) == metrics
            assert not list_leftovers(disk)
        shutil.rmtree(disk)
    assert 60 < number < MANY_WRITES - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "values", "outputs"),
    [
        ("size", [f"{size}k" for size in range(8, 900, 44)], "live"),  # it has no room for a store and checkpoints
        ("nr_inodes", [str(count) for count in range(3, 90, 6)], "stored"),
    ],
)
def test_a_small_disk_that_grows_at_every_start_ends_with_the_metrics_of_a_large_one(tmp_path, option, values, outputs):
    """A tmpfs with too few bytes, or too few files, which the kernel itself refuses."""
    lines = run_in_namespace(tmp_path, option, ",".join(values))
    *failed, passed, end = lines
    assert len(failed) > 4
    assert {entry["status"] for entry in failed} == {1}
    assert all(len(entry["lines"]) == 1 and "a file could not be written" in entry["lines"][0] for entry in failed)
    assert passed["status"] == 0
    assert end["left"] == []
    whole = [*make_faulty_project(tmp_path, tmp_path / "whole"), f"--teacher_outputs={outputs}"]
    assert end["metrics"] == finish(whole)


def run_in_namespace(tmp_path: Path, *arguments: str) -> list[dict]:
    """What `fault_tools.py` prints where it may mount disks that nobody else sees."""
    if (command := get_namespace_command()) is None:
        pytest.skip(NO_MOUNT)
    result = subprocess.run(
        [*command, sys.executable, str(TOOLS), str(tmp_path), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("pictures", [[], pytest.param(["pictures"], marks=pytest.mark.slow)])
def test_a_comparison_on_a_full_disk_fails_at_any_write_and_leaves_whole_files(tmp_path, capsys, pictures):
    for strategy, accuracy in {"top": 0.85, "odd": 0.8}.items():
        for seed in (1, 2):
            write_run(tmp_path / "runs" / f"{strategy}{seed}", strategy, seed, accuracy)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = [str(tmp_path / "runs"), "--resamples=100", *([] if pictures else ["--no_pictures"])]
    compare_strategies.main([*options, f"--output_dir={whole}"])
    expected = {path.name: path.read_bytes() for path in whole.iterdir()}
    for number in range(1, MANY_WRITES):
        with disk_full_from_write(number, tmp_path) as disk:
            status = compare([*options, f"--output_dir={broken}"])
        if disk.count < number:
            break
        assert status == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if "compare_strategies.py: error" in line]
        assert len(errors) == 1
        assert "No space left on device" in errors[0]
        left = {path.name: path.read_bytes() for path in broken.glob("[!.]*")}
        assert all(expected[name] == content or name == "comparison.md" for name, content in left.items())
    assert number > len(expected)
    assert {path.name: path.read_bytes() for path in broken.iterdir()} == expected


def compare(flags: Sequence[str]) -> int:
    """The exit status of compare_strategies.py in this process."""
    try:
        return compare_strategies.main(flags)
    except SystemExit as stopped:
        return stopped.code


# ---- folders that cannot be written, or are gone -----------------------------------------------------------------


@pytest.mark.parametrize("flag", ["output_dir", "cache_dir"])
def test_a_file_in_place_of_a_folder_is_refused_before_anything_is_read(tmp_path, flag, monkeypatch):
    flags = make_project(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(run_distillation, "prepare_run", lambda *_: pytest.fail("data were read"))
    fail([*flags, f"--{flag}={tmp_path}/file/below"], 2, rf"--{flag} .*/file is a file: give another --{flag}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_read_only_folder_is_refused_in_one_line(tmp_path):
    """A mount that refuses root too."""
    entries = run_in_namespace(tmp_path, "read-only")
    assert [entry["flag"] for entry in entries] == ["output_dir", "cache_dir"]
    for entry in entries:
        assert (entry["status"], len(entry["lines"])) == (2, 1)
        assert re.search(rf"--{entry['flag']} .* is read-only: give another --{entry['flag']}", entry["lines"][0])
    assert list((tmp_path / "good").iterdir()) == []


class AtStep(TrainerCallback):
    """Does something at the beginning of a step."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step, self.act = step, act

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.act()


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 4])
def test_a_cache_removed_before_or_in_training_changes_nothing_and_is_made_anew(tmp_path, monkeypatch, step):
    """Step 0: after the store was filled. What is mapped stays readable."""
    flags, make_trainer = make_project(tmp_path), run_distillation.make_trainer
    metrics = finish(flags)
    removed = []

    def make_trainer_without_cache(*arguments):
        trainer = make_trainer(*arguments)
        assert trainer.teacher_store is not None
        trainer.add_callback(AtStep(step, lambda: removed.append(shutil.rmtree(tmp_path / "cache"))))
        return trainer

    monkeypatch.setattr(run_distillation, "make_trainer", make_trainer_without_cache)
    assert finish([*flags, f"--output_dir={tmp_path / 'lost'}"]) == metrics
    assert removed
    monkeypatch.setattr(run_distillation, "make_trainer", make_trainer)
    assert finish([*flags, f"--output_dir={tmp_path / 'later'}"]) == metrics
    assert len(list((tmp_path / "cache" / "teacher_outputs").glob("*/manifest.json"))) == 3


# ---- two processes -------------------------------------------------------------------------------------------------


def launch_two(flags: Sequence[str], fault: str = "") -> subprocess.CompletedProcess:
    """`faulty_process.py` under torchrun; its second process has the fault."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "FAULT": fault}
    command = [*launcher, str(Path(__file__).with_name("faulty_process.py")), *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_with_the_reason_and_the_run_goes_on(tmp_path):
    flags = [*make_project(tmp_path), "--per_device_train_batch_size=4"]
    whole = launch_two([*flags, f"--output_dir={tmp_path / 'whole'}", f"--cache_dir={tmp_path / 'other'}"])
    assert whole.returncode == 0, whole.stderr[-3000:]
    raised = launch_two(flags, "raise in filling")
    assert raised.returncode != 0
    assert re.findall(r"^run_distillation.py: error.*", raised.stderr, re.MULTILINE) == [
        line for line in raised.stderr.splitlines() if "out of memory (no memory in process 1)" in line
    ]
    assert not list((tmp_path / "cache").rglob("*.unfinished*"))
    killed = launch_two(flags, "kill at step 4")
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    assert re.search(r"run_distillation.py: (error: another process of this run ended|stopped by)", killed.stderr)
    assert (tmp_path / "run" / "checkpoint-3").is_dir()
    again = launch_two(flags)
    assert again.returncode == 0, again.stderr[-3000:]
    assert read_run_record(tmp_path / "run").metrics == read_run_record(tmp_path / "whole").metrics
