"""The numbers of a unit, from runs to differences."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.results import UnitResult, analyse_unit, group_starts
from layer_distillation.comparison.runs import read_runs
from layer_distillation.comparison.verdict import describe_random_draws
from layer_distillation.records.run_record import read_run_record
from simulated_runs import STARTS, WITHOUT_TEACHER, write_run


def analyse(folder: Path, split: str = "auto", metric_name: str | None = None) -> UnitResult:
    [unit] = group_runs(read_runs(find_run_folders([folder]))[0])
    return analyse_unit(unit, split, metric_name, 400)


def write_sweep(folder: Path, accuracies: dict[str, float], seeds: tuple[int, ...] = (1, 2, 3), **options) -> None:
    for strategy, accuracy in accuracies.items():
        for seed in seeds:
            write_run(folder / f"{strategy}{seed}", strategy, seed, accuracy, **options)


def test_means_and_spreads_are_over_seeds(tmp_path):
    write_sweep(tmp_path, {"top": 0.8, "bottom": 0.6})
    result = analyse(tmp_path)
    top = result.best
    values = [run.run.record.metrics["test"]["accuracy"] for run in top.runs]
    assert top.name == "top"
    assert top.average("metric") == pytest.approx(np.mean(values))
    assert top.estimate.value == pytest.approx(np.mean(values))
    assert top.spread("metric") == pytest.approx(np.std(values, ddof=1))
    losses = [run.run.record.metrics["validation"]["loss"] for run in top.runs]
    assert top.average("validation_loss") == pytest.approx(np.mean(losses))
    assert top.list_values("training_loss") == [run.run.record.history[1]["train_loss"] for run in top.runs]


def test_one_run_has_no_spread(tmp_path):
    write_sweep(tmp_path, {"top": 0.8, "bottom": 0.6}, seeds=(1,))
    assert analyse(tmp_path).best.spread("metric") is None


def test_a_difference_is_best_minus_other_over_shared_seeds(tmp_path):
    write_sweep(tmp_path, {"top": 0.8}, seeds=(1, 2, 3))
    write_sweep(tmp_path, {"bottom": 0.5}, seeds=(2, 3, 4))
    [pair] = analyse(tmp_path).comparisons
    scores = {
        (run.record.strategy, run.record.seed): run.score("accuracy", "test")
        for run in read_runs(find_run_folders([tmp_path]))[0]
    }
    expected = np.mean([scores["top", seed] - scores["bottom", seed] for seed in (2, 3)])
    assert (pair.first, pair.second, pair.seeds) == ("top", "bottom", [2, 3])
    assert pair.estimate.value == pytest.approx(expected)


def test_without_a_shared_seed_nothing_is_compared(tmp_path):
    write_sweep(tmp_path, {"top": 0.8}, seeds=(1,))
    write_sweep(tmp_path, {"bottom": 0.5}, seeds=(2,))
    [pair] = analyse(tmp_path).comparisons
    assert (pair.estimate, pair.adjusted_p_value) == (None, 1.0)


def test_all_pairs_of_strategies_count_in_the_correction(tmp_path):
    write_sweep(tmp_path, {"top": 0.85, "bottom": 0.6, "odd": 0.75, "even": 0.8})
    pairs = analyse(tmp_path).comparisons
    assert len(pairs) == 3
    assert {pair.level for pair in pairs} == {0.05 / 6}
    smallest = min(pairs, key=lambda pair: pair.estimate.p_value)
    assert smallest.adjusted_p_value >= 4 * smallest.estimate.p_value


def test_controls_are_compared_but_never_the_best(tmp_path):
    write_sweep(tmp_path, {"top": 0.6, "bottom": 0.5, "random": 0.9, "scratch": 0.4})
    write_sweep(tmp_path / "alone", {"top": 0.95}, arguments=WITHOUT_TEACHER)
    result = analyse(tmp_path)
    assert [arm.name for arm in result.strategies] == ["top", "bottom"]
    assert [arm.name for arm in result.controls] == ["random", "scratch", "top, without teacher"]
    assert [(pair.first, pair.second) for pair in result.control_comparisons] == [
        ("top", "random"),
        ("top", "scratch"),
    ]
    assert [(pair.first, pair.second) for pair in result.teacher_comparisons] == [("top", "top, without teacher")]
    assert [pair.level for pair in result.control_comparisons] == [0.05 / 4, 0.05 / 4]
    assert result.teacher_comparisons[0].estimate.value < 0
    assert len(result.random_draws[""].runs) == 3


def test_controls_alone_are_compared_with_each_other(tmp_path):
    write_sweep(tmp_path, {"random": 0.8, "scratch": 0.4})
    result = analyse(tmp_path)
    assert ([arm.name for arm in result.strategies], result.controls) == (["random", "scratch"], [])


def test_mcnemar_is_that_of_the_first_shared_seed(tmp_path):
    write_sweep(tmp_path, {"top": 0.8, "bottom": 0.5})
    [pair] = analyse(tmp_path).comparisons
    top, bottom = (read_runs([tmp_path / name])[0][0] for name in ("top1", "bottom1"))
    right, other = (run.get_answers("accuracy", "test") == run.get_truth("test").labels for run in (top, bottom))
    assert pair.mcnemar.seed == 1
    assert (pair.mcnemar.only_first, pair.mcnemar.only_second) == (sum(right & ~other), sum(other & ~right))
    assert analyse(tmp_path, metric_name="macro_f1").comparisons[0].mcnemar is None


def test_test_rows_are_taken_where_they_are_labelled(tmp_path):
    write_sweep(tmp_path / "a", {"top": 0.8, "bottom": 0.5})
    write_sweep(tmp_path / "b", {"top": 0.8, "bottom": 0.5}, has_test_labels=False)
    assert (analyse(tmp_path / "a").split, analyse(tmp_path / "a").num_rows) == ("test", 120)
    assert (analyse(tmp_path / "a", "validation").split, analyse(tmp_path / "b").split) == ("validation", "validation")
    with pytest.raises(ValueError, match=r"no labelled test rows .* take --split validation"):
        analyse(tmp_path / "b", "test")


def test_an_unknown_metric_is_an_error_that_lists_the_tasks(tmp_path):
    write_sweep(tmp_path, {"top": 0.8, "bottom": 0.5}, seeds=(1,))
    with pytest.raises(ValueError, match="'pearson': the task sick has accuracy, macro_f1, matthews_correlation"):
        analyse(tmp_path, metric_name="pearson")


@pytest.mark.parametrize("metric_name", ["pearson", "spearmanr"])
def test_a_regression_is_compared_by_its_correlation(tmp_path, metric_name):
    write_sweep(tmp_path, {"top": 0.95, "bottom": 0.3}, num_classes=1, metric_names=("pearson",))
    result = analyse(tmp_path, metric_name=metric_name)
    assert result.best.name == "top"
    assert result.comparisons[0].adjusted_p_value < 0.01
    assert result.best.list_values("metric")[0] == pytest.approx(result.best.runs[0].run.score(metric_name, "test"))
    assert result.teacher_metric["test"] > 0.5


def test_what_was_known_before_training_is_ranked_against_the_end(tmp_path):
    for strategy, accuracy in {"top": 0.9, "bottom": 0.5, "odd": 0.7}.items():
        untrained = {"loss": 2 - accuracy, "accuracy": accuracy / 2}
        write_run(tmp_path / strategy, strategy, 1, accuracy, student={"untrained": untrained})
    write_run(tmp_path / "even", "even", 1)
    assert analyse(tmp_path).before_training == [
        ("loss", "strategies", pytest.approx(-1), 3),
        ("accuracy", "strategies", pytest.approx(1), 3),
    ]


@pytest.mark.parametrize(("metric_name", "lowest"), [("accuracy", 0.0), ("matthews_correlation", -1.0)])
def test_an_interval_ends_where_the_metric_does(tmp_path, metric_name, lowest):
    for strategy, accuracies in {"top": (1.0, 0.6), "odd": (0.0, 0.4)}.items():
        for seed, accuracy in enumerate(accuracies):
            write_run(tmp_path / f"{strategy}{seed}", strategy, seed, accuracy, num_classes=2)
    result = analyse(tmp_path, metric_name=metric_name)
    top, odd = result.arms
    assert (top.estimate.high, odd.estimate.low) == (1.0, lowest)
    assert result.comparisons[0].estimate.low < -1  # a difference may be twice as far


def test_an_untrained_score_that_is_no_number_counts_nowhere(tmp_path):
    for strategy, score in {"top": 0.2, "odd": 0.4, "even": 0.1, "bottom": float("nan")}.items():
        write_run(tmp_path / strategy, strategy, 1, student={"untrained": {"accuracy": score}})
    [(name, over, _, number)] = analyse(tmp_path).before_training
    assert (name, over, number) == ("accuracy", "strategies", 3)


def test_a_start_counts_once_however_many_runs_begin_with_it(tmp_path):
    for strategy, accuracy in {"top": 0.9, "bottom": 0.5, "odd": 0.7, "random": 0.6}.items():
        for seed in (1, 2, 3):  # the draws of `random` are the layers of odd and bottom, and new ones
            for weights in ({}, WITHOUT_TEACHER) if strategy != "random" else ({},):
                folder = tmp_path / f"{strategy}{seed}{len(weights)}"
                write_run(folder, strategy, seed, accuracy, student={"untrained": {"loss": 1.0}}, arguments=weights)
    counts = [(over, number) for _, over, _, number in analyse(tmp_path).before_training]
    assert counts == [("strategies", 3), ("all starts", 4)]


def test_a_draw_that_is_a_strategy_with_its_seed_counts_once(tmp_path):
    scores = {"top": 0.9, "odd": 0.5, "even": 0.7}
    for strategy, accuracy in scores.items():
        for seed in (1, 2):
            write_run(
                tmp_path / f"{strategy}{seed}", strategy, seed, accuracy, student={"untrained": {"loss": accuracy}}
            )
    drawn = {"layers": STARTS["top"], "untrained": {"loss": 0.9}}
    folder = write_run(tmp_path / "random", "random", 1, student=drawn)
    shutil.copy(tmp_path / "top1" / "predictions.npz", folder)
    record = read_run_record(folder)
    record.metrics = read_run_record(tmp_path / "top1").metrics
    record.write(folder)
    result = analyse(tmp_path)
    top = next(group for group in group_starts(result.arms) if group[0].run.layers == STARTS["top"])
    assert [run.run.record.seed for run in top] == [1, 2]
    assert describe_random_draws(result)[-1] == "The draw with seed 1 has the layers of top (first)."


def test_starts_of_another_width_are_starts_of_their_own(tmp_path):
    narrow = {"student_hidden_size": 96, "student_width_init": "truncation"}
    untrained = {"top": 0.5, "odd": 0.7, "bottom": 0.9}
    for strategy, loss in untrained.items():
        for name, arguments, shift in (("wide", {}, 0.0), ("narrow", narrow, 0.3)):
            student = {"untrained": {"loss": loss + shift}, "layers": STARTS[strategy]}
            write_run(tmp_path / f"{strategy}-{name}", strategy, arguments=arguments, student=student)
    assert {number for _, _, _, number in analyse(tmp_path).before_training} == {6}


def test_random_draws_stand_beside_the_strategies_of_their_settings(tmp_path):
    for temperature, accuracy in ((2.0, 0.6), (4.0, 0.9)):
        for strategy in ("top", "random"):
            own = accuracy - 0.1 * (strategy == "random")
            write_run(tmp_path / f"{strategy}{temperature}", strategy, 1, own, arguments={"temperature": temperature})
    [unit] = group_runs(read_runs(find_run_folders([tmp_path]), ["temperature"])[0])
    lines = describe_random_draws(analyse_unit(unit, "test", None, 200))
    assert [line.partition(":")[0] for line in lines] == [
        "1 random draw, temperature 2",
        "top (first), temperature 2",
        "1 random draw, temperature 4",
        "top (first), temperature 4",
    ]
