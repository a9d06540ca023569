"""The pictures of a comparison, from its numbers: which arms and values go into which plot.

Entry: `draw_pictures`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from layer_distillation.comparison.plots import (
    ArmInterval,
    ParetoPoint,
    plot_layer_map,
    plot_loss_curves,
    plot_mean_ranks,
    plot_metric_intervals,
    plot_pareto,
)
from layer_distillation.comparison.results import ArmResult, UnitResult
from layer_distillation.comparison.statistics import TaskRanks
from layer_distillation.comparison.tasks import group_by_task
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.run_record import find_loss_name
from layer_distillation.tasks.kinds.entry import NUMBER

MAX_NAME_CHARACTERS = 60  # of up to 4 bytes each: the name of a folder has at most 255


def draw_pictures(results: Sequence[UnitResult], ranks: TaskRanks | None, folder: Path) -> list[Path]:
    """One set for every unit, in a folder of its own where there are several; returns what was drawn."""
    drawn = []
    for number, result in enumerate(results, start=1):
        unit_folder = folder if len(results) == 1 else folder / f"{number}-{clean_file_name(result.unit.name)}"
        unit_folder.mkdir(exist_ok=True)
        drawn += draw_unit(result, unit_folder)
    for number, task in enumerate(group_by_task(results), start=1):
        if len(task.units) > 1:
            drawn.append(folder / f"pareto-{number}-{clean_file_name(task.name)}.png")
            draw_sizes(task.units, drawn[-1])
    if ranks is not None:
        drawn.append(folder / "mean_ranks.png")
        mean_ranks = {show_strategy(name): rank for name, rank in ranks.mean_ranks.items()}
        plot_mean_ranks(mean_ranks, ranks.critical_difference, drawn[-1])
    return drawn


def draw_unit(result: UnitResult, folder: Path) -> list[Path]:
    """Losses by epoch, the metric with intervals, where the layers come from, quality against size."""
    metric_name = f"{result.split} {result.metric_name}"
    curves = {show_strategy(arm.name): [run.run.record.history for run in arm.runs] for arm in result.arms}
    outputs = result.unit.runs[0].outputs
    task_loss = "squared error" if outputs == NUMBER else "cross-entropy (nats)"
    if (loss := result.name_loss(result.selecting_split)) != "loss":  # no row that chose the epoch had a gold label
        task_loss = loss
        curves = {name: [list(map(name_validation_loss, history)) for history in runs] for name, runs in curves.items()}
    plot_loss_curves(curves, folder / "loss_curves.png", task_loss)
    intervals = [make_interval(arm, arm in result.controls) for arm in result.arms]
    teacher_value = result.teacher_metric.get(result.split)
    plot_metric_intervals(intervals, metric_name, teacher_value, folder / "metric_intervals.png")
    record = result.unit.runs[0].record
    source = record.student.get("source") or {}
    num_layers = source.get("layers") or record.teacher["layers"]
    plot_layer_map(list_layers(result), num_layers, folder / "layer_map.png")
    plot_pareto([*make_teacher_points(result), *map(make_point, result.arms)], metric_name, folder / "pareto.png")
    return [folder / f"{name}.png" for name in ("metric_intervals", "loss_curves", "layer_map", "pareto")]


def name_validation_loss(entry: dict[str, float]) -> dict[str, float]:
    """An entry of a history in which the distance to the teacher stands where the loss does."""
    scores = {name.removeprefix("eval_"): value for name, value in entry.items() if name.startswith("eval_")}
    return entry | {"eval_loss": scores[find_loss_name(scores)]}


def draw_sizes(units: Sequence[UnitResult], path: Path) -> None:
    """Quality against size over all numbers of layers of one task: the strategies, and their teacher."""
    points = make_teacher_points(units[0])
    for result in units:
        layers = result.unit.name.removeprefix(result.unit.task_name)
        points += [point._replace(name=point.name + layers) for point in map(make_point, result.strategies)]
    plot_pareto(points, f"{units[0].split} {units[0].metric_name}", path)


def make_interval(arm: ArmResult, is_control: bool) -> ArmInterval:
    estimate = arm.estimate
    return ArmInterval(
        show_strategy(arm.name), estimate.value, estimate.low, estimate.high, arm.list_values("metric"), is_control
    )


def make_point(arm: ArmResult) -> ParetoPoint:
    parameters = arm.runs[0].run.record.student["parameters"]
    return ParetoPoint(show_strategy(arm.name), parameters, arm.estimate.value, arm.estimate.low, arm.estimate.high)


def make_teacher_points(result: UnitResult) -> list[ParetoPoint]:
    """The teacher, one model without an interval; none where it has no score of the split."""
    value = result.teacher_metric.get(result.split)
    parameters = result.unit.runs[0].record.teacher["parameters"]
    return [] if value is None or parameters is None else [ParetoPoint("teacher", parameters, value, value, value)]


def list_layers(result: UnitResult) -> dict[str, list[int | None]]:
    """By arm; every draw of `random` by itself. The same start without a teacher has the same layers."""
    layers: dict[str, list[int | None]] = {}
    for arm in result.arms:
        for run in arm.runs:
            name = f"random, seed {run.run.record.seed}" if arm.arm.strategy == "random" else arm.arm.strategy
            layers.setdefault(show_strategy(name), run.run.layers)
    return layers


def clean_file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[:MAX_NAME_CHARACTERS].strip("-.")
