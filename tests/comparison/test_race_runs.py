"""A race repeated on folders of runs: its verdict in tables, files and words."""

import json

import pytest

from compare_strategies import main
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.race import BEHIND, Racer
from layer_distillation.comparison.race_report import list_race, name_verdict
from layer_distillation.comparison.race_runs import MISSING, NO_SEED, NO_START, RacePlan, make_racers, race_arms
from layer_distillation.comparison.results import analyse_unit
from layer_distillation.comparison.runs import read_runs
from simulated_runs import WITHOUT_TEACHER, write_run

ACCURACIES = {"top": 0.9, "odd": 0.89, "bottom": 0.3, "even": 0.35, "scratch": 0.2}
ROWS = {"train": 90, "validation": 60, "test": 600}


@pytest.fixture
def sweep(tmp_path):
    for strategy, accuracy in ACCURACIES.items():
        for seed in (1, 2, 3):
            write_run(tmp_path / "runs" / f"{strategy}{seed}", strategy, seed, accuracy, rows=ROWS)
    return tmp_path / "runs"


def analyse(folder, plan):
    [unit] = group_runs(read_runs(find_run_folders([folder]))[0])
    return analyse_unit(unit, "auto", None, 300, plan)


def test_far_arms_are_dropped_and_close_ones_left_open(sweep):
    result = analyse(sweep, RacePlan((1, 2, 3)))
    states = {name: judged.state for name, judged in result.race.last.judgements.items()}
    assert {name for name, state in states.items() if state == BEHIND} == {"bottom", "even", "scratch"}
    assert result.race.most_runs == 15
    assert result.race.num_runs < 15


def test_a_race_needs_only_the_runs_that_it_asked_for(sweep):
    whole = analyse(sweep, RacePlan((1, 2, 3))).race
    for name, number in whole.last.num_seeds.items():
        for seed in range(number + 1, 4):
            for file in (sweep / f"{name}{seed}").iterdir():
                file.unlink()
            (sweep / f"{name}{seed}").rmdir()
    again = analyse(sweep, RacePlan((1, 2, 3))).race
    assert again.last.judgements == whole.last.judgements
    assert again.left_out == {}


def test_an_arm_without_a_run_that_it_was_to_have_is_out_and_named(sweep):
    (sweep / "odd1" / "run_record.json").unlink()
    result = analyse(sweep, RacePlan((1, 2, 3)))
    assert result.race.left_out == {"odd": MISSING}
    assert "odd is not in the race: a run that it was to have is missing." in list_race(result)


def test_the_best_of_an_incomplete_race_is_called_that(sweep):
    for name in ("top2", "odd1"):
        (sweep / name / "run_record.json").unlink()
    result = analyse(sweep, RacePlan((1, 2, 3)))
    assert result.race.left_out == {"odd": MISSING, "top": MISSING}
    assert list_race(result)[0].startswith(("Best of those in the race: even, ", "Leads: even, "))


def test_a_race_that_was_none_is_not_passed_over(sweep):
    """As of a sweep that was stopped while it made the second seeds."""
    for name in ACCURACIES:
        (sweep / f"{name}2" / "run_record.json").unlink()
    result = analyse(sweep, RacePlan((1, 2, 3)))
    assert result.race.looks == []
    first, *others = list_race(result)
    assert first == "There was no race: it takes two arms with all runs that they were to have."
    assert "top (first) is not in the race: a run that it was to have is missing." in others
    assert name_verdict(result).startswith("As if no race had chosen the seeds")


def test_arms_that_cannot_be_in_the_race_are_named_with_the_reason(sweep):
    for seed in (1, 2, 3):
        write_run(sweep / f"alone{seed}", "odd", seed, 0.6, rows=ROWS, arguments=WITHOUT_TEACHER)
        write_run(sweep / f"random{seed}", "random", seed, 0.4, rows=ROWS)
    (sweep / "odd1" / "run_record.json").unlink()
    race = analyse(sweep, RacePlan((1, 2, 3), num_draws=0)).race
    assert race.left_out == {"odd": MISSING, "odd, without teacher": NO_START, "random": NO_SEED}


def test_the_verdict_says_what_was_seen_and_when(sweep):
    lines = list_race(analyse(sweep, RacePlan((1, 2, 3))))
    assert lines[0].startswith("Leads: ")
    assert "not shown to be better than" in lines[0]
    [bottom] = [line for line in lines if line.startswith("bottom (last)")]
    assert "bottom (last) was dropped at look 2: behind " in bottom
    assert " seed" in bottom
    assert lines[-1].endswith("Of what was dropped no more is known than was seen then.")


def test_without_a_race_nothing_of_one_is_said(sweep):
    assert list_race(analyse(sweep, None)) == []


def test_the_command_puts_the_race_first_and_its_looks_into_the_json(sweep, tmp_path, capsys):
    folder = tmp_path / "comparison"
    arguments = [str(sweep), "--output_dir", str(folder), "--no_pictures", "--resamples", "200"]
    (sweep / "odd1" / "run_record.json").unlink()
    assert main([*arguments, "--race", "1", "2", "3"]) == 0
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    assert text.index("verdict of the race") < text.index("the kept students")
    assert "As if no race had chosen the seeds" in text
    unit = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["units"][0]
    looks = unit["race"]
    assert unit["not_in_the_race"] == {"odd": MISSING}
    assert [look["look"] for look in looks] == list(range(1, len(looks) + 1))
    assert looks[-1]["arms"]["bottom"]["state"] == "behind"
    assert looks[-1]["wanted"] == []
    assert main(arguments) == 0
    assert "race" not in json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["units"][0]


@pytest.mark.parametrize("seeds", [["1"], ["1", "1"]])
def test_a_race_over_one_seed_is_one_line(sweep, seeds, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(sweep), "--race", *seeds])
    assert stopped.value.code == 2
    assert "name two seeds or more, each once" in capsys.readouterr().err


def test_a_start_without_teacher_is_held_against_the_one_with(sweep):
    for seed in (1, 2, 3):
        write_run(sweep / f"alone{seed}", "top", seed, 0.6, rows=ROWS, arguments=WITHOUT_TEACHER)
    [unit] = group_runs(read_runs(find_run_folders([sweep]))[0])
    race = race_arms(unit.arms, RacePlan((1, 2, 3)), "test", "accuracy", 300)
    assert race.last.judgements["top, without teacher"].rival == "top"


def test_controls_alone_are_raced_against_each_other():
    racers = [Racer("random", (1, 2), is_control=True), Racer("top alone", (1, 2), is_control=True, start="top")]
    assert make_racers(racers) == [Racer("random", (1, 2))]
