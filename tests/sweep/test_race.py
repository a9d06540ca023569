"""A sweep that is a race: which runs it starts, what it goes on with, what its plan says. Runs are made up."""

from dataclasses import replace
from pathlib import Path

import pytest

from layer_distillation.records.run_record import FINISHED
from layer_distillation.sweep.arguments import list_raced_seeds, parse_command_line
from layer_distillation.sweep.plan import PlannedRun, plan_runs
from layer_distillation.sweep.race import describe_plan, race
from simulated_runs import WITHOUT_TEACHER, write_run
from sweep_tools import LAUNCH, make_settings

ACCURACIES = {"top": 0.9, "odd": 0.88, "bottom": 0.3, "even": 0.35, "scratch": 0.2, "random": 0.5}
ROWS = {"train": 90, "validation": 60, "test": 600}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("layer_distillation.sweep.race.NUM_RESAMPLES", 200)


class Machine:
    """Executes runs: writes what a finished one leaves, but for those that are to fail."""

    def __init__(self, failing: tuple[str, ...] = ()) -> None:
        self.failing, self.executed = failing, []

    def execute(self, runs: list[PlannedRun]) -> list[PlannedRun]:
        finished = []
        for run in runs:
            if not run.folder.exists():
                self.executed.append(run.name)
            if run.name not in self.failing:
                self.write(run)
                finished.append(run)
        return finished

    def write(self, run: PlannedRun) -> None:
        is_alone = run.arm.endswith("-without-teacher")
        accuracy = ACCURACIES[run.strategy] - 0.1 * is_alone
        arguments = WITHOUT_TEACHER if is_alone else {}
        if not run.folder.exists():
            write_run(run.folder, run.strategy, int(run.seed), accuracy, rows=ROWS, arguments=arguments)


def plan(folder: Path, **values) -> list[PlannedRun]:
    defaults = {"strategies": ["top", "odd", "bottom", "even"], "seeds": ["1", "2", "3", "4", "5"], "scratch": True}
    return plan_runs(make_settings(**defaults | {"output_root": folder, "race": True} | values), LAUNCH)


def test_only_arms_that_may_still_be_the_best_get_further_seeds(tmp_path):
    machine, told = Machine(), []
    race(plan(tmp_path), machine.execute, told.append)
    assert machine.executed[:5] == ["top-seed1", "odd-seed1", "bottom-seed1", "even-seed1", "scratch-seed1"]
    assert "bottom-seed3" not in machine.executed
    assert "scratch-seed2" not in machine.executed
    assert {"top-seed2", "odd-seed2"} <= set(machine.executed)
    assert told[0].startswith("look 1: top leads; ")
    assert "dropped: bottom even" in told[1] or "dropped: even bottom" in told[1]
    assert told[-1].endswith("over")


def test_started_again_it_goes_on_from_the_records(tmp_path):
    whole, first = Machine(), Machine()
    race(plan(tmp_path / "whole"), whole.execute, lambda line: None)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race(plan(tmp_path / "twice"), first.execute, stop)
    again = Machine()
    race(plan(tmp_path / "twice"), again.execute, lambda line: None)
    assert first.executed + again.executed == whole.executed
    assert len(first.executed) == 5


def test_an_arm_whose_run_fails_leaves_the_race_and_stops_no_other(tmp_path):
    machine = Machine(failing=("odd-seed1",))
    race(plan(tmp_path, without_teacher=True), machine.execute, lambda line: None)
    assert not any(name in machine.executed for name in ("odd-seed2", "odd-without-teacher-seed2"))
    assert "top-seed2" in machine.executed


def test_a_run_that_cannot_be_compared_leaves_it_too_and_says_why(tmp_path):
    machine, told = Machine(), []

    def execute(runs):
        finished = machine.execute(runs)
        (tmp_path / "odd-seed1" / "predictions.npz").unlink(missing_ok=True)
        return finished

    race(plan(tmp_path), execute, told.append)
    assert told[0] == "odd-seed1 cannot be raced: predictions.npz is missing: run it again"
    assert "odd-seed2" not in machine.executed


