"""The numbers of a model card: scores with 95 % intervals, and the student's row in a comparison. Without torch.

Entry: `list_scores`, `read_comparison_row`.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from layer_distillation.comparison.metrics import resample_scores
from layer_distillation.comparison.runs import SAME_SCORE, Run, check_predictions, read_predictions
from layer_distillation.comparison.statistics import CONFIDENCE
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.command_names import name_commands
from layer_distillation.records.run_record import RunRecord
from layer_distillation.tasks.arguments import DEFAULT_THRESHOLD
from layer_distillation.tasks.evaluation_sets import RETRIEVAL, list_metric_names
from layer_distillation.tasks.kinds.table import get_record_kind

logger = logging.getLogger(__name__)

COMPARISON_NAME = "comparison.json"
RESAMPLES = 2000

Interval = tuple[float, float]


class Score(NamedTuple):
    """One recorded score; an interval is of the rows alone, None where none is known."""

    split: str
    name: str
    rows: int
    student: float
    student_interval: Interval | None
    teacher: float | None
    teacher_interval: Interval | None
    units: str = "rows"  # that the interval is of


class ComparisonRow(NamedTuple):
    """What a comparison says of the student's strategy. Differences are the best one's mean minus this one's."""

    arm: str
    best: str
    split: str
    metric_name: str
    rows: int
    seeds: list[str]
    mean: float
    standard_deviation: float | None
    difference: float | None
    interval: Interval | None
    p_value: float | None
    verdict: list[str]
    units: str = "rows"  # of which there are `rows`


# ---- scores ------------------------------------------------------------------------------------------------------


def list_scores(folder: Path, record: RunRecord) -> list[Score]:
    """Every score of the record, with intervals where the folder's predictions are whole."""
    try:
        run = Run(str(folder), record, read_predictions(folder))
        check_predictions(run)
    except (ValueError, OSError) as error:
        logger.warning("%s: no intervals in the model card (%s)", folder, error)
        run = None
    return [
        Score(
            split,
            name,
            count_scored(record, split),
            value,
            run and estimate_interval(run, split, name, "student"),
            record.teacher["metrics"].get(split, {}).get(name),
            run and estimate_interval(run, split, name, "teacher"),
            run.name_units(split) if run else get_record_kind(record.task).unit,
        )
        for split, scores in record.metrics.items()
        for name, value in scores.items()
    ]


def count_scored(record: RunRecord, split: str) -> int:
    """Rows, or the queries of a retrieval set."""
    sets = record.task.get(RETRIEVAL, {})
    return sets[split]["queries"] if split in sets else record.task["rows"][split]


def estimate_interval(run: Run, split: str, name: str, model: str) -> Interval | None:
    """95 %: Wilson's where the score is a share of rows, else the bootstrap's percentiles; None of what is neither."""
    if run.get_kept(split, model) is None:
        return None
    if name == "agreement":
        chosen = [run.get_kept(split, side) for side in ("student", "teacher")]
        if model == "teacher" or chosen[1] is None:
            return None
        is_agreed = run.kind.compare_answers(*chosen, DEFAULT_THRESHOLD)  # as it is measured
        return None if is_agreed is None else estimate_share(is_agreed)
    if name not in list_metric_names(run.record.task, split):
        return None
    answers = run.get_answers(name, split, model)
    is_right = run.mark_right(name, answers[None], split)
    return resample(run, name, answers, split) if is_right is None else estimate_share(is_right[0])


def estimate_share(is_counted: np.ndarray) -> Interval:
    """Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927."""
    test = stats.binomtest(int(is_counted.sum()), len(is_counted))
    interval = test.proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def resample(run: Run, name: str, answers: np.ndarray, split: str) -> Interval | None:
    """Percentiles over resampled rows; None where all give one score, which says nothing of how sure it is."""
    num_rows, num_resamples = run.get_truth(split).num_rows, run.limit_resamples(RESAMPLES, name, split, 1)
    scores = resample_scores(run.make_scorer(name, answers[None], split), num_rows, num_resamples)
    tail = 50 * (1 - CONFIDENCE)
    low, high = (float(bound) for bound in np.percentile(scores, [tail, 100 - tail]))
    return (low, high) if low < high else None


# ---- comparison --------------------------------------------------------------------------------------------------


def read_comparison_row(path: Path, record: RunRecord, folder: Path) -> ComparisonRow:
    """The student's strategy in what `compare_strategies.py` wrote: a folder or its comparison.json.

    A run is known there by what it is, never by its folder's name: rows, layers, strategy, seed and score.

    Raises:
        ValueError: no comparison is there, or this run is not in it.
    """
    file = path / COMPARISON_NAME if path.is_dir() else path
    command = name_commands("compare_strategies.py")
    try:
        units = json.loads(file.read_text(encoding="utf-8"))["units"]
        run = Run(str(folder), record, {})
        named = [(unit, replace(run, varied=tuple(unit.get("varied", ()))).arm_name) for unit in units]
        found = [row for unit, arm in named if (row := find_row(unit, record, arm))]
    except OSError as error:
        raise ValueError(
            f"no comparison is in {path} ({error.strerror}): give a folder that holds {file.name}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no comparison of this version: run {command} again") from error
    if not found:
        raise ValueError(
            f"{file} does not hold this run ({record.strategy}, seed {record.seed}, on {record.task['name']}): run "
            f"{command} again with {folder} among its runs, or leave --comparison out"
        )
    return found[0]


def find_row(unit: dict[str, Any], record: RunRecord, arm: str) -> ComparisonRow | None:
    """This run's strategy in a unit, None where the run is not in it."""
    if unit["task"]["fingerprint"] != record.task["fingerprint"]:
        return None
    layers = " ".join("-" if layer is None else str(layer) for layer in record.student["layers"])
    recorded = record.metrics.get(unit["split"], {}).get(unit["metric_name"])
    is_in = any(
        (row["arm"], row["seed"], row["layers"]) == (arm, record.seed, layers)
        and (recorded is None or abs(row["metric"] - recorded) <= SAME_SCORE)
        for row in unit["runs"]
    )
    if not is_in:
        return None
    row = next(row for row in unit["arms"] if row["arm"] == arm)
    has_difference = row["difference_to_best"] is not None
    return ComparisonRow(
        arm=arm,
        best=unit["best"],
        split=unit["split"],
        metric_name=unit["metric_name"],
        rows=unit["rows"],
        seeds=row["seeds"].split(),
        mean=row["metric"],
        standard_deviation=row["metric_standard_deviation"],
        difference=row["difference_to_best"],
        interval=(row["difference_low"], row["difference_high"]) if has_difference else None,
        p_value=row["p_holm"],
        verdict=[
            unit["verdict"][0],
            *(line for line in unit["verdict"][1:] if line.startswith(f"{show_strategy(arm)} ")),
        ],
        units=unit.get("units", "rows"),  # of a comparison from before there were others
    )
