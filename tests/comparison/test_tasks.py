"""Tasks count once each, by units that may be averaged."""

import pytest

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.report import list_blocks
from layer_distillation.comparison.results import analyse_unit
from layer_distillation.comparison.runs import read_runs
from layer_distillation.comparison.tasks import gather_kept_shares, gather_teacher_pairs, summarize_tasks
from layer_distillation.comparison.verdict import describe_scope
from simulated_runs import WITHOUT_TEACHER, write_run


def test_tasks_are_summarized_over_the_strategies_that_all_have(tmp_path):
    for task, accuracy in {"sick": 0.8, "mrpc": 0.9}.items():
        for strategy, gain in {"top": 0, "bottom": -0.3, "odd": -0.15}.items():
            name = f"{task}{strategy}"
            write_run(tmp_path / name, strategy, 1, accuracy + gain, task={"name": task})
    write_run(tmp_path / "extra", "even", 1, 0.95, task={"name": "mrpc"})
    for strategy, accuracy in {"top": 0.7, "bottom": 0.8, "odd": 0.2}.items():
        write_run(tmp_path / f"thin{strategy}", strategy, 1, accuracy, task={"name": "mrpc"}, student={"layers": [1]})
    units = group_runs(read_runs(find_run_folders([tmp_path]))[0])
    results = [analyse_unit(unit, "auto", None, 200) for unit in units]
    ranks = summarize_tasks(results)
    assert ranks.num_tasks == 2
    assert ranks.mean_ranks == {"bottom": 2.5, "odd": 2.5, "top": 1.0}
    assert summarize_tasks(results[:2]) is None


def test_the_share_of_the_teachers_metric_counts_every_task_once(tmp_path):
    """By hand: a task with two numbers of layers counts by their mean; an arm that a task lacks has no row."""
    for task in ("sick", "mrpc"):
        for strategy, accuracy in {"top": 0.8, "bottom": 0.5}.items():
            write_run(tmp_path / f"{task}{strategy}", strategy, 1, accuracy, task={"name": task})
    write_run(tmp_path / "extra", "even", 1, 0.95, task={"name": "mrpc"})
    for strategy, accuracy in {"top": 0.6, "bottom": 0.5}.items():
        write_run(tmp_path / f"thin{strategy}", strategy, 1, accuracy, task={"name": "mrpc"}, student={"layers": [1]})
    units = group_runs(read_runs(find_run_folders([tmp_path]))[0])
    results = [analyse_unit(unit, "test", None, 200) for unit in units]
    values = {(result.unit.task_name, result.unit.num_layers): result for result in results}
    assert len(values) == 3

    def share(key):
        top = next(arm for arm in values[key].arms if arm.name == "top")
        return top.average("metric") / values[key].teacher_metric["test"]

    sick, mrpc = ([share(key) for key in values if key[0] == task] for task in ("sick", "mrpc"))
    assert len(mrpc) == 2
    shares = gather_kept_shares(results)
    assert list(shares) == ["top", "bottom"]
    assert shares["top"] == pytest.approx({"sick": sick[0], "mrpc": sum(mrpc) / 2})
    assert gather_kept_shares(results[:1]) == {}
    table = next(block.table for block in list_blocks(results, None, []) if block.title.startswith("How much"))
    assert sorted(table[0]) == ["", "mean", "mrpc", "sick"]
    assert table[1][-1] == f"{(sick[0] + sum(mrpc) / 2) / 2:.1%}"


def test_arms_that_are_each_in_other_tasks_make_no_table_of_shares(tmp_path):
    """Each arm is in two of three tasks, none in all."""
    for task, missing in {"sick": "top", "mrpc": "odd", "cola": "even"}.items():
        for strategy in {"top", "odd", "even"} - {missing}:
            write_run(tmp_path / f"{task}{strategy}", strategy, 1, 0.8, task={"name": task})
    results = [analyse_unit(unit, "auto", None, 200) for unit in group_runs(read_runs(find_run_folders([tmp_path]))[0])]
    assert gather_kept_shares(results) == {}
    assert not [block for block in list_blocks(results, None, []) if block.title.startswith("How much")]


@pytest.mark.parametrize(
    "difference",
    [
        {"task": {"fingerprint": "others"}},
        {"teacher": {"fingerprint": "others"}},
        {"arguments": {"num_train_epochs": 1.0}},
        {"metric_names": ("macro_f1",)},
        {"has_test_labels": False},
    ],
)
def test_numbers_of_layers_that_differ_in_more_are_not_averaged(tmp_path, difference):
    for strategy, accuracy in {"top": 0.9, "odd": 0.6}.items():
        write_run(tmp_path / f"a{strategy}", strategy, 1, accuracy)
        more = difference | {"task": {"name": "sick"} | difference.get("task", {})}
        write_run(tmp_path / f"b{strategy}", strategy, 1, 1 - accuracy, student={"layers": [1]}, **more)
        write_run(tmp_path / f"c{strategy}", strategy, 1, accuracy, task={"name": "mrpc"})
    units = group_runs(read_runs(find_run_folders([tmp_path]))[0])
    results = [analyse_unit(unit, "auto", None, 200) for unit in units]
    ranks = summarize_tasks(results)
    assert describe_scope(results, ranks)[0].startswith("Not ranked: sick, 2 layers, which is not to be averaged with")
    assert ranks.mean_ranks == {"odd": 1.5, "top": 1.5}  # of the equally large sets the first: 1 layer


def test_the_worth_of_the_teacher_is_corrected_over_the_tasks(tmp_path):
    """By hand: of three p-values the smallest counts three times, the next twice; none below the one before."""
    for task, gain in {"sick": 0.25, "mrpc": 0.06, "rte": 0.0}.items():
        for seed in (1, 2, 3):
            for name, arguments in (("with", None), ("alone", WITHOUT_TEACHER)):
                accuracy = 0.6 + gain * (name == "with")
                folder = tmp_path / f"{task}{name}{seed}"
                write_run(folder, "top", seed, accuracy, task={"name": task}, arguments=arguments)
    results = [analyse_unit(unit, "auto", None, 200) for unit in group_runs(read_runs(find_run_folders([tmp_path]))[0])]
    pairs = gather_teacher_pairs(results)
    raw = sorted(entry.pair.estimate.p_value for entry in pairs)
    expected = [min(1, raw[0] * 3), max(min(1, raw[0] * 3), min(1, raw[1] * 2))]
    assert sorted(entry.adjusted_p_value for entry in pairs)[:2] == pytest.approx(expected)
    [block] = [block for block in list_blocks(results, None, []) if block.title.startswith("Is the teacher worth it")]
    table = {row[0]: row for row in block.table[1:]}
    assert table.keys() == {f"{task}, 2 layers: test accuracy" for task in ("sick", "mrpc", "rte")}
    assert all(len(row) == len(block.table[0]) for row in table.values())
    assert float(table["sick, 2 layers: test accuracy"][5]) > 0.15
    assert gather_teacher_pairs(results[:1]) == []
