"""Flags that each arm gets its own value of: the same grid for every arm, tried with the first seed, chosen on
validation rows by the rule of the kept epoch.

The plan is in two parts: the trials are known at once, the runs with further seeds when the trials of their arm are
finished. Which value an arm got is read from the trials' own records each time, and kept nowhere else.

Entry: `parse_grid`, then `plan_trials` and `plan_further_seeds`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from layer_distillation.comparison.grouping import ANSWERED_ARGUMENTS, ROW_ARGUMENTS, START_ARGUMENTS
from layer_distillation.comparison.runs import TEACHER_ARGUMENTS
from layer_distillation.records.run_record import FINISHED, HARMLESS_ARGUMENTS, RunRecord, check_finished
from layer_distillation.records.student_names import name_folder
from layer_distillation.records.tuning import choose_trial, get_criterion, name_criterion, rank_value
from layer_distillation.sweep.plan import WAITING, PlannedRun, SweepSettings, Tuning, list_arms, plan_run

Grid = Mapping[str, Sequence[str]]
SEEDS = ("seed", "data_seed", "sample_seed")
RULE = ("metric_for_best_model", "greater_is_better", "load_best_model_at_end", "eval_strategy", "eval_steps")
OWN = ("tuned_flags", "hub_token")


# ---- the grid ------------------------------------------------------------------------------------------------------


def parse_grid(texts: Sequence[str], flags: Sequence[str]) -> dict[str, list[str]]:
    """`learning_rate=1e-4,2e-4` -> name and values, of each --tune. Whether the flags take them is the runs' to say.

    Raises:
        ValueError: it is no grid, or of a flag that an arm cannot have its own value of.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        check_name(name, text)
        if name in grid:
            raise ValueError(f"--tune {name} is there twice: give all its values at once, with commas between")
        if any(flag.startswith("--") and flag[2:].split("=")[0].replace("-", "_") == name for flag in flags):
            raise ValueError(f"--{name} is among the flags of the runs and tuned as well: leave one of the two out")
        grid[name] = [value.strip() for value in values.split(",")]
        check_values(name, grid[name])
    return grid


def check_name(name: str, text: str) -> None:
    """Raises ValueError for what is no flag, or one that every arm has to have the same value of."""
    if not name.isidentifier() or "=" not in text:
        raise ValueError(f'--tune is "{text}": give a flag and values, such as learning_rate=1e-4,2e-4,4e-4')
    if name in (*START_ARGUMENTS, "student_width_init", *SEEDS):
        raise ValueError(f"--tune {name}: it makes arms and seeds, which --strategies and --seeds name")
    if name in ROW_ARGUMENTS or name.startswith(ANSWERED_ARGUMENTS):
        raise ValueError(f"--tune {name}: arms are compared on the same rows and with one teacher, leave it out")
    if name in RULE:
        raise ValueError(f"--tune {name}: it is what values are chosen by, leave it out")
    if name in HARMLESS_ARGUMENTS or name in OWN:
        raise ValueError(f"--tune {name}: it changes no student, leave it out")


def check_values(name: str, values: Sequence[str]) -> None:
    """Raises ValueError where there is nothing to choose from."""
    if "" in values:
        raise ValueError(f"--tune {name} has no value, or an empty one: give some, such as {name}=1e-4,2e-4")
    seen: dict[tuple[float, str], str] = {}
    for value in values:
        if (first := seen.setdefault(rank_value(value), value)) is not value:
            raise ValueError(f"--tune {name} has {first} twice (as {value}): each value is tried once, leave one out")
    if len(values) < 2:
        raise ValueError(f"--tune {name} has one value, and nothing to choose from: give more, or --{name} {values[0]}")


# ---- the plan ------------------------------------------------------------------------------------------------------


def plan_trials(settings: SweepSettings, launch: Sequence[str]) -> list[PlannedRun]:
    """Arm by arm every point of its grid, with the first seed, in a folder beside those of the other seeds."""
    first = list(dict.fromkeys(arm for arm in list_arms(settings) if int(arm[1]) == int(settings.seeds[0])))
    points = [(arm, values) for arm in first for values in list_points(settings, arm)]
    return [plan_point(settings, launch, arm, values, is_trial=True) for arm, values in points]


