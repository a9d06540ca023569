"""The blocks of the report, in order, with the published table first."""

from pathlib import Path

import numpy as np
import pytest

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.report import Block, list_blocks, list_unit_blocks
from layer_distillation.comparison.results import UnitResult, analyse_unit
from layer_distillation.comparison.runs import LeftOut, read_runs
from layer_distillation.comparison.statistics import rank_over_tasks
from simulated_runs import WITHOUT_TEACHER, write_run


def analyse(folder: Path, split: str = "auto") -> UnitResult:
    [unit] = group_runs(read_runs(find_run_folders([folder]))[0])
    return analyse_unit(unit, split, None, 200)


def find(blocks: list[Block], title: str) -> Block:
    [found] = [block for block in blocks if block.title.startswith(title)]
    return found


@pytest.fixture
def sweep(tmp_path):
    for strategy, accuracy in {"top": 0.85, "bottom": 0.5, "random": 0.7, "scratch": 0.4}.items():
        for seed in (1, 2):
            write_run(tmp_path / f"{strategy}{seed}", strategy, seed, accuracy)
    write_run(tmp_path / "alone", "top", 1, 0.8, arguments=WITHOUT_TEACHER)
    return tmp_path


def test_the_published_table_comes_first_with_the_teacher_on_top(sweep):
    table = list_unit_blocks(analyse(sweep))[0].table
    assert table[0][:4] == ["Student layer", "Training loss", "Validation loss", "Validation accuracy"]
    assert [row[0] for row in table[1:]] == [
        "Teacher",
        "top (first)",
        "bottom (last)",
        "random",
        "scratch",
        "top (first), without teacher",
    ]
    teacher = read_runs([sweep / "top1"])[0][0].record.teacher["metrics"]["validation"]
    assert table[1] == ["Teacher", "-", f"{teacher['loss']:.4f}", f"{teacher['accuracy']:.4f}", "-", "-", "all 4"]
    assert [row[6] for row in table[2:6]] == ["0 1", "2 3", "drawn by seed", "fresh"]
    metrics = [run.record.metrics["validation"]["accuracy"] for run in read_runs([sweep / "top1", sweep / "top2"])[0]]
    assert table[2][3] == f"{sum(metrics) / 2:.4f}"


def test_the_metric_after_the_last_epoch_stands_beside_that_of_the_kept_one(tmp_path):
    for seed, accuracy in ((1, 0.5), (2, 0.75)):
        write_run(tmp_path / f"top{seed}", "top", seed, history=[{"epoch": 3.0, "step": 9, "eval_accuracy": accuracy}])
    write_run(tmp_path / "odd", "odd", 1)
    rows = {row[0]: row for row in list_unit_blocks(analyse(tmp_path))[0].table}
    assert [rows[name][5] for name in ("Student layer", "top (first)", "odd")] == ["At the end", "0.6250", "-"]


def test_over_seeds_there_is_a_spread_only_where_there_are_seeds(sweep):
    rows = {row[0]: row for row in find(list_unit_blocks(analyse(sweep)), "Over seeds").table}
    assert rows["top (first), without teacher"][1] == "1"
    assert rows["top (first), without teacher"][4].endswith(" ± -")
    assert rows["top (first)"][1] == "2"
    assert float(rows["bottom (last)"][4].split(" ± ")[1]) > 0


def test_it_says_where_the_rows_also_chose_the_epoch(sweep):
    same, other = (find(list_unit_blocks(analyse(sweep, split)), "Over seeds") for split in ("validation", "test"))
    assert same.title == "Over seeds (60 validation rows, which also chose the epoch that was kept)"
    assert same.table[0] == ["", "n", "validation loss", "validation accuracy", "95 % interval", "of the teacher's"]
    assert other.title == "Over seeds (120 test rows)"
    columns = ["validation loss", "test loss", "test accuracy", "95 % interval", "of the teacher's"]
    assert other.table[0] == ["", "n", *columns]
    assert {len(row) for row in same.table} == {6}
    # The teacher's three numbers stand under the right titles.
    teacher = analyse(sweep).unit.runs[0].record.teacher["metrics"]
    losses = [f"{teacher[split]['loss']:.4f}" for split in ("validation", "test")]
    assert other.table[1] == ["Teacher", "-", *losses, f"{teacher['test']['accuracy']:.4f}", "-", "-"]
    assert same.table[1][2] == losses[0]
    top = next(row for row in other.table if row[0] == "top (first)")
    assert top[-1] == f"{analyse(sweep).best.average('metric') / teacher['test']['accuracy']:.1%}"


def test_tasks_without_a_common_pair_of_strategies_have_no_verdict(tmp_path):
    for task, strategies in {"sick": ("top", "odd"), "mrpc": ("top", "even")}.items():
        for strategy in strategies:
            write_run(tmp_path / task / strategy, strategy, task={"name": task})
    units = group_runs(read_runs(find_run_folders([tmp_path]))[0])
    results = [analyse_unit(unit, "auto", None, 200) for unit in units]
    assert find(list_blocks(results, None, []), "Verdict over tasks").lines == [
        "None: the tasks have fewer than two strategies in common."
    ]


