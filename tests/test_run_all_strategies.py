"""The loop over strategies and seeds: what it starts, skips, goes on with after a kill, and says."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweep_tools import FINISHED_RUN, SCORED

SCRIPT = Path(__file__).resolve().parent.parent / "run_all_strategies.sh"

# Stands for python: the sweep itself is run as it is, by an interpreter that says it is this file, so that what the
# sweep starts comes here too. That is noted; a run leaves what a finished one does, and nothing is imported for it.
STUB = f"""#!{sys.executable} -S
import json, os, runpy, site, struct, sys, time
from pathlib import Path

place = Path(__file__).parent
words = [word for word in sys.argv[1:] if word not in ("-P", "-m")]
if words[0] == "layer_distillation.sweep.command":
    site.main()
    sys.executable, sys.argv = __file__, words
    sys.path.pop(0)  # -P
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    sys.exit()
command, arguments = Path(words[0]).name, words[1:]
if command == "layer_distillation.sweep.check":
    runs = [json.loads(line) for line in sys.stdin]
    arguments = [word for run in runs for word in run]
with (place / "calls.jsonl").open("a") as file:
    file.write(json.dumps([command, arguments]) + "\\n")
if "--bad" in arguments:
    sys.exit("run_distillation.py: error: unknown argument --bad") if command == "run_distillation.py" else None
    print("run_distillation.py: error: unknown argument --bad", file=sys.stderr)
    sys.exit(2)
folders = [Path(arguments[i + 1]) for i, word in enumerate(arguments) if word == "--output_dir"]
if command == "layer_distillation.sweep.check":
    needs = json.loads(os.environ.get("NEEDS", '{{"memory_bytes": 1}}'))
    for folder in folders:
        state = "finished" if (folder / "run_record.json").exists() else "open"
        print(json.dumps({{"state": state, "needs": needs}}))
if command == "run_distillation.py":
    print("training", folders[0].name)
    if folders[0].name == os.environ.get("SLEEPS"):
        (place / "falling").write_text(str(os.getpid()))
        (place / "falling").rename(place / "asleep")  # whoever sees it can read it whole
        time.sleep(60)
    if folders[0].name == os.environ.get("LATE"):
        time.sleep(1)
    if folders[0].name == os.environ.get("FAILS"):
        sys.exit("run_distillation.py: error: the loss is nan")
    folders[0].mkdir(parents=True, exist_ok=True)
    loss = json.loads(os.environ.get("LOSSES", "{{}}")).get(folders[0].name, "0.25")
    for name, content in {FINISHED_RUN!r}.items():
        (folders[0] / name).write_bytes(content.replace(b"0.25", loss.encode()))
if command == "compare_strategies.py" and os.environ.get("FAILS") == "comparison":
    sys.exit(4)
"""


class Loop:
    """The script in a folder of its own whose name has a space, with the stub as its virtual environment's python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a project"
        self.stub = folder / "stub venv" / "bin" / "python"
        self.stub.parent.mkdir(parents=True)
        self.folder.mkdir()
        self.stub.write_text(STUB)
        self.stub.chmod(self.stub.stat().st_mode | stat.S_IXUSR)
        self.environment = os.environ | {"VIRTUAL_ENV": str(self.stub.parent.parent), "LAUNCH": "python"}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def list_calls(self, command: str) -> list[list[str]]:
        """The arguments of each call of a command since the last time that calls were listed."""
        calls = self.stub.parent / "calls.jsonl"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [arguments for name, arguments in map(json.loads, lines) if name == command]

    def list_started(self) -> list[str]:
        """The folders of the runs that were launched, in order."""
        return [call[call.index("--output_dir") + 1] for call in self.list_calls("run_distillation.py")]


@pytest.fixture
def loop(tmp_path) -> Loop:
    return Loop(tmp_path)


def test_every_strategy_is_run_with_every_seed_and_then_compared(loop):
    done = loop.run("--strategies", "top odd", "--seeds=1 2", "--output_root", "my runs", "--temperature", "4")
    assert done.returncode == 0, done.stderr
    folders = ["my runs/top-seed1", "my runs/odd-seed1", "my runs/top-seed2", "my runs/odd-seed2"]
    assert loop.list_started() == folders
    assert loop.list_calls("run_distillation.py")[1] == (
        ["--temperature", "4", "--layer_strategy", "odd", "--seed", "1", "--output_dir", "my runs/odd-seed1"]
    )
    assert loop.list_calls("compare_strategies.py") == [[*folders, "--output_dir", "my runs/comparison"]]
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("[4/4] odd-seed2: ")
    assert lines[3].endswith(f" s, {SCORED}")
    assert (loop.folder / "my runs" / "logs" / "odd-seed2.log").read_text() == "training odd-seed2\n"


