"""Is the teacher worth it, by rows? The metric over the number of training rows, for the default loss, logits alone and
labels alone.

    python -m benchmarks.row_curves studies/rows --picture rows.png

From the repository's root. Of finished runs, or archives of them, of any tasks that differ in --max_train_samples, loss
and seed: per task and number of rows the mean over seeds of each loss, on the test rows where they are labelled, and
the difference from labels alone, paired by seed and row, with the comparison's 95 % interval (rows are resampled, seeds
enter by their variance). Of tuned runs (`run_all_strategies.sh --tune`) the chosen ones count. Settings may differ
from one number of rows to the next, as epochs do; within one they agree in all but the loss. The last line is one JSON
object.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from layer_distillation.comparison.arms import Arm, list_summed
from layer_distillation.comparison.figure_style import BLACK, BLUE, GREY, ORANGE, STYLE, VERMILION, WIDTH_INCHES
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import Unit, list_differences, list_settings
from layer_distillation.comparison.pairs import PairedScores
from layer_distillation.comparison.plots import save_figure
from layer_distillation.comparison.results import choose_split
from layer_distillation.comparison.runs import LOSS_ARGUMENTS, TEACHER_TERMS, Run, read_runs
from layer_distillation.comparison.tuning import settle_tuning
from layer_distillation.losses.flags import LossFlags

LABELS, LOGITS, DEFAULT, OTHER = "labels alone", "logits alone", "default loss", "logits and layers"
LOOKS = {DEFAULT: (BLUE, "o"), OTHER: (BLUE, "o"), LOGITS: (VERMILION, "s"), LABELS: (ORANGE, "^")}
DODGE = {DEFAULT: -0.015, OTHER: -0.015, LOGITS: 0.015}  # of a panel's width: intervals stand beside each other
MARGIN = 1.25
MOST_COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """One loss with one number of rows; `difference` from labels alone, None for these or where no seed is shared."""

    loss: str
    rows: int
    values: list[float]
    difference: tuple[float, float, float] | None  # with the ends of its 95 % interval

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Task:
    name: str
    metric: str  # with its split
    teacher: float
    points: list[Point]

    def select(self, loss: str) -> list[Point]:
        return [point for point in self.points if point.loss == loss]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="Runs, folders or archives of them.")
    parser.add_argument("--picture", type=Path, help="A PNG to draw.")
    parser.add_argument("--resamples", type=int, default=10_000, help="Resamples of the rows. Default: 10000.")
    arguments = parser.parse_args(argv)
    try:
        runs, left_out = read_runs(find_run_folders(arguments.runs))
        for folder, reason in left_out:
            print(f"left out: {folder}: {reason}", file=sys.stderr)
        tasks = measure_tasks(runs, arguments.resamples)
        if arguments.picture:
            save_figure(build_row_curves(tasks), arguments.picture)
    except (ValueError, OSError) as error:
        print(f"row_curves.py: error: {error}", file=sys.stderr)
        return 2
    print(format_table(tasks))
    print(json.dumps([dataclasses.asdict(task) for task in tasks]))
    return 0


# ---- figures -------------------------------------------------------------------------------------------------------


def measure_tasks(runs: Sequence[Run], num_resamples: int) -> list[Task]:
    """In the order of their names.

    Raises:
        ValueError: there is no run, a task has several teachers or test sets, or runs with equally many rows differ
            in more than loss and seed.
    """
    if not runs:
        raise ValueError("no finished run is there: give a folder that holds some")
    names = sorted({run.record.task["name"] for run in runs})
    return [
        measure_task(name, [run for run in runs if run.record.task["name"] == name], num_resamples) for name in names
    ]


def measure_task(name: str, runs: Sequence[Run], num_resamples: int) -> Task:
    first, split = runs[0], choose_split(runs[0], "auto")
    metric = first.list_metrics()[0]
    for run in runs:
        if run.record.teacher["fingerprint"] != first.record.teacher["fingerprint"]:
            raise ValueError(f"{run.folder} has another teacher than {first.folder}: give runs of one for each task")
        if not np.array_equal(run.arrays[f"{split}.labels"], first.arrays[f"{split}.labels"], equal_nan=True):
            raise ValueError(f"{run.folder} has other {split} rows than {first.folder}: give runs with the same ones")
    sizes = sorted({count_rows(run) for run in runs})
    points = [
        point
        for size in sizes
        for point in measure_size(name, [run for run in runs if count_rows(run) == size], split, metric, num_resamples)
    ]
    return Task(name, f"{split} {metric}", first.score(metric, split, "teacher"), points)


def count_rows(run: Run) -> int:
    return run.record.task["rows"]["train"]


def measure_size(name: str, runs: Sequence[Run], split: str, metric: str, num_resamples: int) -> list[Point]:
    """The losses with equally many rows, labels alone last."""
    check_alike(runs)
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(name_loss(run), []).append(run)
    arms = {loss: make_arm(loss, found[loss]) for loss in LOOKS if loss in found}
    scores = PairedScores(Unit(name, len(runs[0].layers), list(arms.values())), split, metric, num_resamples)
    others = [arm for loss, arm in arms.items() if loss != LABELS]
    pairs = scores.compare_all([(arm, arms[LABELS]) for arm in others]) if LABELS in arms else []
    differences = {pair.first: pair.estimate for pair in pairs if pair.estimate is not None}
    return [
        Point(
            loss,
            count_rows(runs[0]),
            [float(scores.scores[place]) for place in scores.find(arm.runs)],
            (found.value, found.low, found.high) if (found := differences.get(loss)) else None,
        )
        for loss, arm in arms.items()
    ]


def name_loss(run: Run) -> str:
    """By the teacher's terms that are on."""
    arguments = run.record.arguments
    terms = {name for name in TEACHER_TERMS if arguments[name] > 0 or name in arguments["schedules"]}
    if not terms:
        return LABELS
    if terms == {"kl_weight"}:
        return LOGITS
    defaults = {field.name: field.default for field in dataclasses.fields(LossFlags)}
    return DEFAULT if all(arguments[name] == defaults[name] for name in ("ce_weight", *TEACHER_TERMS)) else OTHER


