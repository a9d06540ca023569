"""Where a run's seconds go: every stage exists, one inside another counts alone, and the whole adds up."""

import functools
import importlib
import json
import subprocess
import sys

import pytest

from benchmarks.run_seconds import STAGES, StageClock, format_table
from benchmarks.sweep_settings import ROOT
from tiny_project import make_project


@pytest.mark.parametrize("place", STAGES)
def test_what_is_timed_exists(place):
    module, _, path = place.partition(":")
    assert callable(functools.reduce(getattr, path.split("."), importlib.import_module(module)))


def test_a_stage_inside_another_counts_alone(monkeypatch):
    moment = [0.0]
    monkeypatch.setattr(StageClock, "read", staticmethod(lambda: (moment[0], moment[0] / 2)))
    clock = StageClock()

    def wait(seconds: float) -> None:
        moment[0] += seconds

    def train() -> None:
        wait(3)
        clock.timed("evaluations", wait)(2)
        wait(1)

    clock.timed("steps", train)()
    wait(10)
    clock.timed("evaluations", wait)(1)
    assert clock.stages == {
        "steps": {"clock": 4.0, "processor": 2.0},
        "evaluations": {"clock": 3.0, "processor": 1.5},
    }


def test_the_table_has_a_row_per_stage_and_a_column_per_round():
    first = {"imports": {"clock": 1.0, "processor": 2.0}, "all": {"clock": 4.0, "processor": 5.0}}
    table = format_table([first, {"all": {"clock": 6.0, "processor": 7.0}}]).splitlines()
    assert table[0] == "| stage | clock 1 | clock 2 | processor 1 | processor 2 |"
    assert table[2:] == ["| imports | 1.00 | 0.00 | 2.00 | 0.00 |", "| all | 4.00 | 6.00 | 5.00 | 7.00 |"]


@pytest.mark.slow
def test_the_stages_of_a_run_add_up_to_it(tmp_path):
    flags = [flag for flag in make_project(tmp_path) if not flag.startswith(("--output_dir", "--cache_dir"))]
    command = [sys.executable, "-m", "benchmarks.run_seconds", "--threads", "1", "--", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [stages] = json.loads(done.stdout.splitlines()[-1])["rounds"]
    assert {"imports", "tokenizing", "training steps", "checkpoints", "timing for the card", "exit"} <= stages.keys()
    for kind in ("clock", "processor"):
        assert sum(stage[kind] for name, stage in stages.items() if name != "all") == pytest.approx(stages["all"][kind])
        assert all(stage[kind] > -0.05 for stage in stages.values())
