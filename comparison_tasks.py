"""What all tasks say together: one row of means per task, ranks over the tasks.

Entry: `group_by_task`, `summarize_tasks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comparison import list_differences, list_settings
from comparison_results import UnitResult
from comparison_statistics import TaskRanks, rank_over_tasks


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

    None for fewer than two tasks or fewer than two such strategies.
    """
    tasks = group_by_task(results)
    names = sorted(set.intersection(*({arm.name for arm in unit.strategies} for task in tasks for unit in task.units)))
    if len(tasks) < 2 or len(names) < 2:
        return None
    values = np.empty((len(tasks), len(names)))
    for row, task in enumerate(tasks):
        found = [{arm.name: arm.estimate.value for arm in unit.strategies} for unit in task.units]
        values[row] = [np.mean([means[name] for means in found]) for name in names]
    return rank_over_tasks(names, values)
