"""What all tasks say together: ranks, the share of the teacher's metric that is kept, the worth of the teacher on each.

Means are over the tasks whose teacher is beyond a constant answer (`comparison/teacher_lead.py`).

Entry: `group_by_task`, `summarize_tasks`, `gather_kept_shares`, `gather_teacher_pairs`, `list_not_counted`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from layer_distillation.comparison.grouping import list_differences, list_settings
from layer_distillation.comparison.pairs import Pair
from layer_distillation.comparison.results import UnitResult
from layer_distillation.comparison.statistics import TaskRanks, adjust_by_holm, rank_over_tasks


@dataclass
class Task:
    """The units of a task that differ in the number of layers alone, and the others with what else differs in them."""

    name: str
    units: list[UnitResult]
    left_out: list[tuple[UnitResult, str]]


def group_by_task(results: Sequence[UnitResult]) -> list[Task]:
    """One entry per task; the largest set of units that may be averaged, of equally large ones the first."""
    tasks = []
    for name in dict.fromkeys(result.unit.task_name for result in results):
        units = [result for result in results if result.unit.task_name == name]
        sets = [[other for other in units if not describe_mismatch(unit, other)] for unit in units]
        kept = max(sets, key=len)
        others = [unit for unit in units if unit not in kept]
        tasks.append(Task(name, kept, [(unit, describe_mismatch(kept[0], unit)) for unit in others]))
    return tasks


def describe_mismatch(first: UnitResult, second: UnitResult) -> str:
    """In what else than the number of layers two units of a task differ; empty where in nothing."""
    described = [
        list_settings(result.unit.runs[0]) | {"split": result.split, "metric": result.metric_name}
        for result in (first, second)
    ]
    return "; ".join(list_differences(*described).values())


def summarize_tasks(results: Sequence[UnitResult]) -> TaskRanks | None:
    """Over the strategies that every task has; a task with several numbers of layers counts once, by its mean.

    None for fewer than two tasks that count or fewer than two such strategies.
    """
    tasks = group_by_task([result for result in results if result.counts_over_tasks])
    if len(tasks) < 2:
        return None
    names = sorted(set.intersection(*({arm.name for arm in unit.strategies} for task in tasks for unit in task.units)))
    if len(names) < 2:
        return None
    values = np.empty((len(tasks), len(names)))
    for row, task in enumerate(tasks):
        found = [{arm.name: arm.estimate.value for arm in unit.strategies} for unit in task.units]
        values[row] = [np.mean([means[name] for means in found]) for name in names]
    return rank_over_tasks(names, values)


def gather_kept_shares(results: Sequence[UnitResult]) -> dict[str, dict[str, float]]:
    """Arm -> task -> share of the teacher's metric, for the arms that every task has, the highest mean first.

    A task with several numbers of layers counts once, by its mean; one without such a share is left out. Empty for
    fewer than two tasks that count.
    """
    shares = list_shares([result for result in results if result.counts_over_tasks])
    num_tasks = len({task for by_task in shares.values() for task in by_task})
    whole = {name: by_task for name, by_task in shares.items() if len(by_task) == num_tasks > 1}
    return dict(sorted(whole.items(), key=lambda item: (-np.mean(list(item[1].values())), item[0])))


def gather_uncounted_shares(results: Sequence[UnitResult]) -> dict[str, dict[str, float]]:
    """The same of the tasks that are in no mean, where they have the arm."""
    counted = {result.unit.task_name for result in results if result.counts_over_tasks}
    return list_shares([result for result in results if result.unit.task_name not in counted])


def list_shares(results: Sequence[UnitResult]) -> dict[str, dict[str, float]]:
    shares: dict[str, dict[str, float]] = {}
    for task in group_by_task(results):
        if all(has_shares(unit) for unit in task.units):
            found = [{arm.name: unit.get_kept_share(arm) for arm in unit.arms} for unit in task.units]
            for name in set.intersection(*map(set, found)):
                shares.setdefault(name, {})[task.name] = float(np.mean([unit[name] for unit in found]))
    return shares


def has_shares(result: UnitResult) -> bool:
    return result.get_kept_share(result.best) is not None


def list_not_counted(results: Sequence[UnitResult]) -> list[tuple[str, str]]:
    """Name of a unit that is in no mean over tasks, and why in words."""
    return [
        (result.unit.name, f"its teacher {result.teacher_lead.describe()}")
        for result in results
        if result.teacher_lead is not None and not result.counts_over_tasks
    ]


class TeacherPair(NamedTuple):
    """A start with the teacher's terms against the same without, on one task."""

    result: UnitResult
    pair: Pair
    adjusted_p_value: float  # by Holm over the tasks


def gather_teacher_pairs(results: Sequence[UnitResult]) -> list[TeacherPair]:
    """All of them that share seeds, whatever the task: one question asked several times. Empty for a single task."""
    found = [(result, pair) for result in results for pair in result.teacher_comparisons if pair.estimate is not None]
    if len({id(result) for result, _ in found}) < 2:
        return []
    adjusted = adjust_by_holm([pair.estimate.p_value for _, pair in found])
    return [TeacherPair(*entry, p_value) for entry, p_value in zip(found, adjusted, strict=True)]
