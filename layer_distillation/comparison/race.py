"""Which arms of a sweep get another seed, and what may be said of the others: a sequential test over looks.

Every arm starts with one seed. After each look the arms that are decided, and those that no seed that is left would
decide, get no more; the others get one. How the error is held over all looks and arms:

- A difference of two arms is tested once for each number of seeds that they share. With the share t of the seeds that
  there may be, alpha t^2 of the level may have been spent (Lan and DeMets, Discrete sequential boundaries for clinical
  trials, Biometrika 70, 1983; the function: Kim and DeMets, Design and analysis of group sequential tests based on the
  type I error spending rate function, Biometrika 74, 1987). What the tests spend is simply added up, so that the joint
  distribution of the looks does not matter: the smallest p-value, over its part, is a p-value of all looks.
- Holm's correction over all pairs of a family is applied to those, at every look (a closed test: Maurer and Bretz,
  Multiple testing in group sequential trials, Statistics in Biopharmaceutical Research 5, 2013).
- Nothing is tested before it is known how much a seed changes (`comparison/race_differences.py`). Draws of random
  layers vary by what is drawn too: only their own variance counts, from three draws on.
- To stop because nothing would be decided costs power and never adds to the error.

Entry: `follow_race`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from layer_distillation.comparison.race_differences import (
    Difference,
    Measured,
    SeedVariance,
    measure_difference,
    measure_seeds,
    predict_decision,
)
from layer_distillation.comparison.statistics import LEVEL, adjust_by_holm

FEWEST_DRAWS = 3
FEWEST_MEASURED = 3  # arms with a second seed: what a seed changes is then known with 2 degrees of freedom
FEWEST_FREEDOM = 2
LEAST_CHANCE = 0.2  # that the seeds that are left decide a pair: below, it gets none of them
LEADS, OPEN, BEHIND, AHEAD, UNDECIDED = "leads", "open", "behind", "ahead", "undecided"

Pair = tuple[str, str]
RunKey = tuple[str, int]  # arm and seed
Measure = Callable[[Sequence[RunKey]], Measured]


@dataclass(frozen=True)
class Racer:
    """An arm. `seeds`: all that it may get, in order; `start`: of one without the teacher's terms, the one with."""

    name: str
    seeds: tuple[int, ...]
    is_control: bool = False
    is_drawn: bool = False
    start: str = ""


@dataclass(frozen=True)
class Judgement:
    """What a look says of an arm. `difference`: the rival minus the arm, None where they share no seed yet.

    `p_value`: of all looks, corrected for the other pairs.
    """

    state: str
    rival: str
    difference: Difference | None
    p_value: float
    level: float  # of the interval that holds over all looks
    look: int


class Seen(NamedTuple):
    """A difference at a test, and what of the level that test could spend."""

    difference: Difference
    level: float


@dataclass
class Look:
    """What is known when every arm has the runs that it was to have. `wanted` get one more seed each."""

    number: int
    num_seeds: dict[str, int]
    leader: str
    leader_score: float
    judgements: dict[str, Judgement]
    wanted: list[str] = field(default_factory=list)


