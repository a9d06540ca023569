"""A teacher that no constant answer is behind counts in no mean over tasks, and its tables say so."""

import json

import numpy as np
import pytest

from layer_distillation.comparison.files import write_reports
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.report import list_blocks
from layer_distillation.comparison.results import UnitResult, analyse_unit
from layer_distillation.comparison.runs import Run, read_run, read_runs
from layer_distillation.comparison.tasks import gather_kept_shares, summarize_tasks
from layer_distillation.comparison.teacher_lead import measure_lead
from layer_distillation.tasks.kinds.entry import NUMBER
from simulated_runs import WITHOUT_TEACHER, write_run


def set_teacher(run: Run, split: str, decisions: np.ndarray) -> Run:
    """Logits of these decisions; of a regression the scores themselves."""
    logits = decisions[:, None] if run.outputs == NUMBER else np.eye(len(run.record.task["label_names"]))[decisions]
    run.arrays[f"{split}.teacher_logits"] = logits.astype(np.float32)
    return run


def make_run(folder, labels: np.ndarray, decisions: np.ndarray, metric_name: str, num_classes: int = 2) -> Run:
    rows = {"train": 9, "validation": 9, "test": len(labels)}
    run = read_run(write_run(folder, rows=rows, num_classes=num_classes, metric_names=(metric_name,)))
    run.arrays["test.labels"] = labels
    run.__dict__.pop("labelled_rows", None)  # of the labels before
    return set_teacher(run, "test", decisions)


def test_accuracy_is_held_against_the_largest_class(tmp_path):
    """By hand: 60 of 100 rows are class 1; of 70 right decisions the difference is 0.1, of row differences -1, 0, 1."""
    labels = np.repeat([1, 0], [60, 40])
    decisions = np.repeat([1, 0, 1, 0], [50, 10, 20, 20])
    lead = measure_lead(make_run(tmp_path / "a", labels, decisions, "accuracy"), "test", "accuracy")
    assert (lead.teacher, lead.constant, lead.answer) == (pytest.approx(0.7), pytest.approx(0.6), "class 1")
    error = np.sqrt((0.3 - 0.1**2) / 100)  # 10 rows lost to the constant answer, 20 won
    assert lead.estimate.low == pytest.approx(0.1 - 1.984 * error, abs=0.006)
    assert not lead.is_shown
    assert lead.describe().startswith(
        "is not told from the majority class: accuracy 0.700 against 0.600, 95 % interval of the difference [-0.0"
    )


@pytest.mark.parametrize(
    ("metric_name", "num_classes", "constant", "rival"),
    [
        ("f1", 2, 0.75, "answering class 1 always"),
        ("macro_f1", 2, 0.375, "answering class 1 always"),
        ("matthews_correlation", 2, 0.0, "zero"),
        ("pearson", 1, 0.0, "zero"),
        ("spearmanr", 1, 0.0, "zero"),
    ],
)
def test_each_metric_is_held_against_its_best_constant_answer(tmp_path, metric_name, num_classes, constant, rival):
    """By hand: 60 of 100 rows are class 1, so that always answering it has F1 2 * 0.6 / 1.6."""
    labels = np.repeat([1, 0], [60, 40])
    generator = np.random.default_rng(0)
    if num_classes == 1:
        labels = labels.astype(np.float32)
        good, bad = labels + generator.normal(0, 0.3, 100), generator.normal(0, 1, 100)
    else:
        good, bad = np.where(generator.random(100) < 0.95, labels, 1 - labels), generator.integers(0, 2, 100)
    for name, decisions, is_shown in (("good", good, True), ("bad", bad, False)):
        run = make_run(tmp_path / name, labels, decisions, metric_name, num_classes)
        lead = measure_lead(run, "test", metric_name)
        assert (lead.constant, lead.rival, lead.is_shown) == (pytest.approx(constant), rival, is_shown)


@pytest.mark.parametrize(("metric_name", "constant"), [("roc_auc", 0.5), ("average_precision", 0.25)])
def test_a_ranking_is_held_against_rows_that_are_all_tied(tmp_path, metric_name, constant):
    labels = np.repeat([0, 1], [75, 25])
    lead = measure_lead(make_run(tmp_path / "a", labels, labels, "accuracy"), "test", metric_name)
    assert (lead.teacher, lead.constant, lead.rival) == (1.0, pytest.approx(constant), "one answer for all rows")
    assert lead.is_shown


def test_a_teacher_that_is_a_constant_itself_is_not_beyond_it(tmp_path):
    labels = np.repeat([1, 0], [60, 40])
    lead = measure_lead(make_run(tmp_path / "a", labels, np.ones_like(labels), "accuracy"), "test", "accuracy")
    assert (lead.estimate.value, lead.is_shown) == (0, False)