def make_arm(loss: str, runs: Sequence[Run]) -> Arm:
    """By seed. Raises ValueError for a seed that is there twice, and for runs whose losses only have one name."""
    kept, tuning, _ = settle_tuning(loss, runs)
    kept.sort(key=lambda run: run.record.seed)
    for before, run in pairwise(kept):
        if list_summed(before) != list_summed(run):
            raise ValueError(
                f"{before.folder} and {run.folder} are both {loss}, and what their loss sums differs (a weight, the "
                "temperature, ...): give one of them alone"
            )
        if before.record.seed == run.record.seed:
            raise ValueError(
                f"{before.folder} and {run.folder} are both {loss} with {count_rows(run):,} rows and seed "
                f"{run.record.seed}: keep one of them"
            )
    return Arm(loss, kept, tuning)


def check_alike(runs: Sequence[Run]) -> None:
    """Raises ValueError where runs with equally many rows differ in more than the loss."""
    for found in (runs, [run for run in runs if run.has_teacher_terms]):  # who alone have a transfer set
        check_like_first(sorted(found, key=lambda run: run.has_teacher_terms))


def check_like_first(runs: Sequence[Run]) -> None:
    """As far as the first one has it: what labels alone have, the others have too."""
    wanted = describe(runs[0]) if runs else {}
    for run in runs:
        own = {name: value for name, value in describe(run).items() if name in wanted}
        if differences := list_differences(wanted, own):
            raise ValueError(
                f"{runs[0].folder} and {run.folder} have equally many rows and differ in more than their loss "
                f"({'; '.join(differences.values())}): give runs that do not"
            )


def describe(run: Run) -> dict[str, Any]:
    settings = list_settings(run) | {"start": run.start_name, "layers": run.layers}
    return {name: value for name, value in settings.items() if name not in LOSS_ARGUMENTS}