def test_differences_controls_and_teacher_terms_are_tables_of_their_own(sweep):
    blocks = list_unit_blocks(analyse(sweep))
    [bottom] = find(blocks, "Difference from the best, top (first)").table[1:]
    assert bottom[0] == "bottom (last)"
    assert float(bottom[1]) > 0.1
    assert bottom[4] == "2"
    assert bottom[5].endswith("(seed 1)")
    controls = find(blocks, "Random and fresh layers").table[1:]
    assert [row[0] for row in controls] == ["random", "scratch"]
    assert [row[0] for row in find(blocks, "With the teacher's terms").table[1:]] == ["top (first)"]


def test_empty_blocks_are_left_out(tmp_path):
    write_run(tmp_path / "a", "top", 1, 0.9)
    write_run(tmp_path / "b", "odd", 1, 0.5)
    titles = [block.title.split(" (")[0].split(",")[0] for block in list_unit_blocks(analyse(tmp_path))]
    assert titles == ["sick", "Over seeds", "Difference from the best", "Verdict"]


def test_arms_that_share_no_seed_have_dashes(tmp_path):
    write_run(tmp_path / "a", "top", 1, 0.9)
    write_run(tmp_path / "b", "odd", 2, 0.5)
    blocks = list_unit_blocks(analyse(tmp_path))
    assert find(blocks, "Difference").table[1] == ["odd", "-", "-", "-", "none shared", "-"]
    assert find(blocks, "Remarks").lines == [
        "missing: top (first) has no run with seed 2",
        "missing: odd has no run with seed 1",
    ]


def test_what_was_left_out_is_named_with_the_reason(sweep):
    write_run(sweep / "hot", "top", 3, arguments={"temperature": 4.0})
    result = analyse(sweep)
    assert find(list_unit_blocks(result), "Left out").lines == [f"{sweep / 'hot'}: temperature 2 -> 4"]
    blocks = list_blocks([result], None, [LeftOut("torn", "predictions.npz is damaged")])
    assert find(blocks, "Left out of everything").lines == ["torn: predictions.npz is damaged"]


def test_what_was_known_before_training_has_its_n(tmp_path):
    for strategy, accuracy in {"top": 0.9, "odd": 0.5, "even": 0.7}.items():
        write_run(tmp_path / strategy, strategy, 1, accuracy, student={"untrained": {"loss": 2 - accuracy}})
    table = find(list_unit_blocks(analyse(tmp_path)), "Does that predict").table
    assert table[1:] == [["untrained loss", "strategies", "-1.00", "-1", "3"]]


def test_the_worth_of_the_teacher_is_told_by_the_start_that_has_it(tmp_path):
    """Several losses against one run without the teacher: only the first of the two names tells the rows apart."""
    for seed in (1, 2):
        for temperature in (1.0, 4.0):
            folder = tmp_path / f"hot{temperature:g}-{seed}"
            write_run(folder, "top", seed, 0.8, arguments={"temperature": temperature})
        write_run(tmp_path / f"alone{seed}", "top", seed, 0.7, arguments=WITHOUT_TEACHER)
    [unit] = group_runs(read_runs(find_run_folders([tmp_path]), ["temperature"])[0])
    table = find(list_unit_blocks(analyse_unit(unit, "auto", None, 200)), "With the teacher").table
    assert sorted(row[0] for row in table[1:]) == ["top (first), temperature 1", "top (first), temperature 4"]


def test_the_student_before_training_stands_beside_what_it_became(tmp_path):
    for strategy, loss in {"top": 0.5, "scratch": 2.0}.items():
        for seed in (1, 2):
            untrained = {"loss": loss + 0.2 * seed, "accuracy": 0.25, "kl_to_teacher": 0.125}
            write_run(tmp_path / f"{strategy}{seed}", strategy, seed, student={"untrained": untrained})
    write_run(tmp_path / "alone", "top", 1, student={"untrained": {"loss": 0.7}}, arguments=WITHOUT_TEACHER)
    write_run(tmp_path / "odd", "odd", 1)
    result = analyse(tmp_path)
    header, *rows = find(list_unit_blocks(result), "Before any training (validation rows)").table
    assert header[1:] == ["untrained loss", "untrained accuracy", "untrained kl_to_teacher", "trained accuracy (test)"]
    trained = {arm.name: f"{arm.average('metric'):.4f}" for arm in result.arms}
    assert sorted(rows) == [
        ["odd", "-", "-", "-", trained["odd"]],
        ["scratch", "2.3000", "0.2500", "0.1250", trained["scratch"]],
        ["top (first)", "0.8000", "0.2500", "0.1250", trained["top"]],
    ]


def test_ranks_over_tasks_are_sorted_and_the_method_stands_last(sweep):
    ranks = rank_over_tasks(["bottom", "top"], np.array([[0.5, 0.8], [0.6, 0.9]]))
    blocks = list_blocks([analyse(sweep)], ranks, [])
    assert find(blocks, "Over 2 tasks").table == [["", "mean rank"], ["top (first)", "1.00"], ["bottom (last)", "2.00"]]
    assert blocks[-1].title == "How it was computed"
    assert len(blocks[-1].lines) == 7
    assert "200 times" in blocks[-1].lines[2]
