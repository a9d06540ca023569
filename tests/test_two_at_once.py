"""Two runs or two loops at the same time: one waits for the other, says so, and both end as one alone would."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from fork_server import serve_forks
from kill_moments import LOOP, RUN, read_contents
from layer_distillation.records.run_record import read_run_record
from sudden_death import REACHED, VARIABLE
from tiny_project import make_project

pytestmark = pytest.mark.slow  # every test trains, most in several processes
WAITING, FOUND = "another run is at work on this: waiting for it", "holds this very run, finished: nothing to train"
PAIR = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]


class Places:
    """Starts commands with forks of one server, each with notes of what it did."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self.folder, self.venv = folder, venv

    def start(
        self, command: list[str], root: Path, name: str, moment: str | None = None, launch: str = "python"
    ) -> subprocess.Popen:
        watched = {"root": str(root), "notes": str(self.folder / f"{name}.notes")}
        if moment is not None:
            watched["moment"] = moment.split(" ", 1)
        environment = os.environ | {
            "VIRTUAL_ENV": str(self.venv),
            "LAUNCH": launch,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            VARIABLE: json.dumps(watched),
        }
        with (self.folder / f"{name}.output").open("w") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def run(self, flags: list[str], root: Path, name: str, moment: str | None = None) -> subprocess.Popen:
        return self.start([str(self.venv / "bin" / "python"), RUN, *flags], root, name, moment)

    def read_output(self, name: str) -> str:
        return (self.folder / f"{name}.output").read_text()

    def list_calls(self, name: str, call: str) -> list[str]:
        """What was called there, such as `training_step run 3`."""
        path = self.folder / f"{name}.notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.removeprefix("call ") for line in lines if line.startswith(f"call {call}")]

    def wait_for(self, process: subprocess.Popen, name: str, file: str, text: str) -> None:
        """Until the text is in the command's notes or output."""
        end = time.monotonic() + 120
        path = self.folder / f"{name}.{file}"
        while not path.exists() or text not in path.read_text():
            assert process.poll() is None, self.read_output(name)
            assert time.monotonic() < end, f"no {text!r} from {name}: {self.read_output(name)}"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Iterator[Path]:
    with serve_forks(tmp_path_factory.mktemp("server") / "venv") as (venv, _):
        yield venv


@pytest.fixture
def places(tmp_path, venv) -> Places:
    return Places(tmp_path, venv)


def finish(places: Places, **processes: subprocess.Popen) -> None:
    for name, process in processes.items():
        assert process.wait(timeout=300) == 0, places.read_output(name)


def replace(flags: list[str], **values: object) -> list[str]:
    return [*flags, *(f"--{name}={value}" for name, value in values.items())]


def test_two_runs_with_one_output_folder_train_once(places, tmp_path):
    flags, alone = (make_project(tmp_path / name, has_head=False) for name in ("shared", "alone"))
    root = tmp_path / "shared"
    first = places.run(flags, root, "first")
    places.wait_for(first, "first", "notes", "call training_step")
    second = places.run(flags, root, "second")
    places.wait_for(second, "second", "output", WAITING)
    assert str(root / "run" / ".lock") in places.read_output("second")
    finish(places, first=first, second=second)
    assert places.list_calls("second", "training_step") == []
    assert FOUND in places.read_output("second")
    finish(places, alone=places.run(alone, tmp_path / "alone", "alone"))
    assert read_run_record(root / "run").metrics == read_run_record(tmp_path / "alone" / "run").metrics


def test_a_waiting_run_takes_over_from_one_that_is_killed(places, tmp_path):
    flags, alone = (make_project(tmp_path / name) for name in ("shared", "alone"))
    root = tmp_path / "shared"
    first = places.run(flags, root, "first", "call training_step run 4")
    places.wait_for(first, "first", "notes", REACHED)
    second = places.run(flags, root, "second")
    places.wait_for(second, "second", "output", WAITING)
    runners = find_runners(root)
    os.kill(min(runners), signal.SIGKILL)  # the first one's, which lives no longer than its kill
    finish(places, second=second)
    steps = [step.split()[-1] for step in places.list_calls("second", "training_step run")]
    assert steps == ["3", "4", "5"]
    finish(places, alone=places.run(alone, tmp_path / "alone", "alone"))
    assert read_run_record(root / "run").metrics == read_run_record(tmp_path / "alone" / "run").metrics


def find_runners(root: Path) -> list[int]:
    """The processes that have a run's lock file open: its holder alone, as the others close it after each try."""
    lock = str(root / "run" / ".lock")
    holders = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == lock:
                holders.append(int(link.parts[2]))
        except OSError:
            continue  # ended, or another user's
    return holders


