"""Figures of the metric: every arm with its interval, quality against size, mean ranks over tasks."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from layer_distillation.comparison.figure_style import BLACK, BLUE, GREY, STYLE, VERMILION, WIDTH_INCHES, wrap_name
from layer_distillation.comparison.label_placement import NEAR_GAP, WIDE_GAP, place_labels


class ArmInterval(NamedTuple):
    """Mean metric of an arm, the ends of its 95 % interval, one value per seed; a control is no candidate."""

    name: str
    mean: float
    low: float
    high: float
    values: list[float]
    is_control: bool


class ParetoPoint(NamedTuple):
    """Mean metric of students or the teacher, the ends of its 95 % interval, and its number of parameters."""

    name: str
    parameters: int
    mean: float
    low: float
    high: float


# ---- metric of every arm -------------------------------------------------------------------------------------------

STRATEGY_MARK = {"color": BLUE, "marker": "o", "markersize": 7, "linewidth": 1.8}
CONTROL_MARK = {"color": VERMILION, "marker": "s", "markersize": 7, "linewidth": 1.8, "markerfacecolor": "white"}
SEED_MARK = {"color": BLACK, "marker": "|", "markersize": 6, "linestyle": "none"}


@matplotlib.rc_context(STYLE)
def build_metric_intervals(intervals: list[ArmInterval], metric_name: str, teacher_value: float | None) -> Figure:
    """Dots with intervals, the highest mean at the top, controls in a block of their own below a divider."""
    arms = sorted(intervals, key=lambda arm: (arm.is_control, -arm.mean))
    figure = Figure((WIDTH_INCHES, 1.5 + 0.34 * len(arms)), layout="constrained")
    axes = figure.add_subplot()
    for row, arm in enumerate(arms):
        draw_interval(axes, row, arm)
    num_controls = sum(arm.is_control for arm in arms)
    if 0 < num_controls < len(arms):
        axes.axhline(len(arms) - num_controls - 0.4, color=GREY, linewidth=1)
    if teacher_value is not None:
        axes.axvline(teacher_value, color=BLACK, linestyle="--", linewidth=1.2, zorder=1)
        axes.annotate(
            f"teacher {teacher_value:.3f}", (teacher_value, 1), (0, 3), xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", ha="center", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    values = [value for arm in arms for value in arm.values] + ([] if teacher_value is None else [teacher_value])
    axes.set_xlim(choose_limits(arms, values))
    axes.set_xlabel(metric_name)
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    shown = {"strategy": STRATEGY_MARK} if num_controls < len(arms) else {}
    shown |= {"control": CONTROL_MARK} if num_controls else {}
    keys = [Line2D([], [], label=f"{kind}: mean and 95 % interval", **mark) for kind, mark in shown.items()]
    figure.legend(
        handles=[*keys, Line2D([], [], label="one seed or draw (longer: several)", **SEED_MARK)],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def choose_limits(arms: Sequence[ArmInterval | ParetoPoint], values: Sequence[float] = ()) -> tuple[float, float]:
    """The axis that shows every mean and value, and every interval but those that would dwarf what there is to see: two
    draws far apart have one as wide as the metric itself. These run to the edge of the picture."""
    shown = [*values, *(arm.mean for arm in arms)]
    span = max(shown) - min(shown)
    ends = [end for arm in arms for end in (arm.low, arm.high) if span == 0 or abs(end - arm.mean) <= span]
    low, high = min(shown + ends), max(shown + ends)
    margin = 0.05 * (high - low) or 0.05
    return low - margin, high + margin


def draw_interval(axes: Axes, row: int, arm: ArmInterval) -> None:
    mark = CONTROL_MARK if arm.is_control else STRATEGY_MARK
    # One line of three points, so that the marker is at the mean alone.
    axes.plot([arm.low, arm.mean, arm.high], [row] * 3, markevery=[1], label=arm.name, **mark)
    # Below the interval, where they stay visible; equal ones below each other.
    heights = [row + 0.25 + 0.12 * arm.values[:place].count(value) for place, value in enumerate(arm.values)]
    axes.plot(arm.values, heights, **SEED_MARK)
    place = axes.get_yaxis_transform()
    axes.text(1.01, row, f"{arm.mean:.3f}", transform=place, va="center_baseline", fontsize=9)


# ---- quality against size ------------------------------------------------------------------------------------------

FRONT_MARK = {"color": BLUE, "marker": "o", "markersize": 7, "linestyle": "--", "linewidth": 1.4, "zorder": 4}
BEHIND_MARK = FRONT_MARK | {"marker": "s", "linestyle": "none", "markerfacecolor": "white", "zorder": 3}
LEADER = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4}


@matplotlib.rc_context(STYLE)
def build_pareto(points: list[ParetoPoint], metric_name: str) -> Figure:
    """Means with intervals over millions of parameters; a stepped line joins the models that no other one matches.

    Intervals of equally large students would lie on each other: `build_metric_intervals` shows each by itself.
    """
    figure = Figure((WIDTH_INCHES, max(4.2, 1.6 + 0.3 * len(points))), layout="constrained")
    axes = figure.add_subplot()
    points = drop_shared_intervals(points)
    front = find_pareto_front(points)
    others = [point for point in points if point not in front]
    spread = [point for point in points if point.low < point.high]
    if spread:
        sizes, _ = list_positions(spread)
        lows, highs = [point.low for point in spread], [point.high for point in spread]
        axes.vlines(sizes, lows, highs, color=GREY, linewidth=1.2, zorder=2, label="95 % interval")
        axes.plot(sizes * 2, lows + highs, "_", color=GREY, zorder=2)
    # Between two sizes, the smaller student is the best that fits: a step, not a slope.
    axes.step(*list_positions(front), where="post", label="Pareto front", **FRONT_MARK)
    if others:
        axes.plot(*list_positions(others), label="matched or beaten by one that is no larger", **BEHIND_MARK)
    axes.set_xlabel("parameters (millions)")
    axes.set_ylabel(metric_name)
    axes.set_ylim(choose_limits(points))
    axes.grid(True)
    figure.legend(loc="outside lower center", ncols=3)
    label_points(figure, axes, points, list_positions(front))
    return figure


def drop_shared_intervals(points: list[ParetoPoint]) -> list[ParetoPoint]:
    counts = Counter(point.parameters for point in points)
    return [
        point if counts[point.parameters] == 1 else point._replace(low=point.mean, high=point.mean) for point in points
    ]


def list_positions(points: list[ParetoPoint]) -> tuple[list[float], list[float]]:
    """Millions of parameters, and means."""
    return [point.parameters / 1e6 for point in points], [point.mean for point in points]


def find_pareto_front(points: list[ParetoPoint]) -> list[ParetoPoint]:
    """The points, smallest first, that are higher than every smaller or equally small one; of equals the first."""
    front: list[ParetoPoint] = []
    for point in sorted(points, key=lambda point: (point.parameters, -point.mean)):
        if not front or point.mean > front[-1].mean:
            front.append(point)
    return front


def label_points(figure: Figure, axes: Axes, points: list[ParetoPoint], front: tuple[list[float], list[float]]) -> None:
    """Writes the names beside the points, with a thin line to those that had to move away; none overlap."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    font = FontProperties(size=9)
    widths = [renderer.get_text_width_height_descent(point.name, font, False)[0] for point in points]
    make_room(figure, axes, points, max(widths))
    anchors = axes.transData.transform(np.transpose(list_positions(points)))
    boxes = place_labels(anchors, widths, axes.bbox, list_obstacles(axes, points, front))
    for point, anchor, box in zip(points, anchors, boxes, strict=True):
        is_right = bool(box.x0 > anchor[0])
        edge = box.x0 if is_right else box.x1
        leader = LEADER | {"relpos": (0 if is_right else 1, 0.5)}
        axes.annotate(
            point.name, (point.parameters / 1e6, point.mean),
            axes.transAxes.inverted().transform((edge, (box.y0 + box.y1) / 2)), textcoords="axes fraction",
            ha="left" if is_right else "right", va="center", fontsize=9,
            arrowprops=leader if abs(edge - anchor[0]) > (NEAR_GAP + WIDE_GAP) / 2 else None,
        )  # fmt: skip


