"""The whole command: its plan, its weight, and a folder whose files are named as libraries are."""

import json
import os
import subprocess
import sys

import pytest

from layer_distillation.sweep.command import choose_executor
from layer_distillation.sweep.plan import ClusterSettings
from sweep_tools import make_settings, write_finished_run
from test_run_all_strategies import SCRIPT, Loop
from tiny_project import make_project

HEAVY = {"torch", "transformers", "accelerate", "datasets"}


@pytest.fixture
def loop(tmp_path) -> Loop:
    return Loop(tmp_path)


def test_the_plan_is_json_lines_and_starts_and_writes_nothing(loop):
    write_finished_run(loop.folder / "my runs" / "odd-seed1")
    before = sorted(loop.folder.rglob("*"))
    flags = ["--strategies", "top odd", "--seeds", "1", "--output_root", "my runs"]
    done = loop.run("--plan", *flags, "x.yaml", LAUNCH="env python")
    assert done.returncode == 0, done.stderr
    planned = [json.loads(line) for line in done.stdout.splitlines()]
    assert [run["state"] for run in planned] == ["open", "finished"]
    assert planned[0]["command"][:4] == ["env", "python", str(SCRIPT.with_name("run_distillation.py")), "x.yaml"]
    assert planned[0]["folder"] == "my runs/top-seed1"
    assert loop.list_started() == []
    assert sorted(loop.folder.rglob("*")) == before
    assert loop.run(*flags, "x.yaml", LAUNCH="env python").returncode == 0
    assert loop.list_calls("run_distillation.py") == [planned[0]["command"][3:]]


@pytest.mark.parametrize(
    ("flags", "message"), [(["--bad"], "unknown argument --bad"), (["--seed=3"], "--seed=3 differs between the runs")]
)
def test_a_plan_is_checked_as_a_sweep_is(loop, flags, message):
    done = loop.run("--plan", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_is_one_line(monkeypatch, capsys, engine, module):
    monkeypatch.setitem(sys.modules, module, None)
    for name in ("ray_cluster", "slurm"):
        monkeypatch.delitem(sys.modules, f"layer_distillation.sweep.{name}", raising=False)
    settings = make_settings(cluster=ClusterSettings(engine, 0, 1, 0, "auto", {}))
    with pytest.raises(SystemExit) as stopped:
        choose_executor(settings, [], {})
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--executor {engine} needs {module}: pip install 'layer-distillation[{engine}]'" in line


WEIGH = """
import sys
from pathlib import Path
from layer_distillation.sweep import command
from layer_distillation.sweep.states import summarize_run
summarize_run(Path(sys.argv[1]))
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_the_sweeps_own_process_loads_nothing_heavy(tmp_path):
    write_finished_run(tmp_path / "run")
    command = [sys.executable, "-c", WEIGH, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=SCRIPT.parent, capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.slow
def test_the_real_check_works_in_a_folder_whose_files_are_named_as_libraries_are(tmp_path):
    flags = [flag for flag in make_project(tmp_path / "project") if not flag.startswith("--output_dir")]
    for name in ("json", "evaluate", "datasets", "safetensors", "subprocess", "plan"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('the wrong one')\n")
    environment = os.environ | {"VIRTUAL_ENV": sys.prefix, "LAUNCH": "python"}
    command = [str(SCRIPT), "--plan", "--strategies", "top odd", "--seeds", "1"]
    for extra, status in (([], 0), (["--temperatur", "2"], 2)):
        done = subprocess.run(
            [*command, "--", *flags, *extra], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        if status == 0:
            assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["open", "open"]
        else:
            assert (
                "run_distillation.py: error: unknown argument --temperatur (did you mean --temperature?)"
                in (done.stderr.splitlines()[-1])
            )
    assert not (tmp_path / "runs").exists()
