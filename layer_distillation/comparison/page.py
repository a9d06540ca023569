"""comparison.html: one file that needs no network: the verdict on top, tables that sort, pictures that answer.

The tables are HTML, so that every value can be read without a script; `page.js` draws the pictures from the same
numbers, which the page holds as JSON, and `page.css` is how it looks. All foreign text is escaped.

Entry: `format_page`.
"""

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from layer_distillation.comparison.numbers import format_interval, format_number, format_share
from layer_distillation.comparison.pairs import Pair
from layer_distillation.comparison.race_report import list_race
from layer_distillation.comparison.report import Block, list_blocks, list_unit_blocks, name_layers
from layer_distillation.comparison.results import ArmResult, RunResult, UnitResult
from layer_distillation.comparison.runs import LeftOut
from layer_distillation.comparison.statistics import TaskRanks
from layer_distillation.comparison.verdict import count, format_p_value, write_verdict
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.markdown_text import clean_text

TITLE = "Comparison of strategies"
MOST_BYTES = 2_000_000
# What the page may load: nothing. Its own style and script are inline.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'"
Cell = tuple[str, float | None]  # as shown, and what it sorts by; None: its text


def format_page(results: Sequence[UnitResult], ranks: TaskRanks | None, left_out: Sequence[LeftOut]) -> str:
    """The whole page; the curves of the runs stay out where it would be too large with them."""
    page = build_page(results, ranks, left_out, has_curves=True)
    if len(page.encode()) <= MOST_BYTES:
        return page
    return build_page(results, ranks, left_out, has_curves=False)


def build_page(
    results: Sequence[UnitResult], ranks: TaskRanks | None, left_out: Sequence[LeftOut], has_curves: bool
) -> str:
    style, script = (Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    data = json.dumps({"units": [describe_unit(result, has_curves) for result in results]}, allow_nan=False)
    data = data.replace("<", "\\u003c")  # so that no text in it ends the element
    units = [format_unit(result, number, has_curves) for number, result in enumerate(results)]
    of_units = sum(len(list_unit_blocks(result)) for result in results)
    rest = list_blocks(results, ranks, left_out)[of_units:]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f'<title>{TITLE}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<div class="page">',
            f'<header class="top"><h1>{TITLE}</h1><button type="button" id="theme">Light or dark</button></header>',
            "<noscript><p>The pictures need JavaScript; every value is in the tables.</p></noscript>\n<main>",
            *units,
            *(format_block(block, "h3") for block in rest),
            f'</main>\n</div>\n<script type="application/json" id="data">{data}</script>',
            f"<script>\n{script}</script>\n</body>\n</html>\n",
        ]
    )


# ---- a task and number of layers -----------------------------------------------------------------------------------


def format_unit(result: UnitResult, number: int, has_curves: bool) -> str:
    first, *others = list_race(result) or write_verdict(result)
    lines = "".join(f"<li>{show(line)}</li>" for line in others)
    tables = "\n".join(format_block(block, "h4") for block in list_unit_blocks(result))
    curves = [
        '<h3>Validation loss by epoch</h3>\n<div class="card">',
        f'<div id="curves-{number}"></div><p class="said" id="said-{number}" aria-live="polite"></p>',
        f'<ul class="keys" id="keys-{number}"></ul></div>',
        f"<details><summary>Every epoch of every run</summary>{format_curves(result)}</details>",
    ]
    head = f"unit-{number}"
    hidden = f'<div hidden><div id="curves-{number}"></div><p id="said-{number}"></p><ul id="keys-{number}"></ul></div>'
    return "\n".join(
        [
            f'<section class="unit" aria-labelledby="{head}">\n<h2 id="{head}">{show(result.unit.name)}</h2>',
            f'<p class="about">{show(describe_scope(result))}</p>',
            f'<div class="verdict"><p>{show(first)}</p><ul>{lines}</ul></div>',
            f'<h3>Every start</h3>\n<div class="card" tabindex="0" role="region" aria-label="Every start">'
            f"{format_arms(result)}</div>",
            f"<h3>{show(f'{result.split} {result.metric_name}')}: mean, 95 % interval, seeds</h3>",
            f'<div class="card" id="intervals-{number}"></div>',
            f'<h3>Where the layers come from</h3>\n<div class="card" id="layers-{number}"></div>',
            *(curves if has_curves else [hidden]),
            f"<details><summary>All tables of comparison.md</summary>{tables}</details>\n</section>",
        ]
    )


def describe_scope(result: UnitResult) -> str:
    teacher = result.teacher_metric.get(result.split)
    known = f" · teacher {teacher:.4f}" if teacher is not None else ""
    runs = count(sum(len(arm.runs) for arm in result.arms), "run")
    return f"{result.num_rows:,} {result.split} {result.units} · {result.metric_name}{known} · {runs}"


def format_arms(result: UnitResult) -> str:
    header = ["Start", f"{result.split} {result.metric_name}", "95 % interval", "Behind the best", "95 % interval"]
    header += ["p (Holm)", "Seeds", "Spread", "Of the teacher's", "Validation loss", "Training loss", "Layers"]
    pairs = {pair.second: pair for pair in [*result.comparisons, *result.control_comparisons]}
    rows = [list_cells(result, arm, pairs.get(arm.name)) for arm in result.arms]
    return format_table(header, rows, "sortable")


