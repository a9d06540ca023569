"""What the choice of the epoch leaves out: validation loss and metric of every arm, epoch by epoch.

    python -m benchmarks.learning_curves studies/limits/cola --vary num_train_epochs --picture curves.png

From the repository's root. Of runs of one task and one teacher, which may differ in the start and in whatever `--vary`
names (such as student_num_layers): the metric of the kept student, after the last epoch and in the best epoch, as means
over seeds, and each one's share of the teacher's. The best epoch is the one with the highest mean over seeds: it is
picked by what is shown, so it flatters. Kept are the final predictions, the others the evaluations during training,
which differ in rounding where that was in bfloat16. The last line is one JSON object.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layer_distillation.comparison.figure_style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    WIDTH_INCHES,
    wrap_name,
)
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.plots import save_figure
from layer_distillation.comparison.runs import VARIED_LOSS, Run, read_runs

LOOKS = list(zip([BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK], "os^Dv*P", strict=True))
LOSS = "eval_loss"

# What all curves of one picture have in common.
COMMON: dict[str, Callable[[Run], Any]] = {
    "a task": lambda run: (run.record.task["name"], run.record.task["metric_names"]),
    "validation rows": lambda run: np.sort(run.get_truth(run.selecting_split).labels).tolist(),
    "a teacher": lambda run: run.record.teacher["fingerprint"],
}
Curves = Mapping[str, Mapping[float, Sequence[float]]]  # arm -> epoch -> one value per seed


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="Runs of one task, or folders of them.")
    parser.add_argument("--vary", nargs="+", default=[], help="Arguments whose values make arms of their own.")
    parser.add_argument("--picture", type=Path, help="A PNG to draw.")
    arguments = parser.parse_args(argv)
    try:
        runs, left_out = read_runs(find_run_folders(arguments.runs), varied=arguments.vary)
        for folder, reason in left_out:
            print(f"left out: {folder}: {reason}", file=sys.stderr)
        report = make_report(runs)
        if arguments.picture:
            save_figure(build_learning_curves(runs), arguments.picture)
    except (ValueError, OSError) as error:
        print(f"learning_curves.py: error: {error}", file=sys.stderr)
        return 2
    print(format_report(report))
    print(json.dumps(report))
    return 0


# ---- figures -------------------------------------------------------------------------------------------------------


def make_report(runs: Sequence[Run]) -> dict[str, Any]:
    """All that is printed.

    Raises:
        ValueError: no run, several tasks or teachers, a seed twice in one arm, other epochs for one seed than for
            another, a name of what is varied that no run has.
    """
    if not runs:
        raise ValueError("no finished run is there: give a folder that holds some")
    first = runs[0]
    if unknown := set(first.varied) - {VARIED_LOSS, *first.record.arguments}:
        raise ValueError(f"--vary {min(unknown)}: no run has such a setting, give flags of run_distillation.py")
    check_alike(runs)
    metric = first.list_metrics()[0]
    curves = collect(runs, f"eval_{metric}")
    teacher = first.score(metric, first.selecting_split, "teacher")
    arms = {}
    for name, by_epoch in curves.items():
        kept = [run.score(metric, run.selecting_split) for run in runs if run.arm_name == name]
        means = {epoch: float(np.mean(values)) for epoch, values in by_epoch.items()}
        best = max(means, key=means.__getitem__)
        arms[name] = {
            "seeds": sorted(run.record.seed for run in runs if run.arm_name == name),
            "kept epochs": sorted({run.record.best_epoch or max(by_epoch) for run in runs if run.arm_name == name}),
            "kept": float(np.mean(kept)),
            "last": means[max(means)],
            "best": means[best],
            "best epoch": best,
        }
    return {"metric": f"{first.selecting_split} {metric}", "teacher": teacher, "arms": arms}


def check_alike(runs: Sequence[Run]) -> None:
    """Raises ValueError where curves could not be laid over one another."""
    first, seen = runs[0], set()
    for run in runs:
        for name, describe in COMMON.items():
            if describe(run) != describe(first):
                raise ValueError(f"{run.folder} has {name} that {first.folder} has not: give runs of one of them")
        key = (run.arm_name, run.record.seed)
        if key in seen:
            raise ValueError(f"{run.folder} is a second run of {key[0]}, seed {key[1]}: keep one of them")
        seen.add(key)


def collect(runs: Sequence[Run], name: str) -> dict[str, dict[float, list[float]]]:
    """Arm -> epoch -> the values of the seeds, all of which have every epoch."""
    curves: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        values = {entry["epoch"]: entry[name] for entry in run.record.history if name in entry}
        if not values:
            raise ValueError(f"{run.folder} has no {name} of any epoch in its history: leave it out")
        by_epoch = curves.setdefault(run.arm_name, {epoch: [] for epoch in values})
        if by_epoch.keys() != values.keys():
            raise ValueError(f"{run.folder} has not the epochs of others in its arm: name what differs with --vary")
        for epoch, value in values.items():
            by_epoch[epoch].append(value)
    return curves


def format_report(report: dict[str, Any]) -> str:
    """A table of the arms; every metric with its share of the teacher's."""

    def share(value: float) -> str:
        return f"{value:.3f} ({value / report['teacher']:.0%})" if report["teacher"] else f"{value:.3f}"

    titles = ["arm", "n", "kept epochs", "kept", "last epoch", "best epoch"]
    lines = [titles, ["---"] * len(titles)]
    for name, arm in report["arms"].items():
        epochs = " ".join(f"{epoch:g}" for epoch in arm["kept epochs"])
        best = f"{share(arm['best'])}, epoch {arm['best epoch']:g}"
        lines.append([name, str(len(arm["seeds"])), epochs, share(arm["kept"]), share(arm["last"]), best])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{report['metric']}, means over seeds (share of the teacher's {report['teacher']:.3f})"


# ---- picture -------------------------------------------------------------------------------------------------------


@matplotlib.rc_context(STYLE)
def build_learning_curves(runs: Sequence[Run]) -> Figure:
    """Validation loss and metric by epoch, side by side: means over seeds, bands from the lowest to the highest."""
    first = runs[0]
    metric, split = first.list_metrics()[0], first.selecting_split
    names = sorted({run.arm_name for run in runs}, key=len)
    num_columns = max(1, min(3, 110 // (len(names[-1]) + 9)))
    figure = Figure((WIDTH_INCHES, 3.6 + 0.22 * math.ceil(len(names) / num_columns)), layout="constrained")
    panels = figure.subplots(1, 2)
    teacher_loss = first.record.teacher["metrics"].get(split, {}).get("loss", math.nan)
    draw_curves(panels[0], collect(runs, LOSS), teacher_loss, f"{split} loss")
    draw_curves(panels[1], collect(runs, f"eval_{metric}"), first.score(metric, split, "teacher"), f"{split} {metric}")
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(
        handles,
        [wrap_name(label, 100) for label in labels],
        loc="outside lower center",
        ncols=num_columns,
        handlelength=3,
    )
    return figure


def draw_curves(panel: Axes, curves: Curves, teacher_value: float, name: str) -> None:
    for index, (arm, by_epoch) in enumerate(curves.items()):
        color, marker = LOOKS[index % len(LOOKS)]
        style = "-" if index < len(LOOKS) else ":"
        epochs = sorted(by_epoch)
        values = [by_epoch[epoch] for epoch in epochs]
        panel.plot(
            epochs, [float(np.mean(seeds)) for seeds in values], label=arm, color=color, marker=marker, ls=style, lw=1.4
        )
        panel.fill_between(epochs, list(map(min, values)), list(map(max, values)), color=color, alpha=0.15, lw=0)
    panel.axhline(teacher_value, color=GREY, linestyle="--", label="teacher")
    panel.set(xlabel="epoch", ylabel=name)
    panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    panel.grid(True)


if __name__ == "__main__":
    sys.exit(main())
