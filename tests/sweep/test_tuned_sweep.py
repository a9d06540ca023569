"""A sweep with --tune: trials, the choice, further seeds; started again, extended, and with a trial that fails."""

import json

import pytest

from test_run_all_strategies import Loop

FLAGS = ("--strategies", "top odd", "--seeds", "1 2")
TRIALS = [f"runs/tuning/{arm}-learning_rate-{rate}-seed1" for arm in ("top", "odd") for rate in ("1e-4", "2e-4")]
FURTHER = ["runs/top-learning_rate-2e-4-seed2", "runs/odd-learning_rate-1e-4-seed2"]
LOSSES = {"top-learning_rate-1e-4-seed1": "0.4", "top-learning_rate-3e-4-seed1": "0.1"}


@pytest.fixture
def loop(tmp_path) -> Loop:
    return Loop(tmp_path)


def run(loop: Loop, *flags: str, rates: str = "1e-4,2e-4", **environment: str):
    return loop.run(*FLAGS, f"--tune=learning_rate={rates}", *flags, LOSSES=json.dumps(LOSSES), **environment)


def test_each_arm_is_tried_and_its_further_seeds_have_what_it_chose(loop):
    done = run(loop)
    assert done.returncode == 0, done.stderr
    assert loop.list_started() == TRIALS + FURTHER
    assert loop.list_calls("compare_strategies.py") == [[*TRIALS, *FURTHER, "--output_dir", "runs/comparison"]]
    lines = done.stdout.splitlines()
    assert lines[0] == "tuning over learning_rate=1e-4,2e-4: 2 with seed 1 for each of top, odd"
    assert lines[1].startswith("[1/6] top-learning_rate-1e-4-seed1: ")
    scores = "learning_rate=1e-4 0.4000, learning_rate=2e-4 0.2500"
    assert lines[3] == f"top: learning_rate=2e-4, of 2 by validation loss with seed 1 ({scores})"
    assert lines[6].startswith("odd: learning_rate=1e-4, of 2 ")  # of equal ones the least
    assert lines[8].startswith("[6/6] odd-learning_rate-1e-4-seed2: ")
    flags = loop.list_calls("run_distillation.py")[4]
    assert flags[:2] == ["--learning_rate=2e-4", "--tuned_flags=learning_rate"]


def test_trials_may_be_made_several_at_once_and_end_in_any_order(loop):
    """The first of equal trials is chosen, whichever ends first."""
    first = "odd-learning_rate-1e-4-seed1"
    done = run(loop, "--jobs", "4", OMP_NUM_THREADS="1", LATE=first)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.index("[3/6] odd-learning_rate-1e-4-seed1: begins, 1 thread") < 6
    scores = "learning_rate=1e-4 0.2500, learning_rate=2e-4 0.2500"
    assert f"odd: learning_rate=1e-4, of 2 by validation loss with seed 1 ({scores})" in lines
    assert sorted(loop.list_started()[:4]) == sorted(TRIALS)
    assert sorted(loop.list_started()[4:]) == sorted(FURTHER)
    assert loop.list_calls("compare_strategies.py") == [[*TRIALS, *FURTHER, "--output_dir", "runs/comparison"]]


def test_started_again_it_repeats_nothing_and_a_longer_grid_adds_its_trials(loop):
    assert run(loop).returncode == 0
    (loop.stub.parent / "calls.jsonl").unlink()
    assert run(loop).returncode == 0
    assert loop.list_started() == []
    done = run(loop, rates="1e-4,2e-4,3e-4")
    new = [f"runs/tuning/{arm}-learning_rate-3e-4-seed1" for arm in ("top", "odd")]
    assert loop.list_started() == [*new, "runs/top-learning_rate-3e-4-seed2"]
    assert "[7/8] top-learning_rate-3e-4-seed2: " in done.stdout
    assert "[8/8] odd-learning_rate-1e-4-seed2: finished before" in done.stdout


def test_the_plan_says_what_waits_and_knows_it_once_the_trials_are_there(loop):
    def plan() -> list[dict]:
        return [json.loads(line) for line in run(loop, "--plan").stdout.splitlines()]

    before = plan()
    assert [line["state"] for line in before] == ["open"] * 4 + ["waiting"] * 2
    assert [line["folder"] for line in before] == [*TRIALS, None, None]
    assert loop.list_started() == []
    checked = loop.list_calls("layer_distillation.sweep.check")[0]
    assert checked.count("--output_dir") == 6  # what waits too: its flags are no secret
    assert run(loop, FAILS="odd-learning_rate-1e-4-seed2").returncode == 1
    after = plan()
    assert [line["state"] for line in after] == ["finished"] * 5 + ["open"]
    assert after[4]["tuning"]["values"] == {"learning_rate": "2e-4"}
    assert after[5]["folder"] == FURTHER[1]


def test_an_arm_with_a_trial_that_failed_waits_and_the_others_go_on(loop):
    done = run(loop, FAILS="top-learning_rate-1e-4-seed1")
    assert done.returncode == 1
    assert loop.list_started() == [*TRIALS, FURTHER[1]]
    assert done.stderr.splitlines()[-1] == "  top: its other seeds wait for its trials"
    assert len(loop.list_calls("compare_strategies.py")[0]) == 4 + 2


@pytest.mark.parametrize("grid", ["learning_rate", "learning_rate=", "seed=1,2", "learning_rate=1e-4,0.0001"])
def test_a_grid_that_cannot_be_meant_is_one_line_before_anything_runs(loop, grid):
    done = loop.run(*FLAGS, "--tune", grid)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("run_all_strategies.sh: error: --tune ")
    assert loop.list_calls("layer_distillation.sweep.check") == []
