"""A race over finished runs: who takes part, what is measured, and how far it has come.

Entry: `race_arms`, of a comparison; `make_racers`, `RunScores`, of a sweep at work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from layer_distillation.comparison.arms import Arm
from layer_distillation.comparison.grouping import Unit
from layer_distillation.comparison.pairs import PairedScores
from layer_distillation.comparison.race import Look, Racer, RunKey, follow_race
from layer_distillation.comparison.runs import Run
from layer_distillation.comparison.tuning import find_untried

# Why an arm is not in the race.
MISSING = "a run that it was to have is missing"
UNTRIED = "its value was not chosen out of all that others were tried with"
NO_SEED = "no draw of it was to be had"
NO_START = "the same start with the teacher's terms is not"


@dataclass(frozen=True)
class RacePlan:
    """The seeds that an arm may get, in order; of random layers as many as are drawn, None: those that there are."""

    seeds: Sequence[int]
    num_draws: int | None = None


@dataclass
class RaceResult:
    """`looks`: none where fewer than two arms took part to the end; `left_out`: arms that did not, and why."""

    looks: list[Look]
    racers: list[Racer]
    left_out: dict[str, str]

    @property
    def last(self) -> Look:
        return self.looks[-1]

    @property
    def num_runs(self) -> int:
        return sum(self.last.num_seeds.values())

    @property
    def most_runs(self) -> int:
        return sum(len(racer.seeds) for racer in self.racers)


class RunScores:
    """What a look measures, of runs by arm and seed; each set of runs once."""

    def __init__(self, runs: Mapping[RunKey, Run], split: str, metric_name: str, num_resamples: int) -> None:
        self.runs, self.split, self.metric_name, self.num_resamples = runs, split, metric_name, num_resamples
        self.known: dict[tuple[RunKey, ...], PairedScores] = {}

    def __call__(self, keys: Sequence[RunKey]) -> PairedScores:
        if (known := tuple(keys)) not in self.known:
            unit = Unit("", 0, [Arm("", [self.runs[key] for key in keys])])
            self.known[known] = PairedScores(unit, self.split, self.metric_name, self.num_resamples)
        return self.known[known]


def make_racers(racers: Sequence[Racer]) -> list[Racer]:
    """Those that can be raced: no start without the teacher's terms where the one with them is not there.

    Where there are controls alone, they are held against each other.
    """
    names = {racer.name for racer in racers}
    kept = [racer for racer in racers if not racer.start or racer.start in names]
    if all(racer.is_control for racer in kept):
        return [replace(racer, is_control=False, start="") for racer in kept]
    return kept


def race_arms(arms: Sequence[Arm], plan: RacePlan, split: str, metric_name: str, num_resamples: int) -> RaceResult:
    """Repeats, look by look, the race that the runs come from."""
    runs = {(arm.name, run.record.seed): run for arm in arms for run in arm.runs}
    measure = RunScores(runs, split, metric_name, num_resamples)
    left_out = dict.fromkeys(find_untried(arms), UNTRIED)
    left_out |= {arm.name: NO_SEED for arm in arms if not make_racer(arm, plan).seeds}
    looks: list[Look] = []
    while len(racers := make_racers([make_racer(arm, plan) for arm in arms if arm.name not in left_out])) > 1:
        looks, missing = follow_race(racers, measure, runs.__contains__)
        if not missing:
            break
        looks = []
        left_out |= {name: MISSING for name, _ in missing}
    names = {racer.name for racer in racers}
    left_out |= {arm.name: NO_START for arm in arms if arm.name not in names | left_out.keys()}
    return RaceResult(looks, racers, left_out)


def make_racer(arm: Arm, plan: RacePlan) -> Racer:
    run, is_drawn = arm.runs[0], arm.strategy == "random"
    drawn = arm.seeds if plan.num_draws is None else plan.seeds[: plan.num_draws]
    start = "" if run.has_teacher_terms else run.start_name
    return Racer(arm.name, tuple(drawn if is_drawn else plan.seeds), run.is_control, is_drawn, start)
