"""The sentences say what the numbers allow, and no more."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.pairs import Pair
from layer_distillation.comparison.results import UnitResult, analyse_unit
from layer_distillation.comparison.runs import read_runs
from layer_distillation.comparison.statistics import (
    Components,
    Estimate,
    TaskRanks,
    find_needed_rows,
    find_needed_seeds,
    rank_over_tasks,
)
from layer_distillation.comparison.tasks import summarize_tasks
from layer_distillation.comparison.verdict import (
    count_needed_tasks,
    describe_need,
    describe_number,
    describe_random_draws,
    describe_rank_differences,
    describe_ranks,
    describe_scope,
    describe_tasks,
    judge,
    judge_teacher_terms,
    write_verdict,
)
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.run_record import read_run_record
from simulated_runs import write_run

SEEDS_DECIDE = Components(seed=1e-4, row=1e-6, residual=0.0, num_seeds=3, num_rows=1000)
ROWS_DECIDE = Components(seed=1e-9, row=0.1, residual=0.0, num_seeds=3, num_rows=1000)
ONE_SEED = Components(seed=math.nan, row=0.1, residual=0.0, num_seeds=1, num_rows=1000)


def make_pair(difference: float, p_value: float, components: Components = SEEDS_DECIDE) -> Pair:
    estimate = Estimate(difference, difference - 0.01, difference + 0.01, p_value, components)
    return Pair("top", "odd", list(range(components.num_seeds)), estimate, p_value, 0.05, None)


def analyse(folder: Path) -> UnitResult:
    [unit] = group_runs(read_runs(find_run_folders([folder]))[0])
    return analyse_unit(unit, "auto", None, 200)


def test_a_clear_difference_is_said_with_its_interval():
    sentence = judge(make_pair(0.05, 0.001), "is worse than", "cannot be told apart from")
    assert sentence == "odd is worse than top (first) by 0.0500 [0.0400, 0.0600], corrected p 0.0010 (3 seeds)."


def test_a_control_that_beats_the_best_is_said_so():
    sentence = judge(make_pair(-0.05, 0.00001), "is worse than", "cannot be told apart from")
    assert sentence == "odd is better than top (first) by 0.0500 [0.0400, 0.0600], corrected p <0.0001 (3 seeds)."


def test_a_difference_that_may_be_chance_is_no_verdict():
    sentence = judge(make_pair(0.005, 0.2), "is worse than", "cannot be told apart from")
    needed = find_needed_seeds(0.005, SEEDS_DECIDE, 0.05)
    assert sentence.startswith("odd cannot be told apart from top (first) on these data: difference 0.0050 [")
    assert f"about {needed} seeds would be needed" in sentence
    assert judge(make_pair(0.005, 0.05), "is worse than", "cannot").startswith("odd cannot")


def test_what_would_be_needed_is_what_would_help():
    assert "more rows alone would not help" in describe_need(make_pair(0.005, 0.2, SEEDS_DECIDE))
    rows = describe_number(find_needed_rows(0.005, ROWS_DECIDE, 3, 0.05))
    assert describe_need(make_pair(0.005, 0.2, ROWS_DECIDE)) == (
        f"{rows} rows would be needed to see one of this size, more seeds alone would not help"
    )
    both = Components(seed=1e-4, row=0.1, residual=0.0, num_seeds=3, num_rows=1000)
    assert (
        describe_need(make_pair(0.006, 0.9, both))
        == "about 40,000 rows with 50 seeds would be needed to see one of this size"
    )
    assert "takes more rows and more seeds than anyone has" in describe_need(make_pair(0.0001, 0.9, both))
    # Satterthwaite's degrees of freedom would take power away again far beyond the rows that give it.
    window = Components(seed=1e-5, row=0.2, residual=0.0, num_seeds=3, num_rows=1000)
    assert describe_need(replace(make_pair(0.015, 0.2, window), level=0.005)).startswith(
        "about 17,000 rows would be needed"
    )
    either = Components(seed=1e-6, row=0.001, residual=0.1, num_seeds=3, num_rows=1000)
    assert " rows or about " in describe_need(make_pair(0.01, 0.2, either))
    assert describe_need(make_pair(0.0, 1.0)) == "there is none to see"


def test_with_one_seed_the_need_is_for_these_two_students():
    need = describe_need(make_pair(0.001, 0.9, ONE_SEED))
    assert need == "about 790,000 rows would be needed to see one of this size between these two students"
    assert describe_need(make_pair(0.0001, 0.9, ONE_SEED)).startswith("more than 1,000,000 rows")


def test_needed_numbers_have_two_digits_and_round_up():
    assert [describe_number(number) for number in (7, 99, 101, 12_345)] == [
        "about 7",
        "about 99",
        "about 110",
        "about 13,000",
    ]


def test_no_shared_seed_is_no_comparison():
    pair = Pair("top", "odd", [], None, 1.0, 0.05, None)
    assert judge(pair, "is worse than", "cannot") == "odd shares no seed with top (first): not compared."
    assert judge_teacher_terms(pair) == "odd shares no seed with top (first): not compared."


def test_teacher_terms_help_harm_or_show_nothing():
    assert judge_teacher_terms(make_pair(0.05, 0.001)).startswith(
        "The teacher's terms help top (first) by 0.0500 [0.0400"
    )
    assert judge_teacher_terms(make_pair(-0.05, 0.001)).startswith(
        "The teacher's terms harm top (first) by 0.0500 [0.0400"
    )
    assert "no difference for top (first) that these data show" in judge_teacher_terms(make_pair(0.005, 0.3))


def test_the_verdict_names_the_best_first_and_says_what_one_seed_hides(tmp_path):
    for strategy, accuracy in {"top": 0.9, "bottom": 0.3, "scratch": 0.2}.items():
        write_run(tmp_path / strategy, strategy, 1, accuracy)
    lines = write_verdict(analyse(tmp_path))
    assert lines[0].startswith("Best: top (first), test accuracy 0.")
    assert lines[1].startswith("bottom (last) with seed 1 is worse than top (first) with seed 1 by 0.")
    assert lines[2].startswith("scratch with seed 1 (control) is worse than top (first) with seed 1 by 0.")
    assert "how much another seed changes is unknown" in lines[3]


def test_a_highest_mean_that_may_be_chance_is_not_called_the_best(tmp_path):
    for strategy, accuracy in {"top": 0.85, "odd": 0.84, "bottom": 0.3}.items():
        for seed in (1, 2, 3):
            write_run(tmp_path / f"{strategy}{seed}", strategy, seed, accuracy, seed_spread=0.03)
    result = analyse(tmp_path)
    first, second = (arm.name for arm in result.strategies[:2])
    line = write_verdict(result)[0]
    assert line.startswith(
        f"Highest: {show_strategy(first)}, test accuracy {result.best.estimate.value:.4f} (3 seeds); "
    )
    assert line.endswith(f"not shown to be better than {show_strategy(second)}.")


def test_one_strategy_among_controls_and_controls_alone_are_said_to_be_so(tmp_path):
    for strategy, accuracy in {"random": 0.9, "scratch": 0.2}.items():
        write_run(tmp_path / strategy, strategy, 1, accuracy)
    lines = write_verdict(analyse(tmp_path))
    assert lines[0] == "All arms are controls: they are held against each other."
    assert lines[1].startswith("Best: random, test accuracy 0.")
    write_run(tmp_path / "top", "top", 1, 0.5)
    assert write_verdict(analyse(tmp_path))[0].startswith("The only strategy: top (first), test accuracy 0.")


def test_equal_students_have_no_best(tmp_path):
    write_run(tmp_path / "top", "top", 1, 0.8, seed_spread=0)
    shutil.copytree(tmp_path / "top", tmp_path / "other")
    record = read_run_record(tmp_path / "other")
    record.strategy = "first two"
    record.write(tmp_path / "other")
    lines = write_verdict(analyse(tmp_path))
    assert lines[0].endswith("not shown to be better than top (first).")
    assert "difference 0.0000 [0.0000, 0.0000], corrected p 1.0000 (1 seed); there is none to see." in lines[1]


@pytest.mark.parametrize(("last", "is_said"), [(0.9, True), (0.5, False)])
def test_a_gain_that_the_choice_of_the_epoch_makes_is_said(tmp_path, last, is_said):
    alone = {"ce_weight": 1.0, "kl_weight": 0.0, "hidden_weight": 0.0}
    for name, accuracy, arguments, after in (("with", 0.9, {}, 0.7), ("alone", 0.5, alone, last)):
        history = [{"epoch": 3.0, "step": 9, "eval_accuracy": after}]
        write_run(tmp_path / name, "top", 1, accuracy, arguments=arguments, history=history)
    lines = [line for line in write_verdict(analyse(tmp_path)) if line.startswith("But after the last epoch")]
    assert lines == is_said * [
        "But after the last epoch top (first), without teacher is ahead of top (first): validation accuracy 0.9000 and "
        "0.7000. So the choice of the epoch decides."
    ]


def test_random_draws_are_counted_not_turned_into_percent(tmp_path):
    write_run(tmp_path / "top", "top", 1, 0.9)
    write_run(tmp_path / "bottom", "bottom", 1, 0.5)
    for seed in range(5):
        write_run(tmp_path / f"random{seed}", "random", seed, 0.95 if seed == 0 else 0.7, seed_spread=0)
    lines = describe_random_draws(analyse(tmp_path))
    assert lines[1:3] == [
        "top (first): better than 4 of 5 random draws.",
        "bottom (last): better than 0 of 5 random draws.",
    ]
    assert lines[3:] == ["The draw with seed 2 has the layers of bottom (last)."]


def test_loss_and_metric_that_disagree_are_flagged(tmp_path):
    write_run(tmp_path / "top", "top", 1, 0.9)
    write_run(tmp_path / "odd", "odd", 1, 0.6)
    result = analyse(tmp_path)
    assert describe_ranks(result) == []
    result.strategies[0].runs[0].validation_loss = 9.0
    assert describe_ranks(result) == [
        "validation loss and accuracy rank the strategies differently: by loss odd > top (first); by accuracy "
        "top (first) > odd."
    ]


def test_loss_and_metric_that_agree_are_said_with_their_correlation(tmp_path):
    for strategy, accuracy in {"top": 0.9, "odd": 0.7, "even": 0.5}.items():
        write_run(tmp_path / strategy, strategy, 1, accuracy)
    result = analyse(tmp_path)
    assert describe_ranks(result) == ["validation loss and accuracy rank the strategies alike (Spearman 1.00)."]


def test_a_tie_of_the_metric_is_no_disagreement(tmp_path):
    write_run(tmp_path / "top", "top", 1, 0.9)
    write_run(tmp_path / "odd", "odd", 1, 0.6)
    result = analyse(tmp_path)
    for arm in result.strategies:
        arm.runs[0].validation_metric = 0.5
    result.strategies[0].runs[0].validation_loss = 9.0
    assert describe_ranks(result) == []


def test_ranks_over_tasks_say_what_they_average_and_leave_out(tmp_path):
    for name, task, layers in (("a", "sick", [0, 1]), ("b", "mrpc", [0, 1]), ("c", "mrpc", [0])):
        for strategy in ("top", "odd"):
            write_run(tmp_path / name / strategy, strategy, task={"name": task}, student={"layers": layers})
    write_run(tmp_path / "even", "even", task={"name": "mrpc"})
    units = group_runs(read_runs(find_run_folders([tmp_path]))[0])
    results = [analyse_unit(unit, "auto", None, 200) for unit in units]
    assert describe_scope(results, summarize_tasks(results)) == [
        "mrpc counts once, by its mean over students of 1 and 2 layers.",
        "Not ranked, because not every task has it: even.",
    ]
    whole = [results[1], results[2]]
    assert describe_scope(whole, rank_over_tasks(["even", "odd", "top"], np.eye(3))) == []


def test_too_few_tasks_are_said_plainly():
    few = rank_over_tasks(list("abc"), np.random.default_rng(0).random((3, 3)))
    assert describe_tasks(few)[2] == (
        "No pair of strategies is tested by Wilcoxon: with 3 tasks that all agree, the smallest possible "
        "corrected p is 0.750; at least 7 tasks could reach 0.05."
    )
    two = rank_over_tasks(["a", "b"], np.array([[1.0, 0.5], [0.4, 0.3]]))
    assert describe_tasks(two)[0].startswith("Friedman's test needs 3 strategies")


@pytest.mark.parametrize("num_arms", [2, 3, 4, 8])
def test_the_needed_number_of_tasks_is_the_least_that_could_do(num_arms):
    needed, pairs = count_needed_tasks(num_arms), num_arms * (num_arms - 1) / 2
    assert pairs * 2.0 ** (1 - needed) < 0.05 <= pairs * 2.0 ** (2 - needed)


@pytest.mark.parametrize(
    ("friedman", "critical", "sentence"),
    [
        (0.03, 2.7, "even ranks better than bottom (last)."),
        (0.03, 1.2, "even ranks better than odd and bottom (last)."),
        (0.03, 3.5, "So no pair of strategies is told apart."),
        (0.2, 2.7, "So no strategy is shown to rank better than another."),
    ],
)
def test_ranks_over_tasks_say_who_is_told_apart(friedman, critical, sentence):
    ranks = TaskRanks({"bottom": 4.6, "even": 1.4, "odd": 2.6}, 5, friedman, critical, 0.6, {})
    assert describe_rank_differences(ranks)[0] == sentence
