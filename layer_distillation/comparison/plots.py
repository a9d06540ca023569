"""Pictures for a comparison of layer strategies, as PNG files: `plot_*` draws and saves, `build_*` only draws.

Marker, line style and hatch carry the meaning; the colours only add to it. The objects of matplotlib are used without
pyplot, so that no window, backend or current figure is involved.
"""

import math
from itertools import accumulate, pairwise
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, NullFormatter

from layer_distillation.comparison.figure_style import (
    BLACK,
    BLUE,
    DOTS_PER_INCH,
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
from layer_distillation.comparison.metric_figures import (
    ArmInterval,
    ParetoPoint,
    build_mean_ranks,
    build_metric_intervals,
    build_pareto,
)

# Name in a history -> legend, colour, line style, marker; `{}` is the task's loss with its unit.
SERIES = {
    "eval_loss": ("validation {}", BLACK, "-", "o"),
    "train_loss": ("training total (weighted)", BLUE, "--", "s"),
    "train_ce_loss": ("training {}", VERMILION, ":", "^"),
    "train_kl_loss": ("training KL to teacher (nats)", GREEN, "-.", "D"),
    "train_hidden_loss": ("training hidden-state distance", ORANGE, (0, (5, 1, 1, 1, 1, 1)), "v"),
    "train_attention_loss": ("training attention distance", PURPLE, (0, (1, 3)), "P"),
    "train_logit_cosine_loss": ("training logit cosine distance", SKY, (0, (8, 2)), "X"),
    "train_pkd_loss": ("training distance of the head's token", SKY, (0, (3, 1)), "p"),
    "train_embedding_loss": ("training embedding distance", GREY, (0, (4, 2, 1, 2)), "h"),
    "train_relation_loss": ("training relation KL (nats)", PURPLE, (0, (6, 1)), "*"),
    "train_margin_loss": ("training squared error of margins", GREEN, (0, (3, 1, 1, 1)), ">"),
    "train_rkd_loss": ("training distance between rows", GREY, (0, (2, 2)), "<"),
}


def plot_loss_curves(
    curves: dict[str, list[list[dict[str, float]]]], path: Path, task_loss: str = "cross-entropy (nats)"
) -> None:
    """Saves `build_loss_curves`."""
    save_figure(build_loss_curves(curves, task_loss), path)


def plot_metric_intervals(
    intervals: list[ArmInterval], metric_name: str, teacher_value: float | None, path: Path
) -> None:
    """Saves `build_metric_intervals`."""
    save_figure(build_metric_intervals(intervals, metric_name, teacher_value), path)


def plot_layer_map(layers: dict[str, list[int | None]], num_teacher_layers: int, path: Path) -> None:
    """Saves `build_layer_map`."""
    save_figure(build_layer_map(layers, num_teacher_layers), path)


def plot_pareto(points: list[ParetoPoint], metric_name: str, path: Path) -> None:
    """Saves `build_pareto`."""
    save_figure(build_pareto(points, metric_name), path)


def plot_mean_ranks(mean_ranks: dict[str, float], critical_difference: float | None, path: Path) -> None:
    """Saves `build_mean_ranks`."""
    save_figure(build_mean_ranks(mean_ranks, critical_difference), path)


@matplotlib.rc_context(STYLE)
def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG in one step, `WIDTH_INCHES * DOTS_PER_INCH` pixels wide; equal figures give equal bytes."""
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        figure.savefig(unfinished, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


# ---- loss curves ---------------------------------------------------------------------------------------------------


@matplotlib.rc_context(STYLE)
def build_loss_curves(curves: dict[str, list[list[dict[str, float]]]], task_loss: str) -> Figure:
    """One panel per arm, shared axes: every loss by epoch, mean over the seeds with the band from lowest to highest.

    Args:
        curves: arm -> one `RunRecord.history` per seed; a loss that no history has is left out.
        task_loss: the loss behind `eval_loss` and `train_ce_loss`, with its unit.
    """
    entries = [entry for histories in curves.values() for history in histories for entry in history]
    is_wide = spans_decades(entries)
    num_rows = math.ceil(len(curves) / 4)
    num_columns = math.ceil(len(curves) / num_rows)
    titles = [wrap_name(name, 84 // num_columns) for name in curves]
    title_lines = max((title.count("\n") + 1 for title in titles), default=1)
    height = 0.9 + max((2.15 + 0.15 * title_lines) * num_rows, 3.0)
    figure = Figure((WIDTH_INCHES, height), layout="constrained")
    panels: list[Axes] = []
    for index, (title, histories) in enumerate(zip(titles, curves.values(), strict=True)):
        first = panels[0] if panels else None
        panel = figure.add_subplot(num_rows, num_columns, index + 1, sharex=first, sharey=first)
        panel.set_title(title)
        is_lowest, is_leftmost = index + num_columns >= len(curves), index % num_columns == 0
        panel.tick_params(labelbottom=is_lowest, labelleft=is_leftmost)
        panel.set(
            xlabel="epoch" if is_lowest else "",
            ylabel=("loss (log scale)" if is_wide else "loss") if is_leftmost else "",
        )
        panel.grid(True)
        draw_losses(panel, histories, task_loss)
        panels.append(panel)
    set_scales(panels[0], entries, is_wide)
    shown = {line.get_label(): line for panel in panels for line in panel.lines}
    if any(len(histories) > 1 for histories in curves.values()):
        shown["band: lowest to highest seed"] = Patch(facecolor=GREY, alpha=0.4)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3, handlelength=4)
    return figure


def draw_losses(panel: Axes, histories: list[list[dict[str, float]]], task_loss: str) -> None:
    for name, (label, color, line_style, marker) in SERIES.items():
        values_by_epoch: dict[float, list[float]] = {}
        for entry in (entry for history in histories for entry in history if name in entry):
            values_by_epoch.setdefault(entry["epoch"], []).append(entry[name])
        if not values_by_epoch:
            continue
        epochs = sorted(values_by_epoch)
        values = [values_by_epoch[epoch] for epoch in epochs]
        panel.plot(
            epochs, [float(np.mean(seeds)) for seeds in values], label=label.format(task_loss), color=color,
            linestyle=line_style, marker=marker, markersize=4.5, markevery=math.ceil(len(epochs) / 10), linewidth=1.4,
        )  # fmt: skip
        if len(histories) > 1:
            panel.fill_between(epochs, list(map(min, values)), list(map(max, values)), color=color, alpha=0.18, lw=0)


def spans_decades(entries: list[dict[str, float]]) -> bool:
    """Whether a linear axis would flatten the validation loss: some loss is over ten times as high, all are above 0."""
    losses = [entry[name] for entry in entries for name in SERIES if name in entry]
    validation = [entry["eval_loss"] for entry in entries if "eval_loss" in entry]
    return bool(validation) and min(losses) > 0 and max(losses) > 10 * max(validation)


def set_scales(panel: Axes, entries: list[dict[str, float]], is_wide: bool) -> None:
    """Ticks at whole epochs only, even where there is but one; plain numbers on a log axis."""
    epochs = [entry["epoch"] for entry in entries] or [1.0]
    margin = max(0.05 * (max(epochs) - min(epochs)), 0.1)
    panel.set_xlim(min(epochs) - margin, max(epochs) + margin)
    panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    if is_wide:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())


# ---- layer map -----------------------------------------------------------------------------------------------------

FRESH_CELL = {"facecolor": "white", "hatch": "////"}
EMPTY_CELL = {"facecolor": "white"}


@matplotlib.rc_context(STYLE)
def build_layer_map(layers: dict[str, list[int | None]], num_teacher_layers: int) -> Figure:
    """One row per strategy, one column per teacher layer; a filled cell names the student layers that start from it.

    Args:
        layers: strategy -> for each student layer the teacher layer it is copied from, None for fresh weights.
    """
    texts = [list_cell_texts(sources, num_teacher_layers) for sources in layers.values()]
    num_lines = [max(text.count("\n") + 1 for text in row) for row in texts]
    edges = list(accumulate((0.5 + 0.5 * lines for lines in num_lines), initial=0.0))
    figure = Figure((WIDTH_INCHES, 1.3 + 0.34 * edges[-1]), layout="constrained")
    axes = figure.add_subplot()
    has_fresh = any(row[-1] for row in texts)
    # A gap sets the extra column apart; it grows with the columns' number, as each gets narrower.
    columns = [(float(column), 1.0) for column in range(num_teacher_layers)]
    columns += [(num_teacher_layers * 1.03, max(1.0, 0.1 * num_teacher_layers))] if has_fresh else []
    for row, (top, bottom) in zip(texts, pairwise(edges), strict=True):
        for index, (left, width) in enumerate(columns):
            style = {"facecolor": SKY} if index < num_teacher_layers else FRESH_CELL
            draw_cell(axes, (left, top, width, bottom - top), row[index], style)
    axes.set(xlim=(-0.02, sum(columns[-1]) + 0.02), ylim=(edges[-1] + 0.03, -0.03))
    names = [*map(str, range(num_teacher_layers)), "fresh"]
    axes.set_xticks([left + width / 2 for left, width in columns], names[: len(columns)])
    axes.set_yticks([(top + bottom) / 2 for top, bottom in pairwise(edges)], list(layers))
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    mark_ends(axes, num_teacher_layers)
    keys = [Patch(edgecolor=GREY, facecolor=SKY, label="copied; the number is the student layer that it becomes")]
    keys += [Patch(edgecolor=GREY, label="student layers with fresh weights", **FRESH_CELL)] if has_fresh else []
    figure.legend(handles=keys, loc="outside lower center", ncols=2)
    return figure


def list_cell_texts(sources: list[int | None], num_teacher_layers: int) -> list[str]:
    """For each teacher layer the student layers copied from it, one per line; last the fresh ones, runs as `0-5`."""
    copies = [
        "\n".join(str(index) for index, source in enumerate(sources) if source == layer)
        for layer in range(num_teacher_layers)
    ]
    fresh = [index for index, source in enumerate(sources) if source is None]
    starts = [index for index in fresh if index - 1 not in fresh]
    ends = [index for index in fresh if index + 1 not in fresh]
    runs = [str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    return [*copies, "\n".join(runs)]


def draw_cell(axes: Axes, box: tuple[float, float, float, float], text: str, style: dict[str, str]) -> None:
    """A cell at (left, top, width, height); empty and white without a text."""
    left, top, width, height = box
    fill = style if text else EMPTY_CELL
    axes.add_patch(Rectangle((left, top), width, height, edgecolor=GREY, linewidth=0.6, **fill))
    if text:
        # The hatch would run through the text.
        backing = {"facecolor": style["facecolor"], "edgecolor": "none", "pad": 1.2}
        middle = (left + width / 2, top + height / 2)
        axes.text(*middle, text, ha="center", va="center", fontsize=9, linespacing=1.1, bbox=backing)


def mark_ends(axes: Axes, num_teacher_layers: int) -> None:
    """Says above the columns which of them is nearest the input."""
    for column, align, text in (
        (0, "left", "input end"),
        (num_teacher_layers / 2, "center", "teacher layer \N{RIGHTWARDS ARROW}"),
        (num_teacher_layers, "right", "output end"),
    ):
        axes.annotate(
            text, (column, 1), (0, 19), xycoords=axes.get_xaxis_transform(), textcoords="offset points", ha=align
        )