def format_table(tasks: Sequence[Task]) -> str:
    titles = ["task", "rows", "loss", "n", "mean ± sd", "of the teacher's", "minus labels alone [95 %]"]
    lines = [titles, ["---"] * len(titles)]
    for task in tasks:
        for point in task.points:
            spread = f"{np.std(point.values, ddof=1):.4f}" if len(point.values) > 1 else "-"
            share = f"{point.mean / task.teacher:.1%}" if task.teacher > 0 else "-"
            own = [point.loss, str(len(point.values)), f"{point.mean:.4f} ± {spread}", share]
            lines.append([f"{task.name}: {task.metric}", f"{point.rows:,}", *own, format_difference(point)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return table + "\n\n" + "; ".join(f"{task.name}: teacher {task.teacher:.4f}" for task in tasks)


def format_difference(point: Point) -> str:
    if point.difference is None:
        return "-"
    value, low, high = point.difference
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


# ---- picture -------------------------------------------------------------------------------------------------------


@matplotlib.rc_context(STYLE)
def build_row_curves(tasks: Sequence[Task]) -> Figure:
    """A column per task: above the metric, means over seeds with bands from the lowest to the highest, below what the
    teacher brings, with 95 % intervals."""
    num_columns, num_blocks = min(len(tasks), MOST_COLUMNS), math.ceil(len(tasks) / MOST_COLUMNS)
    figure = Figure((WIDTH_INCHES, 0.6 + 4.9 * num_blocks), layout="constrained")
    panels = figure.subplots(2 * num_blocks, num_columns, squeeze=False, height_ratios=[3, 2] * num_blocks)
    for panel in panels.flat:
        panel.set_visible(False)
    for index, task in enumerate(tasks):
        row, column = 2 * (index // num_columns), index % num_columns
        draw_metric(panels[row, column], task)
        draw_differences(panels[row + 1, column], task)
        if column == 0:
            panels[row + 1, column].set_ylabel("minus labels alone")
    shown: dict[str, Any] = {}
    for panel in panels[0::2].flat:
        handles, names = panel.get_legend_handles_labels()
        shown |= dict(zip(names, handles, strict=True))
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown), handlelength=3)
    return figure


def draw_metric(panel: Axes, task: Task) -> None:
    panel.set_visible(True)
    for loss, (color, marker) in LOOKS.items():
        if points := task.select(loss):
            rows, values = [point.rows for point in points], [point.values for point in points]
            means = [point.mean for point in points]
            panel.plot(rows, means, label=loss, color=color, marker=marker, lw=1.6)
            panel.fill_between(rows, list(map(min, values)), list(map(max, values)), color=color, alpha=0.15, lw=0)
    panel.axhline(task.teacher, color=GREY, linestyle="--", label="teacher")
    panel.set(title=task.name, ylabel=task.metric)
    scale_rows(panel, task)


def draw_differences(panel: Axes, task: Task) -> None:
    panel.set_visible(True)
    sizes = [point.rows for point in task.points]
    width = MARGIN**2 * max(sizes) / min(sizes)
    for loss, shift in DODGE.items():
        color, marker = LOOKS[loss]
        if points := [point for point in task.select(loss) if point.difference is not None]:
            values, lows, highs = np.array([point.difference for point in points]).T
            rows = [point.rows * width**shift for point in points]
            panel.errorbar(
                rows, values, yerr=[values - lows, highs - values], color=color, marker=marker, ls="none", capsize=2.5
            )
    panel.axhline(0, color=BLACK, linewidth=1)
    panel.set_xlabel("training rows")
    scale_rows(panel, task)


def scale_rows(panel: Axes, task: Task) -> None:
    """Doublings are equally far apart; every number of rows is named."""
    rows = sorted({point.rows for point in task.points})
    panel.set_xscale("log")
    panel.set_xlim(rows[0] / MARGIN, rows[-1] * MARGIN)
    panel.xaxis.set_major_locator(FixedLocator(rows))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(rows, [shorten(number) for number in rows])
    panel.grid(True)


def shorten(number: int) -> str:
    """Such as 250, 2k, 4.5k, 20k."""
    return str(number) if number < 1000 else f"{number / 1000:.1f}".removesuffix(".0") + "k"


if __name__ == "__main__":
    sys.exit(main())