def make_room(figure: Figure, axes: Axes, points: list[ParetoPoint], width: float) -> None:
    """Widens the x axis until a label of `width` pixels fits beside every point, and freezes the layout."""
    sizes = [point.parameters / 1e6 for point in points]
    is_one_size = min(sizes) == max(sizes)
    span = 0.2 * max(sizes) if is_one_size else max(sizes) - min(sizes)
    figure.draw_without_rendering()
    # A long name may take most of the axes; some room is left for the points in any case.
    margin = span * (width + 60) / max(axes.bbox.width - width - 100, 100)
    axes.set_xlim(min(sizes) - (margin if is_one_size else 0.08 * (span + margin)), max(sizes) + margin)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def list_obstacles(axes: Axes, points: list[ParetoPoint], front: tuple[list[float], list[float]]) -> list[Bbox]:
    """What no label may cover, in pixels: markers, intervals and the steps of the front."""
    sizes, means = front
    corners = [(point.parameters / 1e6, height) for point in points for height in (point.low, point.high)]
    corners += [corner for step in zip(sizes, means, sizes[1:], means, strict=False) for corner in (step[:2], step[2:])]
    ends = axes.transData.transform(corners)
    anchors = axes.transData.transform(np.transpose(list_positions(points)))
    boxes = [Bbox([anchor - 7, anchor + 7]) for anchor in anchors]
    return boxes + [Bbox([low - 2, high + 2]) for low, high in zip(ends[::2], ends[1::2], strict=True)]