def test_without_the_teachers_outputs_nothing_is_judged(tmp_path):
    run = make_run(tmp_path / "a", np.arange(9) % 2, np.arange(9) % 2, "accuracy")
    del run.arrays["test.teacher_logits"]
    assert measure_lead(run, "test", "accuracy") is None


# ---- over tasks ----------------------------------------------------------------------------------------------------


def analyse(folder, weak: tuple[str, ...]) -> list[UnitResult]:
    """Three tasks; of the weak ones the teacher answers the same to every row."""
    for task, gains in {"mrpc": (0.0, -0.2), "rte": (-0.2, 0.0), "sick": (0.0, -0.2)}.items():
        for strategy, gain in zip(("top", "odd"), gains, strict=True):
            for seed in (1, 2):
                name = f"{task}-{strategy}{seed}"
                write_run(folder / name, strategy, seed, 0.9 + gain, seed_spread=0, task={"name": task})
        write_run(folder / f"{task}-alone", "top", 1, 0.6, task={"name": task}, arguments=WITHOUT_TEACHER)
    runs = read_runs(find_run_folders([folder]))[0]
    for run in runs:
        if run.record.task["name"] in weak:
            set_teacher(run, "test", np.zeros(len(run.arrays["test.labels"]), int))
    return [analyse_unit(unit, "auto", None, 200) for unit in group_runs(runs)]


def test_a_task_with_a_weak_teacher_leaves_every_mean_and_stays_in_its_tables(tmp_path):
    results = analyse(tmp_path, weak=("rte",))
    ranks = summarize_tasks(results)
    assert (ranks.num_tasks, ranks.mean_ranks) == (2, {"odd": 2.0, "top": 1.0})
    assert all(shares.keys() == {"mrpc", "sick"} for shares in gather_kept_shares(results).values())
    blocks = {block.title: block for block in list_blocks(results, ranks, [])}
    shares = blocks["How much of the teacher's metric is kept (chance not subtracted)"].table
    assert shares[0] == ["", "mrpc", "sick", "mean", "rte (not in the mean)"]
    means = [float(cell.rstrip("%")) for cell in shares[1][1:4]]
    assert means[2] == pytest.approx((means[0] + means[1]) / 2, abs=0.11)
    assert shares[1][4].endswith("%")
    [line] = [line for line in blocks["Verdict over tasks"].lines if "rte" in line]
    assert line.startswith("Not counted: rte, 2 layers: its teacher is not told from the majority class: accuracy 0.")
    own = blocks["rte, 2 layers: the kept students, means over seeds"].table
    assert own[1][0] == "Teacher, not beyond the majority class"
    assert blocks["sick, 2 layers: the kept students, means over seeds"].table[1][0] == "Teacher"
    worth = blocks["Is the teacher worth it? With its terms minus without"].table
    marked = [row[0] for row in worth if row[0].endswith("(teacher not beyond the majority class)")]
    assert marked == ["rte, 2 layers: test accuracy (teacher not beyond the majority class)"]


def test_the_json_says_which_tasks_count_and_why(tmp_path):
    results = analyse(tmp_path / "runs", weak=("rte",))
    write_reports(tmp_path, list_blocks(results, None, []), results, summarize_tasks(results), [])
    written = json.loads((tmp_path / "comparison.json").read_text())
    [left] = written["not_counted_over_tasks"]
    assert left["unit"] == "rte, 2 layers"
    assert "is not told from the majority class" in left["reason"]
    leads = {unit["name"]: unit["teacher"]["lead"] for unit in written["units"]}
    assert {name: lead["counts_over_tasks"] for name, lead in leads.items()} == {
        "mrpc, 2 layers": True,
        "rte, 2 layers": False,
        "sick, 2 layers": True,
    }
    assert leads["rte, 2 layers"]["estimate"]["low"] <= 0


@pytest.mark.parametrize("weak", [("rte", "sick"), ("mrpc", "rte", "sick")])
def test_where_fewer_than_two_tasks_count_there_are_no_means(tmp_path, weak):
    results = analyse(tmp_path, weak)
    assert summarize_tasks(results) is None
    assert gather_kept_shares(results) == {}
    blocks = {block.title: block for block in list_blocks(results, None, [])}
    lines = blocks["Verdict over tasks"].lines
    assert lines[0] == "None: fewer than two tasks count."
    assert len(lines) == 1 + len(weak)
    assert not any(title.startswith("How much") for title in blocks)
