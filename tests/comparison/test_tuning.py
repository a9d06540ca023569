"""Arms with their own value of a flag are comparable; the choice is made again from the records, and said."""

import csv
import io
import json
from pathlib import Path

import pytest

from compare_strategies import main
from layer_distillation.comparison.files import format_csv, format_json, list_arm_rows
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import Unit, group_runs
from layer_distillation.comparison.race_runs import UNTRIED, RacePlan
from layer_distillation.comparison.report import list_unit_blocks
from layer_distillation.comparison.results import UnitResult, analyse_unit
from layer_distillation.comparison.runs import read_runs
from layer_distillation.comparison.verdict import write_verdict
from simulated_runs import WITHOUT_TEACHER, write_run

BEST = {"top": 2e-4, "odd": 4e-4}
OTHERS_BEST = 2e-4
RATES = (1e-4, 2e-4, 4e-4)


def write_trial(folder: Path, strategy: str, rate: float, seed: int = 1, **changes: object) -> Path:
    """The validation loss says which rate is the best one; the accuracy does not."""
    own = {"learning_rate": rate, "tuned_flags": "learning_rate"} | changes.pop("arguments", {})
    write_run(folder, strategy, seed, 0.8, arguments=own, **changes)
    path = folder / "run_record.json"
    record = json.loads(path.read_text())
    record["metrics"]["validation"]["loss"] = 0.3 + abs(rate - BEST.get(strategy, OTHERS_BEST)) * 1e3
    path.write_text(json.dumps(record))
    return folder


def write_tuned(folder: Path) -> Path:
    for strategy, best in BEST.items():
        for rate in RATES:
            write_trial(folder / f"{strategy} {rate}", strategy, rate)
        write_trial(folder / f"{strategy} 2", strategy, best, seed=2)
    return folder


def group_one(folder: Path, varied: tuple[str, ...] = ()) -> Unit:
    runs, left_out = read_runs(find_run_folders([folder]), varied)
    assert left_out == []
    [unit] = group_runs(runs)
    return unit


def analyse(folder: Path) -> UnitResult:
    return analyse_unit(group_one(folder), "auto", None, 200)


def test_an_arm_counts_the_chosen_trial_and_further_seeds_and_no_other_trial(tmp_path):
    unit = group_one(write_tuned(tmp_path))
    found = {arm.name: [Path(run.folder).name for run in arm.runs] for arm in unit.arms}
    assert found == {"top": ["top 0.0002", "top 2"], "odd": ["odd 0.0004", "odd 2"]}
    assert {arm.name: arm.tuning.values for arm in unit.arms} == {
        name: {"learning_rate": rate} for name, rate in BEST.items()
    }
    assert unit.left_out == []
    assert unit.remarks == ["the best learning_rate is the lowest or highest that was tried: odd"]


def test_tables_and_verdict_say_which_value_each_arm_has_and_out_of_what(tmp_path):
    result = analyse(write_tuned(tmp_path))
    [block] = [block for block in list_unit_blocks(result) if block.title.startswith("Tuned")]
    assert block.title == "Tuned for each arm by itself (by validation loss, with seed 1)"
    rows = {row[0]: row[1:] for row in block.table}
    assert rows["odd"] == [
        *("learning_rate 0.0004", "3", "2"),
        "learning_rate 0.0001 (0.6000); learning_rate 0.0002 (0.5000); learning_rate 0.0004 (0.3000)",
    ]
    assert rows[""] == ["chosen", "trials", "not counted", "tried (what it was chosen by)"]
    own = "odd learning_rate 0.0004 (of 3); top (first) learning_rate 0.0002 (of 3)"
    assert f"Each arm has the values that its own validation rows chose: {own}." in write_verdict(result)


def test_the_files_say_it_too_and_those_of_untuned_runs_are_as_they_were(tmp_path):
    result = analyse(write_tuned(tmp_path / "tuned"))
    for strategy in BEST:
        write_run(tmp_path / "plain" / strategy, strategy)
    plain = analyse(tmp_path / "plain")
    rows = list(csv.DictReader(io.StringIO(format_csv(list_arm_rows(plain) + list_arm_rows(result)))))
    assert [row["tuned"] for row in rows] == ["", "", *(f"learning_rate {BEST[row['arm']]:g}" for row in rows[2:])]
    assert [row["tuned_out_of"] for row in rows] == ["", "", "3", "3"]
    [unit] = json.loads(format_json([result], None, []))["units"]
    trials = unit["tuning"]["top"]["trials"]
    assert [trial["values"]["learning_rate"] for trial in trials] == list(RATES)
    assert [trial["is_chosen"] for trial in trials] == [False, True, False]
    assert Path(trials[0]["folder"]).name == "top 0.0001"
    assert "tuned" not in format_csv(list_arm_rows(plain))
    assert '"tuning"' not in format_json([plain], None, [])
    assert not [block for block in list_unit_blocks(plain) if block.title.startswith("Tuned")]


def test_further_seeds_with_a_value_that_was_not_chosen_are_left_out(tmp_path):
    """As after a longer grid that changed the choice."""
    write_trial(write_tuned(tmp_path) / "stale", "top", 1e-4, seed=3)
    [left] = group_one(tmp_path).left_out
    assert left.reason == "learning_rate 0.0002 was chosen for its arm, and not learning_rate 0.0001"
    assert Path(left.folder).name == "stale"


