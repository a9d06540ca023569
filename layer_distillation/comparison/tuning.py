"""Arms with values of their own of some flags, chosen on validation rows: which, out of what, and what was not chosen.

A sweep's `--tune` runs every arm with each value and one seed, and the further seeds with the chosen value alone. The
runs say which flags that concerns (`tuned_flags`); the choice is made again here, from their records, and never read.

Entry: `settle_tuning` of the runs of one arm; `table_tuning`, `describe_tuning` and `list_tuning_remarks` of the arms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layer_distillation.comparison.runs import LeftOut, Run
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.student_names import format_setting
from layer_distillation.records.tuning import choose_trial, get_criterion, name_criterion, rank_value

if TYPE_CHECKING:
    from layer_distillation.comparison.arms import Arm


@dataclass(frozen=True)
class Trial:
    """One point of the grid; `score` is what it is chosen by, as the record has it."""

    folder: str
    values: dict[str, Any]
    score: float
    is_chosen: bool


@dataclass(frozen=True)
class Tuning:
    """The trials of an arm, by their values; all have one seed."""

    seed: int
    split: str
    criterion: str
    trials: list[Trial]

    @property
    def values(self) -> dict[str, Any]:
        return next(trial.values for trial in self.trials if trial.is_chosen)

    def list_tried(self, name: str) -> list[Any]:
        return sorted({trial.values[name] for trial in self.trials}, key=rank_value)


def settle_tuning(arm_name: str, runs: Sequence[Run]) -> tuple[list[Run], Tuning | None, list[LeftOut]]:
    """The runs with the chosen values, how these were chosen, and runs of further seeds with other values.

    Trials that were not chosen are in the second alone. Runs that are not tuned stay as they are.

    Raises:
        ValueError: several seeds were tried with equally many values.
    """
    names = runs[0].tuned
    if not names:
        return list(runs), None, []
    points = {id(run): get_values(run, names) for run in runs}
    by_seed: dict[int, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.record.seed, []).append(run)
    seed = find_tuned_seed(arm_name, {seed: [points[id(run)] for run in found] for seed, found in by_seed.items()})
    trials = by_seed[seed]
    chosen = trials[choose_trial([run.record for run in trials], names)]
    kept = [run for run in runs if points[id(run)] == points[id(chosen)]]
    others = [run for run in runs if run.record.seed != seed and run not in kept]
    reason = f"{format_values(points[id(chosen)])} was chosen for its arm, and not "
    left_out = [LeftOut(run.folder, reason + format_values(points[id(run)])) for run in others]
    return kept, describe_trials(trials, chosen, names), left_out


def find_tuned_seed(arm_name: str, points: Mapping[int, Sequence[Mapping[str, Any]]]) -> int:
    """The one with the most values: another has several where the choice was another one before.

    Raises ValueError where several have equally many.
    """
    counts = {seed: len({repr(values) for values in found}) for seed, found in points.items()}
    seeds = sorted(seed for seed, number in counts.items() if number == max(counts.values()))
    if len(seeds) > 1 and counts[seeds[0]] > 1:
        names = ", ".join(points[seeds[0]][0])
        raise ValueError(
            f"arm {arm_name!r} has runs with {counts[seeds[0]]} values of {names} for each of the seeds "
            f"{' and '.join(map(str, seeds))}: it is tuned with one seed, give its trials with that one alone"
        )
    return seeds[0]


def describe_trials(trials: Sequence[Run], chosen: Run, names: Sequence[str]) -> Tuning:
    """One entry for each point: a trial may be there twice."""
    found = {}
    for run in [chosen, *trials]:
        values = get_values(run, names)
        found.setdefault(repr(values), Trial(run.folder, values, get_criterion(run.record), run is chosen))
    ordered = sorted(found.values(), key=lambda trial: [rank_value(value) for value in trial.values.values()])
    return Tuning(chosen.record.seed, chosen.selecting_split, name_criterion(chosen.record), ordered)


def get_values(run: Run, names: Sequence[str]) -> dict[str, Any]:
    return {name: run.record.arguments.get(name) for name in names}


def format_values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {format_setting(value)}" for name, value in values.items())


# ---- what is shown -------------------------------------------------------------------------------------------------


def table_tuning(arms: Sequence["Arm"]) -> list[list[str]]:
    """A row per tuned arm: its value, how many were tried, and each one with what it was chosen by."""
    rows = [[show_strategy(arm.name), *format_choice(arm.tuning)] for arm in arms if arm.tuning]
    return [["", "chosen", "trials", "not counted", "tried (what it was chosen by)"], *rows] if rows else []


def format_choice(tuning: Tuning) -> list[str]:
    tried = [f"{format_values(trial.values)} ({trial.score:.4f})" for trial in tuning.trials]
    number = len(tuning.trials)
    return [format_values(tuning.values), str(number), str(number - 1), "; ".join(tried)]


def title_tuning(arms: Sequence["Arm"]) -> str:
    tunings = [arm.tuning for arm in arms if arm.tuning]
    what = " and ".join(sorted({f"{tuning.split} {tuning.criterion}" for tuning in tunings}))
    seeds = " and ".join(sorted({str(tuning.seed) for tuning in tunings}))
    return f"Tuned for each arm by itself (by {what}, with seed {seeds})"


def describe_tuning(arms: Sequence["Arm"]) -> list[str]:
    """For the verdict: that arms differ in what is tuned, and which value each has."""
    if not any(arm.tuning for arm in arms):
        return []
    own = [f"{show_strategy(arm.name)} {name_choice(arm.tuning)}" for arm in arms]
    return [f"Each arm has the values that its own validation rows chose: {'; '.join(own)}."]


def name_choice(tuning: Tuning | None) -> str:
    if tuning is None:
        return "nothing to tune"
    return f"{format_values(tuning.values)} (of {len(tuning.trials)})"


def list_tuning_remarks(arms: Sequence["Arm"]) -> list[str]:
    """Arms that were not tuned over the same values, and choices at the end of what was tried."""
    remarks = []
    tuned = [arm for arm in arms if arm.tuning]
    for name in dict.fromkeys(name for arm in tuned for name in arm.tuning.values):
        having = [arm for arm in tuned if name in arm.tuning.values]
        grids: dict[str, list[str]] = {}
        for arm in having:
            tried = ", ".join(map(format_setting, arm.tuning.list_tried(name)))
            grids.setdefault(tried, []).append(show_strategy(arm.name))
        if len(grids) > 1:
            shown = "; ".join(f"{tried} by {' and '.join(arms)}" for tried, arms in grids.items())
            remarks.append(f"not the same budget: {name} was tried as {shown}")
        at_end = [show_strategy(arm.name) for arm in having if is_at_end(arm.tuning, name)]
        if at_end:
            remarks.append(f"the best {name} is the lowest or highest that was tried: {', '.join(at_end)}")
    return remarks + list_lacking_combinations(tuned)


def list_lacking_combinations(tuned: Sequence["Arm"]) -> list[str]:
    """Of arms with several tuned flags, as each flag's own values may all be there."""
    untried = find_untried([arm for arm in tuned if len(arm.tuning.values) > 1])
    return [
        f"not the same budget: {show_strategy(name)} was not tried with {' or '.join(map(format_values, lacking))}"
        for name, lacking in untried.items()
    ]


def find_untried(arms: Sequence["Arm"]) -> dict[str, list[dict[str, Any]]]:
    """Arm -> the values that others were tried with, and it was not: a trial of it has failed, or is yet to come."""
    untried = {}
    tuned = [arm for arm in arms if arm.tuning]
    for arm in tuned:
        own, names = [trial.values for trial in arm.tuning.trials], arm.tuning.values.keys()
        others = [other.tuning.trials for other in tuned if names <= other.tuning.values.keys()]
        points = [{name: trial.values[name] for name in names} for trials in others for trial in trials]
        if lacking := [point for place, point in enumerate(points) if point not in own + points[:place]]:
            untried[arm.name] = lacking
    return untried


def is_at_end(tuning: Tuning, name: str) -> bool:
    """Of numbers: a wider grid might hold a better one."""
    tried = tuning.list_tried(name)
    is_ordered = len(tried) > 1 and not any(rank_value(value)[1] for value in tried)
    return is_ordered and tuning.values[name] in (tried[0], tried[-1])
