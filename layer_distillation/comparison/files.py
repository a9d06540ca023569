"""Writes a comparison: comparison.md, comparison.csv (arms), runs.csv, comparison.json (everything), and the text.

Entry: `write_reports`, `format_text`.
"""

import csv
import dataclasses
import io
import json
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layer_distillation.comparison.pairs import Pair
from layer_distillation.comparison.race_report import describe_look
from layer_distillation.comparison.report import Block
from layer_distillation.comparison.results import ArmResult, RunResult, UnitResult
from layer_distillation.comparison.runs import LeftOut
from layer_distillation.comparison.statistics import Estimate, TaskRanks
from layer_distillation.comparison.tasks import gather_teacher_pairs, list_not_counted
from layer_distillation.comparison.teacher_lead import TeacherLead
from layer_distillation.comparison.tuning import Tuning, format_values
from layer_distillation.comparison.verdict import describe_random_draws, describe_ranks, write_verdict
from layer_distillation.records.markdown_text import clean_text, escape_markdown

TEXT_COLUMNS = 100
# What spreadsheets take for a formula, but for layers such as "- - 3".
FORMULA = re.compile(r"[=+@]|-(?![-\d ]*$)")


def write_reports(
    folder: Path,
    blocks: Sequence[Block],
    results: Sequence[UnitResult],
    ranks: TaskRanks | None,
    left_out: Sequence[LeftOut],
) -> None:
    """All four files, each replaced in one step. Raises OSError where the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "comparison.md", format_markdown(blocks))
    write_file(folder / "comparison.csv", format_csv([row for result in results for row in list_arm_rows(result)]))
    write_file(folder / "runs.csv", format_csv([row for result in results for row in list_run_rows(result)]))
    write_file(folder / "comparison.json", format_json(results, ranks, left_out))


def write_file(path: Path, text: str) -> None:
    unfinished = path.with_name(f".unfinished-{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


# ---- markdown and text -------------------------------------------------------------------------------------------


def format_markdown(blocks: Sequence[Block]) -> str:
    parts = ["# Comparison of strategies"]
    for block in blocks:
        rows = [f"| {' | '.join(map(escape_markdown, row))} |" for row in block.table]
        if rows:
            rows.insert(1, "|---" * len(block.table[0]) + "|")
        lines = [f"- {escape_markdown(line)}" for line in block.lines]
        parts.append("\n".join([f"## {escape_markdown(block.title)}", "", *rows, *lines]))
    return "\n\n".join(parts) + "\n"


def add_pictures(folder: Path, blocks: Sequence[Block], pictures: Sequence[Path]) -> None:
    """Writes comparison.md once more, with the pictures below the tables."""
    links = [f"![{path.stem.replace('_', ' ')}]({path.relative_to(folder).as_posix()})" for path in pictures]
    if links:
        write_file(
            folder / "comparison.md", "\n\n".join([format_markdown(blocks).rstrip(), "## Pictures", *links]) + "\n"
        )


def format_text(blocks: Sequence[Block]) -> str:
    """For a terminal of 100 columns."""
    parts = []
    for block in blocks:
        table = [[clean_text(cell) for cell in row] for row in block.table]
        lines = [
            textwrap.fill(clean_text(line), TEXT_COLUMNS, initial_indent="- ", subsequent_indent="  ")
            for line in block.lines
        ]
        title = textwrap.fill(clean_text(block.title), TEXT_COLUMNS)
        parts.append("\n".join([title, "", *align(table), *lines]))
    return "\n\n".join(parts) + "\n"


def align(table: list[list[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


# ---- rows and numbers --------------------------------------------------------------------------------------------


def format_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Missing numbers are empty cells. A text that a spreadsheet would run as a formula begins with an apostrophe."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: format_csv_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def format_csv_cell(value: Any) -> Any:
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        return value
    text = clean_text(value)
    return f"'{text}" if FORMULA.match(text) else text


def list_arm_rows(result: UnitResult) -> list[dict[str, Any]]:
    """One row per arm; the difference is the best arm's mean minus this one's."""
    pairs = {pair.second: pair for pair in [*result.comparisons, *result.control_comparisons]}
    return [describe_arm(result, arm, pairs.get(arm.name)) for arm in result.arms]


def describe_arm(result: UnitResult, arm: ArmResult, pair: Pair | None) -> dict[str, Any]:
    fields = ("training_loss", "validation_loss", "validation_metric", "last_metric", "loss", "metric")
    values = {name: value for field in fields for name, value in describe_field(arm, field).items()}
    estimate = pair.estimate if pair else None
    return {
        "unit": result.unit.name,
        "arm": arm.name,
        "is_control": arm in result.controls,
        "seeds": " ".join(map(str, arm.arm.seeds)),
        "split": result.split,
        "metric_name": result.metric_name,
        **values,
        "low": arm.estimate.low,
        "high": arm.estimate.high,
        "parameters": arm.runs[0].run.record.student["parameters"],
        "difference_to_best": estimate.value if estimate else None,
        "difference_low": estimate.low if estimate else None,
        "difference_high": estimate.high if estimate else None,
        "p_holm": pair.adjusted_p_value if estimate else None,
    } | (describe_tuned(arm.arm.tuning) if arm.arm.tuning else {})


def describe_tuned(tuning: Tuning) -> dict[str, Any]:
    return {"tuned": format_values(tuning.values), "tuned_out_of": len(tuning.trials)}


def describe_field(arm: ArmResult, field: str) -> dict[str, float | None]:
    return {field: arm.average(field), f"{field}_standard_deviation": arm.spread(field)}


def list_run_rows(result: UnitResult) -> list[dict[str, Any]]:
    return [describe_run(result, arm, run) for arm in result.arms for run in arm.runs]


def describe_run(result: UnitResult, arm: ArmResult, run: RunResult) -> dict[str, Any]:
    record = run.run.record
    return {
        "unit": result.unit.name,
        "arm": arm.name,
        "seed": record.seed,
        "folder": run.run.folder,
        "layers": " ".join("-" if layer is None else str(layer) for layer in run.run.layers),
        "best_epoch": record.best_epoch,
        "split": result.split,
        "metric_name": result.metric_name,
        "training_loss": run.training_loss,
        "validation_loss": run.validation_loss,
        "validation_metric": run.validation_metric,
        "last_metric": run.last_metric,
        "loss": run.loss,
        "metric": run.metric,
        "untrained_loss": run.get_untrained("loss"),
        "untrained_metric": run.get_untrained(result.metric_name),
        "untrained_kl_to_teacher": run.get_untrained("kl_to_teacher"),
        "distillation_seconds": record.seconds.get("distillation"),
    }


def format_json(results: Sequence[UnitResult], ranks: TaskRanks | None, left_out: Sequence[LeftOut]) -> str:
    tasks = None
    if ranks is not None:
        pairwise = [[*names, p_value] for names, p_value in ranks.pairwise_p_values.items()]
        tasks = ranks._asdict() | {"pairwise_p_values": pairwise}
    whole = {
        "units": [describe_unit(result) for result in results],
        "tasks": tasks,
        "not_counted_over_tasks": [{"unit": name, "reason": reason} for name, reason in list_not_counted(results)],
        "teacher_over_tasks": [
            {"unit": result.unit.name, "first": pair.first, "second": pair.second, "adjusted_p_value": p_value}
            for result, pair, p_value in gather_teacher_pairs(results)
        ],
        "left_out": [left._asdict() for left in left_out],
    }
    return json.dumps(drop_missing(whole), indent=1, allow_nan=False) + "\n"


def describe_unit(result: UnitResult) -> dict[str, Any]:
    record = result.unit.runs[0].record
    return {
        "name": result.unit.name,
        "task": record.task,
        "student_layers": result.unit.num_layers,
        "varied": list(result.unit.runs[0].varied),
        "split": result.split,
        "selecting_split": result.selecting_split,
        "metric_name": result.metric_name,
        "validation_metric_name": result.metric_beside,
        "rows": result.num_rows,
        "units": result.units,
        "resamples": result.num_resamples,
        "teacher": {
            "loss": result.teacher_loss,
            "metric": result.teacher_metric,
            "parameters": record.teacher["parameters"],
            "lead": result.teacher_lead and describe_lead(result.teacher_lead),
        },
        "best": result.best.name,
        "arms": list_arm_rows(result),
        "runs": list_run_rows(result),
        "comparisons": [describe_pair(pair) for pair in result.comparisons],
        "control_comparisons": [describe_pair(pair) for pair in result.control_comparisons],
        "teacher_comparisons": [describe_pair(pair) for pair in result.teacher_comparisons],
        "verdict": [*write_verdict(result), *describe_random_draws(result), *describe_ranks(result)],
        "rank_correlation": result.rank_correlation,
        "before_training": [
            dict(zip(("value", "over", "spearman", "n"), row, strict=True)) for row in result.before_training
        ],
        "left_out": [left._asdict() for left in result.unit.left_out],
        "remarks": result.unit.remarks,
        **(
            {"race": [describe_look(look) for look in result.race.looks], "not_in_the_race": result.race.left_out}
            if result.race
            else {}
        ),
    } | ({"tuning": tuning} if (tuning := describe_tunings(result)) else {})


def describe_tunings(result: UnitResult) -> dict[str, Any]:
    """Arm -> its trials, of the arms that are tuned."""
    return {arm.name: dataclasses.asdict(arm.tuning) for arm in result.unit.arms if arm.tuning}


def describe_lead(lead: TeacherLead) -> dict[str, Any]:
    """Of the teacher over the best answer that is the same for every row."""
    return lead._asdict() | {"estimate": describe_estimate(lead.estimate), "counts_over_tasks": lead.is_shown}


def describe_pair(pair: Pair) -> dict[str, Any]:
    return dataclasses.asdict(pair) | {"estimate": pair.estimate and describe_estimate(pair.estimate)}


def describe_estimate(estimate: Estimate) -> dict[str, Any]:
    return estimate._asdict() | {"components": estimate.components._asdict()}


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def drop_missing(value: Any) -> Any:
    """nan and infinity are no JSON: null."""
    if isinstance(value, dict):
        return {name: drop_missing(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [drop_missing(entry) for entry in value]
    return None if is_missing(value) else value
