"""What a benchmark of sweeps found: summed up by sweep and way, and written as a table."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.sweep_settings import METRICS

REFERENCES = ("docs_recipe", "stock")

Run = dict[str, Any]


def summarize_sweeps(runs: Sequence[Run], metric: str = "accuracy") -> Iterator[dict[str, Any]]:
    """One row per sweep and way and, where there are several seeds, one per way over all of them."""
    seeds = list(dict.fromkeys(run["seed"] for run in runs))
    for sweep in [*seeds, "all"] if len(seeds) > 1 else seeds:
        chosen = [run for run in runs if sweep in (run["seed"], "all")]
        for way in dict.fromkeys(run["way"] for run in chosen):
            yield {"sweep": sweep} | summarize_way(way, chosen, metric)


def summarize_way(way: str, runs: Sequence[Run], metric: str) -> dict[str, Any]:
    """Seconds of a sweep (mean over seeds), their ratios to the references, peaks, the metric of all students."""
    own = [run for run in runs if run["way"] == way]
    recipe = {(run["strategy"], run["seed"]): run[metric] for run in runs if run["way"] == REFERENCES[0]}
    differences = [run[metric] - recipe[run["strategy"], run["seed"]] for run in own] if recipe else []
    seconds = sum_sweep_seconds(own)
    summary = {"way": way, "seconds": seconds, "precision": "/".join(sorted({run["precision"] for run in own}))}
    for reference in REFERENCES:
        others = [run for run in runs if run["way"] == reference]
        summary[f"ratio_to_{reference}"] = seconds / sum_sweep_seconds(others) if others else None
    summary |= {name: max(run[name] for run in own) for name in ("peak_memory_bytes", "stored_bytes")}
    summary |= describe_sample(metric, [run[metric] for run in own])
    return summary | describe_sample(f"{metric}_minus_{REFERENCES[0]}", differences)


def sum_sweep_seconds(runs: Sequence[Run]) -> float:
    return sum(run["seconds"] for run in runs) / len({run["seed"] for run in runs})


def describe_sample(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Mean and its standard error; None where there are too few values."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {name: statistics.mean(values) if values else None, f"{name}_standard_error": error}


def format_report(report: dict[str, Any]) -> str:
    """The table, and what it was measured on."""
    metric = METRICS[report["settings"]["task_type"]]
    titles = ["sweep", "way", "seconds", *(f"/ {name}" for name in REFERENCES), "peak MB", "stored MB"]
    titles += [f"{report['scored_on']} {metric}", f"- {REFERENCES[0]}, paired"]
    rows = [titles, ["---"] * len(titles), *(format_row(row, metric) for row in report["summary"])]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    precisions = dict.fromkeys(f"{row['way']} {row['precision']}" for row in report["summary"])
    facts = {
        "hardware": report["hardware"] | {"threads": report["settings"]["threads"]},
        "versions": report["versions"],
        "rows": report["rows"],
        "layers": {run["strategy"]: run["layers"] for run in report["runs"]},
    }
    lines = [f"{name}: {', '.join(f'{key} {value}' for key, value in pairs.items())}" for name, pairs in facts.items()]
    lines += [f"precision: {', '.join(precisions)}", f"teacher {metric}: {report[f'teacher_{metric}']:.4f}"]
    return "\n".join([table, "", "± is the standard error over strategies x seeds.", *lines])


def format_row(row: dict[str, Any], metric: str) -> list[str]:
    ratios = (row[f"ratio_to_{name}"] for name in REFERENCES)
    sizes = (row[name] / 1e6 for name in ("peak_memory_bytes", "stored_bytes"))
    samples = (format_sample(row, name) for name in (metric, f"{metric}_minus_{REFERENCES[0]}"))
    numbers = [f"{row['seconds']:.1f}", *("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios)]
    return [str(row["sweep"]), row["way"], *numbers, *(f"{size:.1f}" for size in sizes), *samples]


def format_sample(row: dict[str, Any], name: str) -> str:
    mean, error = row[name], row[f"{name}_standard_error"]
    if mean is None:
        return "-"
    return f"{mean:.4f}" if error is None else f"{mean:.4f} ± {error:.4f}"
