"""Which value of a tuned flag an arm keeps: the records of its trials say it, so that sweep and comparison agree.

Entry: `choose_trial` among the trials of one arm.
"""

import math
from collections.abc import Sequence
from typing import Any

from layer_distillation.records.run_record import RunRecord


def list_tuned(record: RunRecord) -> tuple[str, ...]:
    """The flags whose values were chosen for this run's arm; no record from before has any."""
    return tuple(filter(None, (record.arguments.get("tuned_flags") or "").split(",")))


def choose_trial(records: Sequence[RunRecord], names: Sequence[str]) -> int:
    """The place of the best one by the rule that chose each one's epoch; of equal ones that with the least values."""

    def rank(place: int) -> tuple[float, list[tuple[float, str]]]:
        values = [records[place].arguments.get(name) for name in names]
        return score_trial(records[place]), [rank_value(value) for value in values]

    return min(range(len(records)), key=rank)


def score_trial(record: RunRecord) -> float:
    """Its criterion, so that lower is better."""
    value = get_criterion(record)
    return -value if record.arguments.get("greater_is_better") else value


def get_criterion(record: RunRecord) -> float:
    """What chose its epoch, of the student that was kept, on the first validation split."""
    name = name_criterion(record)
    split = next(split for split in record.task["rows"] if split not in ("train", "test"))
    value = record.metrics[split].get(name)
    if value is None:  # of a split that is named too, say
        kept = [entry for entry in record.history if entry["epoch"] == record.best_epoch] or record.history[-1:]
        value = kept[0][f"eval_{name}"]
    return value


def name_criterion(record: RunRecord) -> str:
    """Such as `loss`, what --metric_for_best_model names."""
    return (record.arguments.get("metric_for_best_model") or "loss").removeprefix("eval_")


def rank_value(value: Any) -> tuple[float, str]:
    """Numbers by size, whether or not they are written as text, everything else behind them by its text."""
    try:
        return float(value), ""
    except (TypeError, ValueError):
        return math.inf, str(value)
