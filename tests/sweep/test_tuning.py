"""The grid that every arm is tried over, the plan in two parts, and the choice, which the trials' records make."""

import json
from pathlib import Path

import pytest

from layer_distillation.students.arguments import StudentArguments
from layer_distillation.sweep.plan import WAITING, PlannedRun, SweepSettings
from layer_distillation.sweep.tuning import (
    choose_values,
    describe_budget,
    describe_choice,
    mark_waiting,
    parse_grid,
    plan_further_seeds,
    plan_trials,
)
from sweep_tools import LAUNCH, make_settings, write_finished_run

RATES = {"learning_rate": ["1e-4", "2e-4"]}


def make_tuned(**values: object) -> SweepSettings:
    return make_settings(**{"seeds": ["42", "43"], "tune": RATES} | values)


def list_names(runs: list[PlannedRun]) -> list[str]:
    return [str(run.folder) for run in runs]


# ---- the grid ------------------------------------------------------------------------------------------------------


def test_a_grid_is_names_and_values_in_their_order():
    grid = parse_grid(["learning_rate=2e-4, 1e-4", "--layer-matching=top,block"], ["--weight_decay", "1"])
    assert grid == {"learning_rate": ["2e-4", "1e-4"], "layer_matching": ["top", "block"]}
    assert parse_grid([], []) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["learning_rate"], 'is "learning_rate": give a flag and values, such as learning_rate=1e-4'),
        ([""], "give a flag and values"),
        (["=1,2"], "give a flag and values"),
        (["learning_rate="], "has no value, or an empty one"),
        (["learning_rate=1e-4,"], "has no value, or an empty one"),
        (["learning_rate=1e-4"], "has one value, and nothing to choose from: give more, or --learning_rate 1e-4"),
        (["learning_rate=1e-4,2e-4,0.0001"], r"has 1e-4 twice \(as 0.0001\)"),
        (["learning_rate=1,2", "learning-rate=3,4"], "is there twice: give all its values at once"),
        (["layer_strategy=top,odd"], "it makes arms and seeds, which --strategies and --seeds name"),
        (["seed=1,2"], "it makes arms and seeds"),
        (["student_num_layers=2,3"], "it makes arms and seeds"),
        (["max_train_samples=10,20"], "arms are compared on the same rows and with one teacher"),
        (["teacher_learning_rate=1,2"], "with one teacher"),
        (["zero_shot_labels=a,b"], "with one teacher"),
        (["soft_label_columns=a,b"], "with one teacher"),
        (["evaluation_files=a=b.csv,c=d.csv"], "on the same rows"),
        (["student_width_init=importance,truncation"], "it makes arms"),
        (["metric_for_best_model=loss,accuracy"], "it is what values are chosen by"),
        (["output_dir=a,b"], "it changes no student"),
        (["weight_decay=0,1"], "among the flags of the runs and tuned as well"),
    ],
)
def test_a_grid_that_cannot_be_meant_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        parse_grid(texts, ["recipe.yaml", "--weight-decay=0.1"])


@pytest.mark.parametrize("names", ["", "learning rate", "--learning_rate", "a,"])
def test_a_run_refuses_names_that_are_none(names):
    with pytest.raises(ValueError, match=r"--tuned_flags is .*: give names of flags, such as learning_rate"):
        StudentArguments(tuned_flags=names)


# ---- the plan ------------------------------------------------------------------------------------------------------


def test_every_arm_tries_the_same_values_with_the_first_seed_and_controls_do_too():
    settings = make_tuned(strategies=["top"], scratch=True, without_teacher=True, random=2)
    trials = plan_trials(settings, LAUNCH)
    arms = ("top", "top-without-teacher", "scratch", "scratch-without-teacher", "random")
    assert list_names(trials) == [
        f"runs/tuning/{arm}-learning_rate-{value}-seed42" for arm in arms for value in ("1e-4", "2e-4")
    ]
    assert trials[1].flags == [
        *("--learning_rate=2e-4", "--tuned_flags=learning_rate"),
        *("--layer_strategy", "top", "--seed", "42", "--output_dir", "runs/tuning/top-learning_rate-2e-4-seed42"),
    ]
    assert (
        describe_budget(trials) == f"tuning over learning_rate=1e-4,2e-4: 2 with seed 42 for each of {', '.join(arms)}"
    )


def test_further_seeds_have_the_chosen_value_alone_and_draws_are_seeds():
    settings = make_tuned(strategies=["top", "odd"], random=2)
    chosen = {"top": {"learning_rate": "2e-4"}, "odd": {"learning_rate": "1e-4"}, "random": {"learning_rate": "2e-4"}}
    runs = plan_further_seeds(settings, LAUNCH, chosen)
    assert list_names(runs) == [
        "runs/top-learning_rate-2e-4-seed43",
        "runs/odd-learning_rate-1e-4-seed43",
        "runs/random-learning_rate-2e-4-seed43",
    ]
    assert "--learning_rate=2e-4" in runs[0].flags


