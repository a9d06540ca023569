"""The picture of an export: quality against what it costs, every artifact a point, the frontier a line.

Entry: `draw_frontier`.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

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
)
from layer_distillation.comparison.plots import save_figure
from layer_distillation.export.formats import PYTORCH
from layer_distillation.export.verdict import COSTS, find_frontier, get_quality
from layer_distillation.records.export_record import STUDENT, TEACHER, TRIMMED, Artifact, ExportRecord

COLOURS = {TEACHER: VERMILION, STUDENT: BLUE, TRIMMED: GREEN}
OTHER_COLOURS = (BLUE, GREEN, SKY, ORANGE, PURPLE, BLACK)  # of several students
MARKERS = {"onnx": "s", "onnx-fp16": "D", "onnx-int8": "^", "openvino": "P"}
OTHER_MARKER = "X"


def draw_frontier(record: ExportRecord, path: Path) -> bool:
    """Saves the picture; False where too little was measured for one."""
    shown = [made for made in record.artifacts if made.metrics and made.milliseconds]
    if len(shown) < 2:
        return False
    save_figure(build_frontier(shown, record), path)
    return True


@matplotlib.rc_context(STYLE)
def build_frontier(shown: Sequence[Artifact], record: ExportRecord) -> Figure:
    """A panel per cost, one axis of quality for all; better is up and to the left."""
    figure = Figure((WIDTH_INCHES, 4.2), layout="constrained")
    colours, first = choose_colours(shown), None
    for index, (title, cost) in enumerate(COSTS.items()):
        panel = figure.add_subplot(1, len(COSTS), index + 1, sharey=first)
        first = first or panel
        panel.tick_params(labelleft=index == 0)
        panel.set(xlabel=f"{title} (log scale)")
        if index == 0:
            panel.set_ylabel(f"{record.headline['split']} {record.headline['metric']}")
        panel.grid(True)
        panel.set_axisbelow(True)
        set_scale(panel)
        frontier = find_frontier(shown, lambda made: get_quality(made, record), cost)
        draw_line(panel, [cost(made) for made in frontier], [get_quality(made, record) for made in frontier])
        for made in shown:
            panel.plot(cost(made), get_quality(made, record), **choose_marker(made.format, colours[made.model]))
    figure.legend(handles=list_keys(shown, colours), loc="outside lower center", ncols=4)
    return figure


def set_scale(panel: Axes) -> None:
    """Plain numbers, at 1, 2 and 5 of each decade."""
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())


def draw_line(panel: Axes, costs: Sequence[float], qualities: Sequence[float]) -> None:
    """Steps: between two of its points nothing is to be had but the cheaper one."""
    panel.plot(costs, qualities, color=GREY, drawstyle="steps-post", linewidth=1.2, zorder=1)


def choose_marker(form: str, colour: str) -> dict[str, Any]:
    """A ring for PyTorch, into which the other forms of the same size and quality fit."""
    if form == PYTORCH:
        return {"marker": "o", "color": colour, "linestyle": "", "markersize": 12, "markerfacecolor": "none"}
    return {"marker": MARKERS.get(form, OTHER_MARKER), "color": colour, "linestyle": "", "markersize": 7, "alpha": 0.85}


def choose_colours(shown: Sequence[Artifact]) -> dict[str, str]:
    """By model, in the order of the key: those of one export have their own, others take turns."""
    models = dict.fromkeys(made.model for made in shown)
    others = zip([name for name in models if name not in COLOURS], itertools.cycle(OTHER_COLOURS), strict=False)
    return {name: colour for name, colour in COLOURS.items() if name in models} | dict(others)


def list_keys(shown: Sequence[Artifact], colours: dict[str, str]) -> list[Line2D]:
    """Colours for models, shapes for forms."""
    forms = list(dict.fromkeys(made.format for made in shown))
    keys = [Line2D([], [], color=colour, linewidth=6, label=name) for name, colour in colours.items()]
    keys += [Line2D([], [], label=form, **choose_marker(form, GREY)) for form in forms]
    return [*keys, Line2D([], [], color=GREY, linewidth=1.2, label="frontier")]
