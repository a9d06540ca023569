"""A sweep whose seeds go to the arms that may still be the best: look by look, until nothing is left to decide.

What is known is what the records say: started again, the same command repeats the looks and goes on from there.

Entry: `race`, `describe_plan`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from layer_distillation.comparison.race import Look, Racer, RunKey, follow_race
from layer_distillation.comparison.race_report import describe_look, summarize_look
from layer_distillation.comparison.race_runs import RunScores, make_racers
from layer_distillation.comparison.results import choose_metric, choose_split
from layer_distillation.comparison.runs import CONTROL_STRATEGIES, Run, read_run
from layer_distillation.records.run_record import FINISHED
from layer_distillation.sweep.plan import WITHOUT_TEACHER, PlannedRun
from layer_distillation.sweep.tuning import choose_values, list_chosen

NUM_RESAMPLES = 10_000  # as of the comparison
Execute = Callable[[Sequence[PlannedRun]], Iterable[PlannedRun]]


class RacedRuns:
    """The runs of a plan that are finished, read once, as a race looks at them."""

    def __init__(self, planned: Sequence[PlannedRun]) -> None:
        self.planned = {(run.arm, int(run.seed)): run for run in planned}
        self.runs: dict[RunKey, Run] = {}
        self.measure: RunScores | None = None

    def add(self, run: PlannedRun) -> None:
        """Raises ValueError for a run that cannot be compared."""
        found = read_run(run.folder)
        self.runs[run.arm, int(run.seed)] = found
        if self.measure is None:
            split = choose_split(found, "auto")
            self.measure = RunScores(self.runs, split, choose_metric(found, None, split), NUM_RESAMPLES)

    def follow(self, failed: set[str]) -> tuple[list[Look], list[PlannedRun]]:
        """The looks so far, and the runs that the next one lacks; without the arms that failed."""
        racers = make_racers([racer for racer in self.list_racers() if racer.name not in failed])
        if len(racers) < 2:
            return [], []
        looks, missing = follow_race(racers, lambda keys: self.measure(keys), self.runs.__contains__)
        return looks, [self.planned[key] for key in missing]

    def list_racers(self) -> list[Racer]:
        arms: dict[str, list[PlannedRun]] = {}
        for run in self.planned.values():
            arms.setdefault(run.arm, []).append(run)
        return [make_racer(runs) for runs in arms.values()]


def make_racer(runs: Sequence[PlannedRun]) -> Racer:
    first, seeds = runs[0], tuple(int(run.seed) for run in runs)
    start = first.strategy if first.arm.endswith(WITHOUT_TEACHER) else ""
    is_control = first.strategy in CONTROL_STRATEGIES or bool(start)
    return Racer(first.arm, seeds, is_control, first.strategy == "random", start)


def race(planned: Sequence[PlannedRun], execute: Execute, tell: Callable[[str], None]) -> None:
    """Executes what each look needs. An arm with a run that failed, or cannot be compared, is out of the race.

    Chosen trials are finished before it: they are the runs of their arms with the first seed.

    Args:
        execute: makes runs, and returns those that are finished.
    """
    raced, num_told = RacedRuns(planned), 0
    failed = {run.arm for run in planned if run.is_trial and not add_readable(raced, run, tell)}  # these are finished
    while True:
        looks, missing = raced.follow(failed)
        for look in looks[num_told:]:
            tell(summarize_look(look))
        num_told = max(num_told, len(looks))
        if not missing:
            return
        finished = list(execute(missing))
        lost = dict.fromkeys(run.arm for run in missing if run not in finished or not add_readable(raced, run, tell))
        if lost:
            tell(f"out of the race: {' '.join(lost)}; the looks without:")
            failed, num_told = failed | lost.keys(), 0


def add_readable(raced: RacedRuns, run: PlannedRun, tell: Callable[[str], None]) -> bool:
    try:
        raced.add(run)
    except (ValueError, OSError) as error:
        tell(f"{run.name} cannot be raced: {error}")
        return False
    return True


def describe_plan(planned: Sequence[PlannedRun], tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """For JSON: every run, `wanted` as far as the records there decide, then what was decided at each look.

    Where arms are tuned, all trials are wanted, and the race begins when they are finished. As in the race, an arm that
    needs a finished run that cannot be compared is out.
    """
    trials = [run for run in planned if run.is_trial]
    raced = RacedRuns([*list_chosen(trials, choose_values(trials)), *(run for run in planned if not run.is_trial)])
    finished = [run for run in raced.planned.values() if run.state == FINISHED]
    unreadable = [run for run in finished if not add_readable(raced, run, tell)]
    has_begun = all(run.state == FINISHED for run in trials)
    looks, missing, failed = [], [], set()
    while has_begun:
        looks, missing = raced.follow(failed)
        if not (lost := {run.arm for run in missing if run in unreadable}):
            break
        failed |= lost
    wanted = {run.name for run in [*trials, *missing]} | {raced.planned[key].name for key in list_raced(looks, raced)}
    return [*(run.describe() | {"wanted": run.name in wanted} for run in planned), *map(describe_look, looks)]


def list_raced(looks: Sequence[Look], raced: RacedRuns) -> list[RunKey]:
    """What the looks so far rest on."""
    counts = looks[-1].num_seeds if looks else {}
    return [(racer.name, seed) for racer in raced.list_racers() for seed in racer.seeds[: counts.get(racer.name, 0)]]