def test_two_runs_with_one_cache_train_its_teacher_and_fill_its_stores_once(places, tmp_path):
    whole = make_project(tmp_path / "alone", has_head=False)
    shared = make_project(tmp_path / "shared", has_head=False)
    strategies = ("top", "odd")
    for name in strategies:  # one after the other
        flags = replace(whole, layer_strategy=name, output_dir=tmp_path / "alone" / name)
        finish(places, **{f"alone-{name}": places.run(flags, tmp_path / "alone", f"alone-{name}")})
    both = {
        name: places.run(
            replace(shared, layer_strategy=name, output_dir=tmp_path / "shared" / name), tmp_path / "shared", name
        )
        for name in strategies
    }
    finish(places, **both)
    for call in ("training_step cache/teachers/", "write_part cache/teacher_outputs/"):
        made = [entry for name in strategies for entry in places.list_calls(name, call)]
        assert len(made) == len(set(made)) > 0
    assert WAITING in places.read_output("top") + places.read_output("odd")
    for name in strategies:
        records = [read_run_record(tmp_path / root / name) for root in ("shared", "alone")]
        assert records[0].metrics == records[1].metrics
    cache = [name for name in read_contents(tmp_path / "shared") if name.startswith("cache/")]
    assert cache == [name for name in read_contents(tmp_path / "alone") if name.startswith("cache/")]


def make_loop_command(root: Path) -> list[str]:
    flags = [flag for flag in make_project(root, has_head=False) if not flag.startswith("--output_dir")]
    return [LOOP, "--strategies", "top odd", "--seeds", "1", "--output_root", str(root / "runs"), *flags]


@pytest.mark.parametrize("launch", ["python", " ".join([sys.executable, *PAIR, "--standalone"])])
def test_two_loops_with_one_output_root_leave_what_one_leaves(places, tmp_path, launch):
    root = tmp_path / "shared"
    command = make_loop_command(root)
    loops = {name: places.start(command, root, name, launch=launch) for name in ("first", "second")}
    finish(places, **loops)
    if launch == "python":  # two processes take no notes
        steps = [step for name in loops for step in places.list_calls(name, "training_step")]
        assert len(steps) == len(set(steps)) > 0
    log = (root / "runs" / "logs" / "top-seed1.log").read_text()
    assert WAITING in log
    assert FOUND in log
    alone = tmp_path / "alone"
    finish(places, alone=places.start(make_loop_command(alone), alone, "alone", launch=launch))
    assert compare_loops(root) == compare_loops(alone)


def test_two_jobs_of_two_processes_each_get_in_nobodys_way(places, tmp_path):
    """Without --standalone torchrun would have both wait at one port."""
    launch = " ".join([sys.executable, *PAIR])
    for name, options in (("at once", ["--jobs", "2"]), ("in turn", [])):
        command = [*make_loop_command(tmp_path / name), *options]
        finish(places, **{name: places.start(command, tmp_path / name, name, launch=launch)})
    assert compare_loops(tmp_path / "at once") == compare_loops(tmp_path / "in turn")


def compare_loops(root: Path) -> tuple[list[str], list[dict]]:
    """The files below a loop's root, and the scores in its comparison."""
    contents = read_contents(root / "runs")
    (unit,) = contents["comparison/comparison.json"]["units"]
    return list(contents), [{name: run[name] for name in ("arm", "seed", "loss", "metric")} for run in unit["runs"]]


def test_two_runs_of_two_processes_each_with_one_cache_end_as_one_alone(places, tmp_path):
    """Both at once with an empty cache and the same output folders: each strategy's run is met by the other's."""
    root = tmp_path / "shared"
    flags = make_project(root, has_head=False)
    commands = {
        name: [sys.executable, *PAIR, "--standalone", RUN, *replace(flags, layer_strategy=strategy, output_dir=folder)]
        for name, strategy, folder in (
            ("top", "top", root / "top"),
            ("odd", "odd", root / "odd"),
            ("top again", "top", root / "top"),
        )
    }
    finish(places, **{name: places.start(command, root, name) for name, command in commands.items()})
    outputs = {name: places.read_output(name) for name in commands}
    assert sum(FOUND in output for output in outputs.values()) == 1
    # How many wait depends on how fast each starts up; that one did shows that they were at work at the same time.
    assert any(WAITING in output for output in outputs.values())
    assert sum("it is fine-tuned once" in output for output in outputs.values()) == 1
    alone = tmp_path / "alone"
    flags = make_project(alone, has_head=False)
    command = [sys.executable, *PAIR, "--standalone", RUN, *replace(flags, layer_strategy="top")]
    finish(places, alone=places.start(command, alone, "alone"))
    assert read_run_record(root / "top").metrics == read_run_record(alone / "run").metrics


WAITER = """
import sys
from datetime import timedelta
from accelerate import PartialState
from filelock import FileLock
sys.path.insert(0, {root!r})
from layer_distillation.records.process_locks import acquire_together
state = PartialState(cpu=True, timeout=timedelta(seconds=10))
state.wait_for_everyone()
if state.is_main_process:
    print("ready", flush=True)
acquire_together(FileLock({lock!r}), try_seconds=1)
print("taken", flush=True)
state.wait_for_everyone()
state.destroy_process_group()
"""


def test_a_lock_is_waited_for_longer_than_a_collective_operation_may_take(tmp_path):
    script, lock = tmp_path / "waiter.py", FileLock(tmp_path / "lock")
    script.write_text(WAITER.format(root=str(Path(RUN).parent), lock=lock.lock_file))
    lock.acquire()
    command = [sys.executable, *PAIR, "--standalone", str(script)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(15)  # the processes' limit is 10 seconds
    assert process.poll() is None
    lock.release()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output.count("taken") == 2
    assert len(re.findall("another run is at work", errors)) == 1