def plan_further_seeds(
    settings: SweepSettings, launch: Sequence[str], chosen: Mapping[str, Mapping[str, str]]
) -> list[PlannedRun]:
    """The runs with all other seeds; an arm that is not among `chosen`, by name, has the first point of its grid, so
    that its flags can be checked."""
    others = [arm for arm in dict.fromkeys(list_arms(settings)) if int(arm[1]) != int(settings.seeds[0])]
    return [
        plan_point(settings, launch, arm, chosen.get(arm[0] + arm[2]) or list_points(settings, arm)[0], is_trial=False)
        for arm in others
    ]


def plan_point(
    settings: SweepSettings,
    launch: Sequence[str],
    arm: tuple[str, str, str],
    values: Mapping[str, str],
    is_trial: bool,
) -> PlannedRun:
    """One run of an arm, with its values of the tuned flags."""
    grid, point = select_grid(settings, arm), "".join(f"-{name}-{name_folder(text)}" for name, text in values.items())
    tuning = Tuning(grid, settings.seeds[0], dict(values), is_trial)
    return plan_run(settings, launch, *arm, point=point, tuning=tuning)


def list_points(settings: SweepSettings, arm: tuple[str, str, str]) -> list[dict[str, str]]:
    grid = select_grid(settings, arm)
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def select_grid(settings: SweepSettings, arm: tuple[str, str, str]) -> Grid:
    """A start without the teacher has of the grid only what is not of the teacher's terms, which it has not."""
    without = {"ce_weight", *TEACHER_ARGUMENTS} if arm[2] else set()
    return {name: values for name, values in settings.tune.items() if name not in without}


# ---- the choice ----------------------------------------------------------------------------------------------------


def choose_values(trials: Sequence[PlannedRun]) -> dict[str, dict[str, str]]:
    """Arm -> its values, of the arms whose trials have all left the record of a finished run and a whole student."""
    chosen = {}
    for arm, found in group_by_arm(trials).items():
        if records := read_records(found):
            chosen[arm] = found[choose_trial(records, list(found[0].tuning.values))].tuning.values
    return chosen


def list_chosen(runs: Sequence[PlannedRun], chosen: Mapping[str, Mapping[str, str]]) -> list[PlannedRun]:
    """Of each arm that has its values the trial with them: its run with the first seed."""
    return [run for run in runs if run.is_trial and run.tuning.values == chosen.get(run.arm)]


def mark_waiting(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """With their states known: the runs of further seeds whose arm has a trial that is not finished."""
    open_arms = {run.arm for run in runs if run.is_trial and run.state != FINISHED}
    return [replace(run, state=WAITING) if not run.is_trial and run.arm in open_arms else run for run in runs]


def read_records(trials: Sequence[PlannedRun]) -> list[RunRecord]:
    """Of all of them, or none."""
    try:
        return [check_finished(trial.folder) for trial in trials]
    except ValueError:
        return []


def group_by_arm(runs: Sequence[PlannedRun]) -> dict[str, list[PlannedRun]]:
    arms: dict[str, list[PlannedRun]] = {}
    for run in runs:
        arms.setdefault(run.arm, []).append(run)
    return arms


def describe_choice(trials: Sequence[PlannedRun]) -> str:
    """A line: what the arm was given, out of what, and by which scores on validation rows."""
    records = read_records(trials)
    place = choose_trial(records, list(trials[0].tuning.values))
    scores = ", ".join(
        f"{format_values(trial.tuning.values)} {get_criterion(record):.4f}"
        for trial, record in zip(trials, records, strict=True)
    )
    return (
        f"{trials[0].arm}: {format_values(trials[place].tuning.values)}, of {len(trials)} by validation "
        f"{name_criterion(records[0])} with seed {trials[0].seed} ({scores})"
    )


def describe_budget(runs: Sequence[PlannedRun]) -> str:
    """A line: what every arm is tuned over."""
    grids = {run.arm: run.tuning for run in runs}
    budgets: dict[str, list[str]] = {}
    for arm, tuning in grids.items():
        values = " ".join(f"{name}={','.join(values)}" for name, values in tuning.grid.items()) or "nothing"
        budgets.setdefault(f"{values}: {tuning.count_trials()} with seed {tuning.seed} for each of", []).append(arm)
    return "tuning over " + "; over ".join(f"{budget} {', '.join(arms)}" for budget, arms in budgets.items())


def format_values(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "nothing to tune"