class Race:
    """Follows the looks of one sweep; knows nothing of where runs come from."""

    def __init__(self, racers: Sequence[Racer], measure: Measure) -> None:
        self.racers = {racer.name: racer for racer in racers}
        self.measure = measure
        self.num_seeds = dict.fromkeys(self.racers, 1)
        self.strategies = [racer.name for racer in racers if not racer.is_control]
        null_controls = [racer.name for racer in racers if racer.is_control and not racer.start]
        self.families: list[list[Pair]] = [
            list(combinations(self.strategies, 2)),
            list(product(self.strategies, null_controls)),
            [(racer.start, racer.name) for racer in racers if racer.start],
        ]
        # Over all looks, not corrected for other pairs; and what was seen when the smallest one was found.
        self.p_values = {pair: 1.0 for family in self.families for pair in family}
        self.seen: dict[Pair, Seen] = {}
        self.num_tested = dict.fromkeys(self.p_values, 0)  # shared seeds at the last test
        self.decided: dict[str, Judgement] = {}
        self.number = 0

    def list_runs(self) -> list[RunKey]:
        """All that the next look needs."""
        return [(name, seed) for name in self.racers for seed in self.list_seeds(name)]

    def list_seeds(self, name: str) -> tuple[int, ...]:
        return self.racers[name].seeds[: self.num_seeds[name]]

    def look(self) -> Look:
        """Tests, decides, and says who gets another seed."""
        self.number += 1
        runs = self.list_runs()
        self.positions = {run: position for position, run in enumerate(runs)}
        self.measured = self.measure(runs)
        self.seed_variance = self.measure_seed_variance()
        self.test_pairs()
        self.decide()
        leader = self.find_leader()
        judgements = {name: self.judge(name, leader) for name in self.racers if name != leader}
        look = Look(self.number, dict(self.num_seeds), leader, -self.rank(leader)[0], judgements)
        look.wanted = self.choose_wanted(look)
        for name in look.wanted:
            self.num_seeds[name] += 1
        return look

    # ---- measuring -------------------------------------------------------------------------------------------------

    def get_scores(self, name: str) -> dict[int, float]:
        return {seed: float(self.measured.scores[self.positions[name, seed]]) for seed in self.list_seeds(name)}

    def measure_seed_variance(self) -> SeedVariance | None:
        """None until it is worth trusting."""
        scores = {name: self.get_scores(name) for name, racer in self.racers.items() if not racer.is_drawn}
        found = measure_seeds({name: values for name, values in scores.items() if len(values) > 1})
        return found if found is not None and found.freedom >= FEWEST_FREEDOM else None

    def list_shared(self, pair: Pair) -> list[int]:
        return [seed for seed in self.list_seeds(pair[0]) if seed in self.list_seeds(pair[1])]

    def list_possible(self, pair: Pair) -> list[int]:
        """The seeds that both may have in the end."""
        return [seed for seed in self.racers[pair[0]].seeds if seed in self.racers[pair[1]].seeds]

    def measure_pair(self, pair: Pair) -> Difference | None:
        """None where they share no seed yet."""
        if not self.list_shared(pair):
            return None
        first, second = ([self.positions[name, seed] for seed in self.list_shared(pair)] for name in pair)
        seeds = None if self.racers[pair[1]].is_drawn else self.seed_variance
        return measure_difference(self.measured, first, second, seeds)

    # ---- testing ---------------------------------------------------------------------------------------------------

    def test_pairs(self) -> None:
        """Once for each number of shared seeds."""
        for pair, smallest in self.p_values.items():
            num_shared = len(self.list_shared(pair))
            if num_shared > self.num_tested[pair] and self.can_be_tested(pair, num_shared):
                difference = self.measure_pair(pair)
                part = self.get_part(pair, self.num_tested[pair], num_shared)
                self.num_tested[pair] = num_shared
                p_value = min(difference.compute_p_value() / part, 1.0)
                if p_value <= smallest:
                    self.p_values[pair], self.seen[pair] = p_value, Seen(difference, LEVEL * part)

    def can_be_tested(self, pair: Pair, num_shared: int) -> bool:
        if self.racers[pair[1]].is_drawn:
            return num_shared >= FEWEST_DRAWS
        return num_shared > 0 and self.seed_variance is not None

    def get_part(self, pair: Pair, num_before: int, num_shared: int) -> float:
        """Of the level, what a test may spend since the last one."""
        return (num_shared**2 - num_before**2) / len(self.list_possible(pair)) ** 2

    def adjust(self, family: Sequence[Pair]) -> dict[Pair, float]:
        return dict(zip(family, adjust_by_holm([self.p_values[pair] for pair in family]), strict=True))

    # ---- deciding --------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """A strategy that is shown to be behind any other is out, whoever leads."""
        adjusted = self.adjust(self.families[0])
        for pair in sorted(adjusted, key=adjusted.__getitem__):
            if adjusted[pair] < LEVEL:
                seen, level = self.seen[pair]
                behind, rival = (pair[1], pair[0]) if seen.value > 0 else pair
                shown = seen if seen.value > 0 else seen.turn()
                self.decided.setdefault(behind, Judgement(BEHIND, rival, shown, adjusted[pair], level, self.number))

    def find_leader(self) -> str:
        """The highest mean of the strategies that have the most seeds and are not behind another."""
        candidates = [name for name in self.strategies if name not in self.decided]
        most = max(self.num_seeds[name] for name in candidates)
        return min((name for name in candidates if self.num_seeds[name] == most), key=self.rank)

    def rank(self, name: str) -> tuple[float, str]:
        """The higher mean first; of two alike the name decides, so that the order of the arms does not matter."""
        return -float(np.mean(list(self.get_scores(name).values()))), name

    def find_pair(self, name: str, leader: str) -> Pair:
        rival = self.racers[name].start or leader
        return (rival, name) if (rival, name) in self.p_values else (name, rival)

    def judge(self, name: str, leader: str) -> Judgement:
        """A decision stands, with what was seen when it was made."""
        if name in self.decided:
            return self.decided[name]
        pair = self.find_pair(name, leader)
        family = next(family for family in self.families if pair in family)
        p_value = self.adjust(family)[pair]
        if p_value < LEVEL:  # a control
            seen, level = self.seen[pair]
            state = BEHIND if seen.value > 0 else AHEAD
            self.decided[name] = Judgement(state, pair[0], seen, p_value, level, self.number)
            return self.decided[name]
        state = UNDECIDED if self.is_hopeless(pair, family) else OPEN
        difference = self.measure_pair(pair)
        level = LEVEL * self.get_part(pair, difference.num_seeds - 1, difference.num_seeds) if difference else LEVEL
        if pair[1] == name:
            return Judgement(state, pair[0], difference, p_value, level, self.number)
        return Judgement(state, pair[1], difference and difference.turn(), p_value, level, self.number)

    def is_hopeless(self, pair: Pair, family: Sequence[Pair]) -> bool:
        """Whether the seeds that are left have next to no chance of deciding it."""
        most, difference = len(self.list_possible(pair)), self.measure_pair(pair)
        if len(self.list_shared(pair)) == most or (self.racers[pair[1]].is_drawn and most < FEWEST_DRAWS):
            return True
        if difference is None:
            return False
        num_open = sum(p_value >= LEVEL for p_value in self.adjust(family).values())
        level = LEVEL * self.get_part(pair, most - 1, most) / max(num_open, 1)
        return predict_decision(difference, most, level) < LEAST_CHANCE

    # ---- who goes on -----------------------------------------------------------------------------------------------

    def choose_wanted(self, look: Look) -> list[str]:
        """Who is open, and the rival where it lacks the seed; at first also whoever is needed to measure seeds on."""
        is_first = self.seed_variance is None
        waiting = self.list_waiting(look) if is_first else []
        pairs = [
            self.find_pair(name, look.leader)
            for name, judgement in look.judgements.items()
            if judgement.state == OPEN and name not in waiting and self.racers[name].start in ("", look.leader)
        ]
        wanted = {name for pair in pairs for name in self.list_lacking(pair)}
        if is_first and (wanted or waiting):
            wanted |= set(self.list_measured(look.leader, wanted))
        return [name for name in self.racers if name in wanted]

    def list_lacking(self, pair: Pair) -> list[str]:
        """Who of a pair has to run for the next shared seed."""
        shared = self.list_shared(pair)
        following = next(seed for seed in self.list_possible(pair) if seed not in shared)
        return [name for name in pair if following not in self.list_seeds(name)]

    def list_waiting(self, look: Look) -> list[str]:
        """Who is so far behind on the rows alone that the first test, once seeds are measured, may well be enough."""
        found = {name: judgement.difference for name, judgement in look.judgements.items()}
        behind = {name: difference for name, difference in found.items() if difference and difference.value > 0}
        p_values = adjust_by_holm([difference.compute_p_value() for difference in behind.values()])
        return [name for name, p_value in zip(behind, p_values, strict=True) if p_value < LEVEL]

    def list_measured(self, leader: str, wanted: set[str]) -> list[str]:
        """The leader, who goes on, and the highest of the others until they are enough; none that has all its seeds."""
        names = [name for name, racer in self.racers.items() if not racer.is_drawn]
        highest = sorted(names, key=self.rank)
        ordered = [leader, *(name for name in highest if name in wanted), *highest]
        chosen = list(dict.fromkeys(ordered))[:FEWEST_MEASURED]
        return [name for name in chosen if self.num_seeds[name] < len(self.racers[name].seeds)]


def follow_race(
    racers: Sequence[Racer], measure: Measure, has_run: Callable[[RunKey], bool]
) -> tuple[list[Look], list[RunKey]]:
    """The looks whose runs are all there, from the first on, and what the next one lacks: nothing where it is over."""
    race, looks = Race(racers, measure), []
    while not (missing := [run for run in race.list_runs() if not has_run(run)]):
        looks.append(race.look())
        if not looks[-1].wanted:
            break
    return looks, missing