def test_several_flags_are_tried_in_all_combinations():
    grid = {"learning_rate": ["1e-4", "2e-4"], "weight_decay": ["0", "0.1"]}
    trials = plan_trials(make_tuned(strategies=["top"], tune=grid), LAUNCH)
    assert [run.tuning.values for run in trials] == [
        {"learning_rate": rate, "weight_decay": decay} for rate in ("1e-4", "2e-4") for decay in ("0", "0.1")
    ]
    assert "--tuned_flags=learning_rate,weight_decay" in trials[0].flags


def test_without_a_teacher_what_only_its_terms_have_is_not_tried():
    """Its trials would be one training several times over."""
    settings = make_tuned(strategies=["top"], without_teacher=True, tune={"temperature": ["1", "2"]} | RATES)
    names = list_names(plan_trials(settings, LAUNCH))
    assert len(names) == 4 + 2
    assert names[4] == "runs/tuning/top-without-teacher-learning_rate-1e-4-seed42"
    alone = make_tuned(strategies=["top"], without_teacher=True, tune={"temperature": ["1", "2"]})
    [trial] = [run for run in plan_trials(alone, LAUNCH) if "without" in run.arm]
    assert not any("tuned" in flag for flag in trial.flags)


def test_what_waits_is_described_as_unknown():
    settings = make_tuned(strategies=["top"])
    trials, further = plan_trials(settings, LAUNCH), plan_further_seeds(settings, LAUNCH, {})
    *_, waiting = mark_waiting([*trials, *further])
    assert waiting.state == WAITING
    tuning = {"grid": RATES, "trials": 2, "seed": 42}
    assert waiting.describe() == {
        **{"command": None, "folder": None, "log": None, "state": "waiting", "arm": "top", "strategy": "top"},
        **{"seed": 43, "tuning": tuning | {"is_trial": False, "values": None}},
    }
    described = trials[1].describe()
    assert described["state"] == "open"
    assert described["tuning"] == tuning | {"is_trial": True, "values": {"learning_rate": "2e-4"}}
    assert json.dumps(described)


# ---- the choice ----------------------------------------------------------------------------------------------------


def finish(tmp_path: Path, losses: list[float]) -> list[PlannedRun]:
    trials = plan_trials(make_tuned(strategies=["top"], output_root=tmp_path), LAUNCH)
    for trial, loss in zip(trials, losses, strict=False):
        write_finished_run(trial.folder, loss)
    return trials


@pytest.mark.parametrize(("losses", "best"), [([0.4, 0.3], "2e-4"), ([0.3, 0.4], "1e-4")])
def test_the_lowest_validation_loss_is_chosen(tmp_path, losses, best):
    trials = finish(tmp_path, losses)
    assert choose_values(trials) == {"top": {"learning_rate": best}}
    line = f"top: learning_rate={best}, of 2 by validation loss with seed 42"
    assert describe_choice(trials) == f"{line} (learning_rate=1e-4 {losses[0]:.4f}, learning_rate=2e-4 {losses[1]:.4f})"


def test_another_metric_chooses_where_it_chose_the_epochs(tmp_path):
    trials = finish(tmp_path, [0.3, 0.4])
    for trial, accuracy in zip(trials, (0.8, 0.9), strict=True):
        path = trial.folder / "run_record.json"
        record = json.loads(path.read_text())
        record["arguments"] |= {"metric_for_best_model": "accuracy", "greater_is_better": True}
        record["metrics"]["validation"]["accuracy"] = accuracy
        path.write_text(json.dumps(record))
    assert choose_values(trials) == {"top": {"learning_rate": "2e-4"}}


def test_scores_below_0_are_said_as_they_are(tmp_path):
    trials = finish(tmp_path, [0.3, 0.4])
    for trial, correlation in zip(trials, (-0.1, 0.05), strict=True):
        path = trial.folder / "run_record.json"
        record = json.loads(path.read_text())
        record["arguments"] |= {"metric_for_best_model": "pearson", "greater_is_better": True}
        record["metrics"]["validation"]["pearson"] = correlation
        path.write_text(json.dumps(record))
    assert describe_choice(trials).endswith("(learning_rate=1e-4 -0.1000, learning_rate=2e-4 0.0500)")


def test_nothing_is_chosen_before_all_trials_are_finished(tmp_path):
    assert choose_values(finish(tmp_path, [0.3])) == {}
