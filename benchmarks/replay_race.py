"""What a race would have cost and said on recorded runs, beside the verdict of all of them.

    python -m benchmarks.replay_race results/natural_logic results/sick results/sst2 results/mrpc results/rte \
        results/cola results/sick-2-layers

Each argument is one task's runs, with all seeds of every arm. Draws of random layers are taken in the order of their
seeds, as a race would pair them with the seeds of the others. The last line is one JSON object.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import group_runs
from layer_distillation.comparison.race import AHEAD, BEHIND
from layer_distillation.comparison.race_runs import RacePlan, RaceResult
from layer_distillation.comparison.results import UnitResult, analyse_unit
from layer_distillation.comparison.runs import read_runs
from layer_distillation.comparison.statistics import LEVEL
from layer_distillation.records.markdown_text import format_table


@dataclass
class Replay:
    """Arms by what the race and the fixed design say of them, held against the best or their start."""

    name: str
    num_runs: int
    most_runs: int
    num_looks: int
    leader: str
    best: str
    agreed: list[str]
    undecided: list[str]  # of those that all runs decide
    contradicted: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS")
    parser.add_argument("--resamples", type=int, default=10_000)
    arguments = parser.parse_args(argv)
    replays = [replay(path, arguments.resamples) for path in arguments.runs]
    header = ["", "runs", "share", "looks", "race", "all runs", "decided by both", "undecided", "contradicted"]
    print(format_table(header, [list_row(found) for found in replays]))
    print(json.dumps({found.name: vars(found) for found in replays}))


def replay(path: Path, num_resamples: int) -> Replay:
    [unit] = group_runs(read_runs(find_run_folders([path]))[0])
    seeds = next(arm.seeds for arm in unit.arms if not arm.is_control)
    result = analyse_unit(unit, "auto", None, num_resamples, RacePlan(seeds))
    fixed = list_fixed(result)
    raced = list_raced(result.race)
    return Replay(
        name=unit.name,
        num_runs=result.race.num_runs,
        most_runs=len(unit.runs),
        num_looks=result.race.last.number,
        leader=result.race.last.leader,
        best=result.best.name,
        agreed=[name for name, side in raced.items() if fixed.get(name) == side],
        undecided=[name for name in fixed if name not in raced],
        contradicted=[name for name, side in raced.items() if fixed.get(name) != side],
    )


def list_fixed(result: UnitResult) -> dict[str, str]:
    """Arms that all runs together tell from the best, or from their start."""
    pairs = [*result.comparisons, *result.control_comparisons]
    pairs += [pair for pair in result.teacher_comparisons if pair.first == result.best.name]
    shown = [pair for pair in pairs if pair.estimate is not None and pair.adjusted_p_value < LEVEL]
    return {pair.second: BEHIND if pair.estimate.value > 0 else AHEAD for pair in shown}


def list_raced(race: RaceResult) -> dict[str, str]:
    judged = race.last.judgements.items()
    return {name: judgement.state for name, judgement in judged if judgement.state in (BEHIND, AHEAD)}


def list_row(found: Replay) -> list[str]:
    numbers = [f"{found.num_runs} of {found.most_runs}", f"{found.num_runs / found.most_runs:.0%}"]
    names = [", ".join(names) or "-" for names in (found.agreed, found.undecided, found.contradicted)]
    return [found.name, *numbers, str(found.num_looks), found.leader, found.best, *names]


if __name__ == "__main__":
    main()