def test_the_plan_says_who_is_wanted_and_what_each_look_decided(tmp_path):
    planned = plan(tmp_path)
    described = describe_plan(planned, print)
    assert [run["arm"] for run in described if run["wanted"]] == ["top", "odd", "bottom", "even", "scratch"]
    assert all("command" in run for run in described)
    race(planned, Machine().execute, lambda line: None)
    finished = [replace(run, state=FINISHED) if run.folder.exists() else run for run in planned]
    described = describe_plan(finished, print)
    looks = [entry for entry in described if "look" in entry]
    assert [look["look"] for look in looks] == list(range(1, len(looks) + 1))
    assert looks[-1]["arms"]["bottom"]["state"] == "behind"
    runs = described[: len(planned)]
    assert [run["folder"] for run in runs if run["wanted"]] == [
        str(run.folder) for run in planned if run.folder.exists()
    ]


def test_the_plan_leaves_out_who_needs_a_run_that_cannot_be_compared(tmp_path):
    """As the sweep does: what is finished would never be run again."""
    planned, machine, told = plan(tmp_path), Machine(), []
    for run in planned[:5]:
        machine.write(run)
    (tmp_path / "odd-seed1" / "predictions.npz").unlink()
    described = describe_plan([*(replace(run, state=FINISHED) for run in planned[:5]), *planned[5:]], told.append)
    assert told == ["odd-seed1 cannot be raced: predictions.npz is missing: run it again"]
    [look] = [entry for entry in described if "look" in entry]
    assert set(look["seeds"]) == {"top", "bottom", "even", "scratch"}
    assert "odd" not in {run["arm"] for run in described[: len(planned)] if run["wanted"]}
    assert {"top", *look["wanted"]} == {run["arm"] for run in described[5 : len(planned)] if run["wanted"]}


def test_looks_are_told_anew_without_the_arm_that_is_lost(tmp_path):
    machine, told = Machine(failing=("top-seed2",)), []
    race(plan(tmp_path), machine.execute, told.append)
    assert told[0].startswith("look 1: top leads; ")
    assert told[1] == "out of the race: top; the looks without:"
    assert told[2].startswith("look 1: odd leads; ")
    assert not any("top" in line for line in told[2:])


def test_draws_of_layers_have_the_seeds_of_the_race(tmp_path):
    planned = plan(tmp_path, strategies=["top"], seeds=["3", "9", "10"], random=2)
    assert [run.name for run in planned if run.arm == "random"] == ["random-seed3", "random-seed9"]


@pytest.mark.parametrize(
    ("seeds", "most", "expected"),
    [
        (["42", "43", "44"], 5, ["42", "43", "44", "45", "46"]),
        (["42", "43", "44"], 2, ["42", "43"]),
        (["7", "6"], 4, ["7", "6", "8", "9"]),
        (["1", "1"], 2, ["1", "2"]),
    ],
)
def test_the_seeds_of_a_race_go_on_from_the_named_ones(seeds, most, expected):
    assert list_raced_seeds(seeds, most) == expected


def test_the_flags_of_a_race():
    settings, _ = parse_command_line(["--race", "--seeds", "5", "--max_seeds", "3"])
    assert (settings.race, settings.seeds) == (True, ["5", "6", "7"])
    assert parse_command_line(["--race"])[0].seeds == ["42", "43", "44", "45", "46"]
    assert not parse_command_line([])[0].race


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_seeds", "5"], "--max_seeds is for a race: add --race"),
        (["--race", "--max_seeds", "few"], '--max_seeds is "few": give the most seeds'),
        (["--race", "--max_seeds", "1"], "a race needs 2 or more"),
        (["--race", "--max_seeds", "0"], "--max_seeds is 0"),
        (["--race", "--random", "7"], "a race of 5 seeds has at most 5 draws"),
        (["--race", "--strategies", "top"], "name several strategies, or add controls"),
    ],
)
def test_a_race_that_cannot_be_meant_so_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_command_line(words)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