def list_cells(result: UnitResult, arm: ArmResult, pair: Pair | None) -> list[Cell]:
    estimate, spread = (pair and pair.estimate), arm.spread("metric")
    share = result.get_kept_share(arm)
    losses = [arm.average(name) for name in ("validation_loss", "training_loss")]
    return [
        (show_strategy(arm.name), None),
        (format_number(arm.estimate.value), arm.estimate.value),
        (format_interval(arm.estimate.low, arm.estimate.high), arm.estimate.low),
        (format_number(estimate and estimate.value), estimate and estimate.value),
        (format_interval(estimate.low, estimate.high), estimate.low) if estimate else ("-", None),
        (format_p_value(pair.adjusted_p_value), pair.adjusted_p_value) if estimate else ("-", None),
        (str(len(arm.runs)), len(arm.runs)),
        (format_number(spread), spread),
        (format_share(share), share),
        *((format_number(loss), loss) for loss in losses),
        (name_layers(arm), None),
    ]


def format_curves(result: UnitResult) -> str:
    names = {name for _, run in list_runs(result) for entry in run.run.record.history for name in entry}
    # By name: a run that was resumed has its history in another order.
    shown = sorted(name for name in names if name == "eval_loss" or name.startswith("train_"))
    rows = [
        [
            (show_strategy(arm.name), None),
            (str(run.run.record.seed), run.run.record.seed),
            (f"{entry['epoch']:g}", entry["epoch"]),
        ]
        + [(format_number(entry.get(name)), entry.get(name)) for name in shown]
        for arm, run in list_runs(result)
        for entry in run.run.record.history
    ]
    return f'<div class="card">{format_table(["Start", "Seed", "Epoch", *shown], rows, "sortable")}</div>'


def list_runs(result: UnitResult) -> list[tuple[ArmResult, RunResult]]:
    return [(arm, run) for arm in result.arms for run in arm.runs]


# ---- HTML ----------------------------------------------------------------------------------------------------------


def show(text: str) -> str:
    return escape(clean_text(text))


def format_block(block: Block, heading: str) -> str:
    rows = [[(cell, None) for cell in row] for row in block.table[1:]]
    table = f'<div class="card">{format_table(block.table[0], rows, "")}</div>' if block.table else ""
    lines = "".join(f"<li>{show(line)}</li>" for line in block.lines)
    listed = f'<ul class="notes">{lines}</ul>' if lines else ""
    return f"<{heading}>{show(block.title)}</{heading}>\n{table}{listed}"


def format_table(header: Sequence[str], rows: Sequence[Sequence[Cell]], kind: str) -> str:
    head = "".join(f'<th scope="col">{show(name)}</th>' for name in header)
    body = "".join(f"<tr>{format_row(row)}</tr>\n" for row in rows)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>'


def format_row(row: Sequence[Cell]) -> str:
    (name, _), *cells = row
    return f'<th scope="row">{show(name)}</th>' + "".join(format_cell(*cell) for cell in cells)


def format_cell(text: str, value: float | None) -> str:
    """A dash sorts last."""
    by = "" if text == "-" else f"{value:.10g}" if value is not None else None
    return f"<td>{show(text)}</td>" if by is None else f'<td data-value="{by}">{show(text)}</td>'


# ---- data of the pictures ------------------------------------------------------------------------------------------


def describe_unit(result: UnitResult, has_curves: bool) -> dict[str, Any]:
    return {
        "name": clean_text(result.unit.name),
        "metric": f"{result.split} {result.metric_name}",
        "teacher": result.teacher_metric.get(result.split),
        "teacherLayers": result.unit.runs[0].record.teacher["layers"],
        "arms": [describe_arm(result, arm, has_curves) for arm in result.arms],
        "layers": [{"name": name, "layers": layers} for name, layers in list_starts(result).items()],
    }


def describe_arm(result: UnitResult, arm: ArmResult, has_curves: bool) -> dict[str, Any]:
    estimate, loss = arm.estimate, arm.average("validation_loss")
    seeds = [
        {"seed": run.run.record.seed, "score": run.metric, "curve": list_curve(run) if has_curves else []}
        for run in arm.runs
    ]
    return {
        "name": clean_text(show_strategy(arm.name)),
        "control": arm in result.controls,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "validationLoss": None if math.isnan(loss) else loss,
        "seeds": seeds,
    }


def list_curve(run: RunResult) -> list[list[float]]:
    """Epoch and validation loss."""
    known = [(entry["epoch"], entry.get("eval_loss")) for entry in run.run.record.history]
    return [[epoch, loss] for epoch, loss in known if loss is not None and math.isfinite(loss)]


def list_starts(result: UnitResult) -> dict[str, list[int | None]]:
    """By start; every draw of `random` by itself. The same start without a teacher has the same layers."""
    starts: dict[str, list[int | None]] = {}
    for arm, run in list_runs(result):
        is_drawn = arm.arm.strategy == "random"
        name = f"random, seed {run.run.record.seed}" if is_drawn else arm.arm.strategy
        starts.setdefault(clean_text(show_strategy(name)), run.run.layers)
    return starts