def test_without_flags_it_is_four_strategies_and_three_seeds(loop):
    assert loop.run().returncode == 0
    started = set(loop.list_started())
    assert started == {f"runs/{name}-seed{seed}" for name in ("top", "bottom", "odd", "even") for seed in (42, 43, 44)}


def test_the_controls_are_one_flag_each(loop):
    controls = ["--scratch", "--random", "3", "--without_teacher"]
    assert loop.run("--strategies", "top", "--seeds", "5 9", *controls).returncode == 0
    names = [f"{name}-seed{seed}" for seed in (5, 9) for name in TOP_AND_CONTROLS] + [
        "random-seed5",
        "random-seed6",
        "random-seed7",
    ]
    assert loop.list_started() == [f"runs/{name}" for name in names]
    alone = loop.list_calls("run_distillation.py")[1]
    weights = dict(zip(alone[-10::2], alone[-9::2], strict=True))
    assert weights == {
        "--ce_weight": "1",
        "--kl_weight": "0",
        "--hidden_weight": "0",
        "--attention_weight": "0",
        "--logit_cosine_weight": "0",
    }
    assert alone[alone.index("--unlabeled_file") + 1] == ""  # which takes back the one of a recipe
    assert "--layer_strategy scratch --seed 5" in " ".join(loop.list_calls("run_distillation.py")[2])


TOP_AND_CONTROLS = ("top", "top-without-teacher", "scratch", "scratch-without-teacher")


def test_a_run_that_is_named_twice_is_made_once(loop):
    assert loop.run("--strategies", "top top random", "--seeds", "1 1", "--random", "2").returncode == 0
    assert loop.list_started() == ["runs/top-seed1", "runs/random-seed1", "runs/random-seed2"]


def test_recipe_and_flags_with_spaces_arrive_as_they_were(loop):
    flags = ["my recipe.yaml", "--train_file", "my data/a  b.csv", "--text_columns=a*,b", "--note", ""]
    assert loop.run("--strategies", "top", "--seeds", "1", "--", *flags).returncode == 0
    assert loop.list_calls("run_distillation.py")[0][:6] == flags
    assert loop.list_calls("layer_distillation.sweep.check") == loop.list_calls("run_distillation.py")


def test_what_is_finished_is_not_launched_again_but_compared(loop):
    flags = ["--strategies", "top odd", "--seeds", "1"]
    assert loop.run(*flags).returncode == 0
    (loop.stub.parent / "calls.jsonl").unlink()
    (loop.folder / "runs" / "odd-seed1" / "run_record.json").unlink()
    done = loop.run(*flags)
    assert loop.list_started() == ["runs/odd-seed1"]
    assert f"[1/2] top-seed1: finished before, {SCORED}" in done.stdout
    assert loop.list_calls("compare_strategies.py")[0][:2] == ["runs/top-seed1", "runs/odd-seed1"]


def test_a_failing_run_stops_no_other_and_is_listed_at_the_end(loop):
    done = loop.run("--strategies", "top odd even", "--seeds", "1", FAILS="odd-seed1")
    assert done.returncode == 1
    assert loop.list_started() == ["runs/top-seed1", "runs/odd-seed1", "runs/even-seed1"]
    assert "failed with exit status 1 run_distillation.py: error: the loss is nan" in done.stdout
    where = "  odd-seed1: exit status 1, log runs/logs/odd-seed1.log"
    assert done.stderr.splitlines()[-1] == f"{where}: run_distillation.py: error: the loss is nan"
    assert loop.list_calls("compare_strategies.py")[0][:2] == ["runs/top-seed1", "runs/even-seed1"]


def test_several_at_once_leave_what_one_after_the_other_leaves(loop):
    flags = ["--strategies", "top odd even", "--seeds", "1"]
    done = loop.run(*flags, "--jobs", "2", LATE="top-seed1", OMP_NUM_THREADS="4")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"[{number}/3] {name}-seed1: begins, 2 threads" for number, name in ((1, "top"), (2, "odd"))]
    assert lines[2].startswith("[2/3] odd-seed1: ")
    assert sum(line.endswith(SCORED) for line in lines) == 3
    folders = [f"runs/{name}-seed1" for name in ("top", "odd", "even")]
    assert loop.list_calls("compare_strategies.py") == [[*folders, "--output_dir", "runs/comparison"]]
    again = loop.run(*flags, "--jobs", "2")
    assert again.stdout.splitlines() == [
        f"[{number}/3] {name}-seed1: finished before, {SCORED}" for number, name in enumerate(("top", "odd", "even"), 1)
    ]


