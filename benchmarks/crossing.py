"""Two choices crossed: which of them matters, and does the one depend on the other?

    python -m benchmarks.crossing studies/start_by_matching/sick --by layer_strategy layer_matching

From the repository's root. Of runs of every pair of values under the same seeds: the mean metric of each pair with its
standard deviation over seeds, and a two-way analysis of variance with seeds as replicates, which tells what share of
the variance each choice, both together, and the seed explain. The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import f as f_distribution

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import list_differences, list_settings
from layer_distillation.comparison.runs import Run, read_runs

Key = tuple[str, str, int]  # the value of each choice, and the seed


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="Runs of one task, or folders of them.")
    parser.add_argument(
        "--by", nargs=2, default=["layer_strategy", "layer_matching"], help="Two arguments of the runs."
    )
    arguments = parser.parse_args(argv)
    try:
        runs, left_out = read_runs(find_run_folders(arguments.runs), varied=arguments.by)
        for folder, reason in left_out:
            print(f"left out: {folder}: {reason}", file=sys.stderr)
        report = make_report(runs, arguments.by)
    except ValueError as error:
        print(f"crossing.py: error: {error}", file=sys.stderr)
        return 2
    print(format_report(report))
    print(json.dumps(report))
    return 0


def make_report(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    """All that is printed.

    Raises:
        ValueError: no run, runs that differ in more than the two choices, or a pair without a seed that another has.
    """
    if not runs:
        raise ValueError("no finished run is there: give a folder that holds some")
    first = runs[0]
    if unknown := [name for name in names if name not in first.record.arguments]:
        raise ValueError(
            f"--by {unknown[0]} is no argument of the runs: name two, such as layer_strategy layer_matching"
        )
    metric, split = first.list_metrics()[0], "test" if "test" in first.labelled_rows else first.selecting_split
    scores: dict[Key, float] = {}
    for run in runs:
        if differences := list_differences(list_settings(first), list_settings(run)):
            raise ValueError(f"{run.folder} differs in more ({'; '.join(differences.values())}): keep it elsewhere")
        key = (*(str(run.record.arguments[name]) for name in names), run.record.seed)
        if key in scores:
            raise ValueError(f"{run.folder} is a second run of {key[0]} x {key[1]} seed {key[2]}: keep one of them")
        scores[key] = run.score(metric, split)
    rows, columns, seeds = (sorted({key[place] for key in scores}) for place in range(3))
    values = arrange(scores, rows, columns, seeds)
    return {
        "by": list(names),
        "metric": f"{split} {metric}",
        "teacher": first.score(metric, split, "teacher"),
        "rows": rows,
        "columns": columns,
        "seeds": seeds,
        "values": values.tolist(),
        "effects": analyze_variance(values, names),
    }


def arrange(
    scores: Mapping[Key, float], rows: Sequence[str], columns: Sequence[str], seeds: Sequence[int]
) -> np.ndarray:
    """(rows, columns, seeds); raises ValueError where one is missing."""
    missing = [
        f"{row} x {column} seed {seed}"
        for row, column, seed in product(rows, columns, seeds)
        if (row, column, seed) not in scores
    ]
    if missing:
        raise ValueError(f"not every pair has every seed: run {', '.join(missing)} too")
    return np.array([[[scores[row, column, seed] for seed in seeds] for column in columns] for row in rows])


def analyze_variance(values: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Share of the sum of squares, F and p of each choice, of both together, and the share that is left to the seed.

    The fixed-effects model of a balanced two-way layout with replicates (Montgomery, Design and Analysis of
    Experiments, section 5.3). The evaluated rows are taken as given: what others would say is in no error here.

    Args:
        values: (rows, columns, replicates), at least two of each.

    Raises:
        ValueError: fewer than two of something, or seeds that change nothing.
    """
    num_rows, num_columns, num_replicates = values.shape
    if min(values.shape) < 2:
        raise ValueError("a crossing takes two values of each choice and two seeds at least")
    mean, cells = values.mean(), values.mean(axis=2)
    row_effects, column_effects = values.mean(axis=(1, 2)) - mean, values.mean(axis=(0, 2)) - mean
    both = cells - mean - row_effects[:, None] - column_effects[None, :]
    error = float(np.square(values - cells[..., None]).sum())
    if not error:
        raise ValueError("every seed gives the same score: there is no error to test against")
    error_freedom = num_rows * num_columns * (num_replicates - 1)
    total = float(np.square(values - mean).sum())
    squares = {
        names[0]: (num_columns * num_replicates * np.square(row_effects).sum(), num_rows - 1),
        names[1]: (num_rows * num_replicates * np.square(column_effects).sum(), num_columns - 1),
        "both together": (num_replicates * np.square(both).sum(), (num_rows - 1) * (num_columns - 1)),
    }
    effects: dict[str, dict[str, float | None]] = {}
    for name, (square, freedom) in squares.items():
        ratio = float(square / freedom / (error / error_freedom))
        p_value = float(f_distribution.sf(ratio, freedom, error_freedom))
        effects[name] = {"share": float(square) / total, "f": ratio, "p": p_value}
    return effects | {"seed": {"share": error / total, "f": None, "p": None}}


def format_report(report: dict[str, Any]) -> str:
    """A table of the pairs with the means of rows and columns, and a line per effect."""
    titles = [" \\ ".join(report["by"]), *report["columns"], "mean"]
    lines = [titles, ["---"] * len(titles)]
    values = np.array(report["values"])
    for name, cells in zip(report["rows"], values, strict=True):
        shown = [f"{cell.mean():.3f} ± {statistics.stdev(cell):.3f}" for cell in cells]
        lines.append([name, *shown, f"{cells.mean():.3f}"])
    lines.append(["mean", *(f"{mean:.3f}" for mean in values.mean(axis=(0, 2))), f"{values.mean():.3f}"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    facts = [f"{report['metric']}, mean ± standard deviation over seeds {', '.join(map(str, report['seeds']))}"]
    facts.append(f"teacher: {report['teacher']:.3f}")
    for name, effect in report["effects"].items():
        test = "" if effect["p"] is None else f", F {effect['f']:.1f}, p {effect['p']:.2g}"
        facts.append(f"{name}: {effect['share']:.0%} of the variance{test}")
    return "\n".join([table, "", *facts])


if __name__ == "__main__":
    sys.exit(main())