# ---- mean ranks ----------------------------------------------------------------------------------------------------


@matplotlib.rc_context(STYLE)
def build_mean_ranks(mean_ranks: dict[str, float], critical_difference: float | None) -> Figure:
    """Critical-difference diagram (Demsar 2006, JMLR 7, figure 1): thick lines join what a test cannot tell apart.

    Args:
        mean_ranks: arm -> rank averaged over tasks, 1 is best.
        critical_difference: in ranks; None draws neither the ruler nor the thick lines.
    """
    names = sorted(mean_ranks, key=mean_ranks.__getitem__)
    ranks = [mean_ranks[name] for name in names]
    groups = [] if critical_difference is None else list_groups(ranks, critical_difference)
    num_left, last = math.ceil(len(names) / 2), max(len(names), 2)
    first_row = 1.0 + 0.5 * len(groups)
    shown = [wrap_name(name, 36) for name in names]
    spacing = 0.3 + 0.7 * max((text.count("\n") + 1 for text in shown), default=1)
    top, bottom = -1.8 if critical_difference is None else -4.0, first_row + spacing * num_left - 0.4
    figure = Figure((WIDTH_INCHES, 0.2 + 0.27 * (bottom - top)), layout="constrained")
    axes = figure.add_subplot()
    draw_rank_axis(axes, last, critical_difference)
    for level, (start, end) in enumerate(groups):
        heights = [0.6 + 0.5 * level] * 2
        axes.plot([ranks[start] - 0.04, ranks[end] + 0.04], heights, color=VERMILION, linewidth=4.5, label="group")
    for index, (name, text, rank) in enumerate(zip(names, shown, ranks, strict=True)):
        is_left = index < num_left
        row = first_row + spacing * (index if is_left else len(names) - 1 - index)
        edge = 0.9 if is_left else last + 0.1
        axes.plot([rank, rank, edge], [0, row, row], color=BLACK, linewidth=0.9, zorder=1, label=name)
        axes.plot(rank, 0, "o", color=BLUE, markersize=5.5, zorder=3)
        axes.annotate(
            f"{text}  {rank:.2f}" if is_left else f"{rank:.2f}  {text}", (edge, row), (-4 if is_left else 4, 0),
            textcoords="offset points", ha="right" if is_left else "left", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_ylim(bottom, top)
    axes.set_axis_off()
    return figure


def list_groups(ranks: list[float], critical_difference: float) -> list[tuple[int, int]]:
    """First and last index of each longest run of ascending ranks that spans less than the critical difference."""
    groups: list[tuple[int, int]] = []
    for start, rank in enumerate(ranks):
        end = max(index for index, other in enumerate(ranks) if other == rank or other - rank < critical_difference)
        if end > start and (not groups or end > groups[-1][1]):
            groups.append((start, end))
    return groups


def draw_rank_axis(axes: Axes, last: int, critical_difference: float | None) -> None:
    """A line from rank 1 to the last with a tick at every whole rank, the ruler of the critical difference above it."""
    axes.plot([1, last], [0, 0], color=BLACK, linewidth=1.2)
    for rank in range(1, last + 1):
        axes.plot([rank, rank], [0, -0.25], color=BLACK, linewidth=1.2)
        axes.text(rank, -0.4, str(rank), ha="center", va="bottom", fontsize=9)
    axes.text(1, -1.2, "mean rank (1 is best)", ha="left", va="bottom", fontsize=9)
    if critical_difference is not None:
        text = f"critical difference {critical_difference:.2f}: thick lines join mean ranks less than this apart"
        axes.plot([1, 1 + critical_difference], [-2.6, -2.6], "|-", color=VERMILION, linewidth=1.8, markersize=9)
        axes.text(1, -3.0, text, ha="left", va="bottom", fontsize=9)