def test_more_at_once_than_the_memory_holds_are_refused_before_anything_runs(loop):
    done = loop.run("--jobs", "3", NEEDS='{"memory_bytes": 1000000000000000}')
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "error: --jobs 3 takes about 3000000.0 GB, 3 x 1000000.0 GB (estimated from the teacher's weights)" in line
    assert loop.list_started() == []
    assert not (loop.folder / "runs").exists()


def test_fewer_than_two_kinds_of_finished_runs_are_not_compared(loop):
    done = loop.run("--strategies", "top odd", "--seeds", "1", FAILS="odd-seed1")
    assert done.returncode == 1
    assert loop.run("--strategies", "top", "--seeds", "1 2").returncode == 0
    assert loop.list_calls("compare_strategies.py") == []
    assert "nothing to compare" in done.stdout


def test_a_failing_comparison_is_a_failure(loop):
    done = loop.run("--strategies", "top odd", "--seeds", "1", FAILS="comparison")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "  comparison: exit status 4"


def test_a_launcher_that_says_done_but_leaves_no_run_has_failed(loop):
    done = loop.run("--strategies", "top", "--seeds", "1", LAUNCH="true --really")
    assert done.returncode == 1
    assert "top-seed1: exit status 0" in done.stderr


# As accelerate's launcher of one process: it starts the run as a child, and dies of a signal without a word to it.
LAUNCHER = """#!/bin/sh
"$@"
exit $?
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("launch", ["python", "launcher python"])
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.slow
def test_a_signal_ends_the_loop_and_all_that_it_started_at_once(loop, number, status, launch, jobs):
    launcher = loop.stub.with_name("launcher")
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    command = [SCRIPT, "--strategies", "top odd", "--seeds", "1", "--jobs", jobs]
    environment = loop.environment | {"SLEEPS": "top-seed1", "LAUNCH": launch}
    process = subprocess.Popen(
        command, cwd=loop.folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    asleep = loop.stub.parent / "asleep"
    wait_for(asleep, process)
    start = time.monotonic()
    process.send_signal(number)  # to the script alone, as `kill`, a container's end or a scheduler does
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert process.returncode == status
    assert errors.split("\n")[-2] == f"stopped by {signal.Signals(number).name}; the same command goes on from here"
    assert not Path(f"/proc/{asleep.read_text()}").exists()
    assert "runs/top-seed1" in loop.list_started()
    assert len(loop.list_started()) <= int(jobs)
    assert not (loop.folder / "runs" / "top-seed1").exists()


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 120) -> None:
    """Until a file is there; fails where the process ends or takes too long."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "ended early"
        assert time.monotonic() < end, f"no {path} after {seconds} s"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategies"], "--strategies needs a value"),
        (["--strategies", ""], "give names"),
        (["--strategies", "top,odd"], "give names"),
        (["--seeds", "one"], "give whole numbers"),
        (["--seeds", "-1"], "give whole numbers"),
        (["--jobs", "0"], '--jobs is "0": give how many runs may be at work at once, 1 or more'),
        (["--jobs", "two"], '--jobs is "two"'),
        (["--random", "some"], "give the number of draws"),
        (["--output_root="], "name a folder"),
        (["--layer_strategy", "top"], "--layer_strategy differs between the runs"),
        (["--seed=3"], "use --strategies, --seeds"),
        (["--output-dir", "x"], "--output_root"),
        (["--student_layers=0,1"], "--student_layers=0,1 differs"),
        (["--bad"], "unknown argument --bad"),
    ],
)
def test_bad_flags_end_in_one_line_and_status_2_before_anything_runs(loop, arguments, message):
    done = loop.run(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert loop.list_started() == []
    assert not (loop.folder / "runs").exists()


def test_a_launcher_that_is_not_there_is_one_line(loop):
    done = loop.run(LAUNCH="no-such-launcher run")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "run_all_strategies.sh: error: there is no no-such-launcher: install requirements.txt, or set LAUNCH=python"
    ]


def test_help_names_every_flag(loop):
    done = loop.run("--help")
    assert done.returncode == 0
    for flag in (
        "--strategies",
        "--seeds",
        "--random",
        "--tune",
        "--scratch",
        "--without_teacher",
        "--output_root",
        "--jobs",
        "LAUNCH",
    ):
        assert flag in done.stdout
