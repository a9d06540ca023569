"""A race whose arms have values of their own: all trials first, then looks whose first seed is the chosen trial."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from layer_distillation.records.run_record import FINISHED
from layer_distillation.sweep import command
from layer_distillation.sweep.executors import Outcome
from layer_distillation.sweep.plan import PlannedRun, SweepSettings
from layer_distillation.sweep.race import describe_plan
from layer_distillation.sweep.tuning import mark_waiting
from simulated_runs import write_run
from sweep_tools import FINISHED_RUN, LAUNCH, make_settings

ROWS = {"train": 90, "validation": 300, "test": 600}
ACCURACIES = {"top": 0.9, "odd": 0.88, "bottom": 0.3}
BEST = {"top": "1e-4", "odd": "2e-4", "bottom": "2e-4", "random": "1e-4"}
RANDOM = 0.4
LOST = 0.15  # with the other rate: `odd` would be far behind


class Machine:
    """Makes runs up as they are asked for, but for those that are to fail; `known` is what a check finds there."""

    def __init__(self, failing: str = "") -> None:
        self.failing, self.made, self.compared = failing, [], []

    def execute(self, runs: Sequence[PlannedRun], groups: object, listener: object) -> Iterator[Outcome]:
        for run in runs:
            listener.begin(run)
            is_there = run.folder.exists()
            if not is_there:
                self.made.append(run.name)
                run.log.touch()
                if run.name != self.failing:
                    self.write(run)
            yield Outcome(run, int(run.name == self.failing), None if is_there else 1.0)

    def write(self, run: PlannedRun) -> None:
        (rate,) = run.tuning.values.values()
        accuracy = ACCURACIES.get(run.strategy, RANDOM) - LOST * (rate != BEST[run.strategy])
        own = {"learning_rate": float(rate), "tuned_flags": "learning_rate"}
        write_run(run.folder, run.strategy, int(run.seed), accuracy, rows=ROWS, arguments=own)
        for name in FINISHED_RUN.keys() - {"run_record.json"}:
            (run.folder / name).write_bytes(FINISHED_RUN[name])

    def find_states(self, runs: Sequence[PlannedRun], groups: object = None) -> list[PlannedRun]:
        return [replace(run, state=FINISHED) if run.folder.exists() else run for run in runs]

    def compare(self, runs: Sequence[PlannedRun], settings: SweepSettings, groups: object) -> int:
        self.compared = [run.name for run in runs]
        return 0


@pytest.fixture
def settings(tmp_path) -> SweepSettings:
    grid = {"learning_rate": ["1e-4", "2e-4"]}
    seeds = ["1", "2", "3", "4"]
    return make_settings(strategies=[*ACCURACIES], seeds=seeds, output_root=tmp_path, race=True, tune=grid)


@pytest.fixture
def sweep(settings, monkeypatch):
    monkeypatch.setattr("layer_distillation.sweep.race.NUM_RESAMPLES", 200)

    def run(machine: Machine) -> int:
        monkeypatch.setattr(command, "add_states", machine.find_states)
        monkeypatch.setattr(command, "compare", machine.compare)
        return command.sweep(plan(settings, machine), settings, LAUNCH, None, machine.execute)

    return run


def plan(settings: SweepSettings, machine: Machine) -> list[PlannedRun]:
    return mark_waiting(machine.find_states(command.plan_all(settings, LAUNCH)))


def name_trials(*arms: str) -> list[str]:
    return [f"{arm}-learning_rate-{rate}-seed1" for arm in arms for rate in ("1e-4", "2e-4")]


def test_all_arms_are_tuned_and_race_with_their_own_rates(sweep, capsys):
    machine = Machine()
    assert sweep(machine) == 0
    assert machine.made[:6] == name_trials(*ACCURACIES)
    raced = machine.made[6:]
    assert {"top-learning_rate-1e-4-seed2", "odd-learning_rate-2e-4-seed2"} <= set(raced)
    assert not any(name.startswith(("bottom-learning_rate-2e-4-seed3", "top-learning_rate-2e-4")) for name in raced)
    assert sorted(machine.compared) == sorted(machine.made)  # the comparison shows what each arm was tried with
    lines = capsys.readouterr().out.splitlines()
    looks = [line for line in lines if line.startswith("look ")]
    assert looks[0].startswith("look 1: top leads; ")
    assert looks[-1].endswith("over")
    assert lines.index(looks[0]) > max(index for index, line in enumerate(lines) if "of 2 by validation loss" in line)


def test_started_again_it_makes_nothing_anew(sweep):
    whole, again = Machine(), Machine()
    assert sweep(whole) == 0
    assert sweep(again) == 0
    assert again.made == []
    assert again.compared == whole.compared


def test_an_arm_with_a_trial_that_failed_is_not_raced(sweep, capsys):
    machine = Machine(failing="odd-learning_rate-1e-4-seed1")
    assert sweep(machine) == 1
    assert not any(name.startswith("odd") for name in machine.made[6:])
    assert "top-learning_rate-1e-4-seed2" in machine.made
    assert capsys.readouterr().err.splitlines()[-1] == "  odd: its other seeds wait for its trials"


def test_the_plan_wants_the_trials_and_then_what_the_next_look_needs(settings, sweep):
    machine = Machine()
    before = describe_plan(plan(settings, machine), print)
    assert [Path(line["folder"]).name for line in before if line["wanted"]] == name_trials(*ACCURACIES)
    assert {line["state"] for line in before if not line["wanted"]} == {"waiting"}
    assert not any("look" in line for line in before)
    for run in plan(settings, machine):
        if run.is_trial:
            machine.write(run)
    described = describe_plan(plan(settings, machine), print)
    assert json.dumps(described)
    looks = [line for line in described if "look" in line]
    assert looks[0]["leader"] == "top"
    assert looks[0]["seeds"] == dict.fromkeys(ACCURACIES, 1)
    further = [Path(line["folder"]).name for line in described if line.get("seed") == 2 and line["wanted"]]
    assert {"top-learning_rate-1e-4-seed2", "odd-learning_rate-2e-4-seed2"} <= set(further)
    assert sweep(machine) == 0
    assert describe_plan(plan(settings, machine), print)[-1]["wanted"] == []


def test_the_race_of_the_plan_waits_for_a_lone_draw_too(settings):
    """No further seed of it waits for its trials."""
    machine = Machine()
    settings = replace(settings, random=1)
    for run in plan(settings, machine):
        if run.is_trial and run.strategy != "random":
            machine.write(run)
    described = describe_plan(plan(settings, machine), print)
    assert not any("look" in line for line in described)
    assert [line["arm"] for line in described if line["wanted"] and line["state"] == "open"] == ["random", "random"]