def test_so_are_those_with_the_value_of_before_beside_the_new_ones(tmp_path):
    write_trial(write_tuned(tmp_path) / "stale", "top", 1e-4, seed=2)
    unit = group_one(tmp_path)
    assert {arm.name: arm.seeds for arm in unit.arms} == {"top": [1, 2], "odd": [1, 2]}
    [left] = unit.left_out
    assert Path(left.folder).name == "stale"


def test_another_grid_for_one_arm_is_remarked(tmp_path):
    (write_tuned(tmp_path) / "odd 0.0001" / "run_record.json").unlink()
    remark = group_one(tmp_path).remarks[0]
    tried = "0.0002, 0.0004 by odd; 0.0001, 0.0002, 0.0004 by top (first)"
    assert remark == f"not the same budget: learning_rate was tried as {tried}"


def test_a_combination_that_one_arm_lacks_is_remarked(tmp_path):
    """Each flag's own values are all there."""
    points = [(rate, decay) for rate in (1e-4, 2e-4) for decay in (0.0, 0.1)]
    for strategy in BEST:
        for rate, decay in points[: 4 if strategy == "top" else 3]:
            own = {"weight_decay": decay, "tuned_flags": "learning_rate,weight_decay"}
            write_trial(tmp_path / f"{strategy} {rate} {decay}", strategy, rate, arguments=own)
    lacking = "odd was not tried with learning_rate 0.0002, weight_decay 0.1"
    assert group_one(tmp_path).remarks[-1] == f"not the same budget: {lacking}"


def test_a_score_below_0_is_shown_as_it_is(tmp_path):
    chosen_by = {"metric_for_best_model": "macro_f1", "greater_is_better": True}
    for rate, score in ((1e-4, -0.1), (2e-4, 0.05)):
        path = write_trial(tmp_path / f"top {rate}", "top", rate, arguments=chosen_by) / "run_record.json"
        record = json.loads(path.read_text())
        record["metrics"]["validation"]["macro_f1"] = score
        path.write_text(json.dumps(record))
    [arm] = group_one(tmp_path).arms
    assert [(trial.score, trial.is_chosen) for trial in arm.tuning.trials] == [(-0.1, False), (0.05, True)]


def test_tuned_and_untuned_runs_are_not_mixed(tmp_path):
    write_run(write_tuned(tmp_path) / "plain", "odd", 3, arguments={"learning_rate": 4e-4})
    [left] = group_one(tmp_path).left_out
    assert Path(left.folder).name == "plain"
    assert "tuned learning_rate True -> none" in left.reason


def test_without_a_teacher_only_what_is_not_of_its_terms_is_tuned(tmp_path):
    for rate in RATES:
        for temperature in (1.0, 2.0):
            own = {"temperature": temperature, "tuned_flags": "learning_rate,temperature"}
            write_trial(tmp_path / f"top {rate} {temperature}", "top", rate, arguments=own)
        write_trial(tmp_path / f"alone {rate}", "top", rate, arguments=WITHOUT_TEACHER)
    write_run(tmp_path / "plain", "top", 2, arguments=WITHOUT_TEACHER | {"learning_rate": 2e-4})
    unit = group_one(tmp_path)
    tuned = {arm.name: arm.tuning.values for arm in unit.arms}
    assert tuned == {
        "top": {"learning_rate": 2e-4, "temperature": 1.0},
        "top, without teacher": {"learning_rate": 2e-4},
    }
    [left] = unit.left_out
    assert Path(left.folder).name == "plain"


def test_what_is_varied_makes_arms_and_is_no_tuning(tmp_path):
    unit = group_one(write_tuned(tmp_path), ("learning_rate",))
    assert len(unit.arms) == 6
    assert not any(arm.tuning for arm in unit.arms)


def test_trials_with_several_seeds_are_refused(tmp_path):
    write_tuned(tmp_path)
    for rate in (1e-4, 4e-4):
        write_trial(tmp_path / f"more {rate}", "top", rate, seed=2)
    with pytest.raises(ValueError, match="for each of the seeds 1 and 2: it is tuned with one seed"):
        group_one(tmp_path)


def test_a_race_takes_the_chosen_trial_as_the_run_with_the_first_seed(tmp_path):
    unit = group_one(write_tuned(tmp_path))
    race = analyse_unit(unit, "auto", None, 200, RacePlan([1, 2])).race
    first = {arm.name: arm.runs[0].score("accuracy", "test") for arm in unit.arms}
    assert race.left_out == {}
    assert race.looks[0].leader_score == max(first.values())
    assert first[race.looks[0].leader] == max(first.values())


def test_an_arm_that_lacks_a_trial_is_in_no_race(tmp_path):
    """A trial of it has failed: its value is one that the sweep did not choose, and its other seeds were not run."""
    write_tuned(tmp_path)
    (tmp_path / "odd 0.0004" / "run_record.json").unlink()
    for rate in RATES:
        write_trial(tmp_path / f"bottom {rate}", "bottom", rate)
    write_trial(tmp_path / "bottom 2", "bottom", 2e-4, seed=2)
    race = analyse_unit(group_one(tmp_path), "auto", None, 200, RacePlan([1, 2])).race
    assert race.left_out == {"odd": UNTRIED}
    assert {racer.name for racer in race.racers} == {"top", "bottom"}


def test_a_race_between_trials_is_refused(tmp_path, capsys):
    """No race gave them their seeds."""
    with pytest.raises(SystemExit) as stopped:
        main([str(write_tuned(tmp_path)), "--race", "1", "2", "--vary", "learning_rate"])
    assert stopped.value.code == 2
    assert "--race with --vary learning_rate: the arms that were raced had" in capsys.readouterr().err
