"""Races on simulated scores: equal arms are rarely told apart over all looks, far ones soon, and nobody gets more seeds
than needed."""

import math
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from layer_distillation.comparison.race import AHEAD, BEHIND, OPEN, UNDECIDED, Look, Racer, RunKey, follow_race
from layer_distillation.comparison.statistics import adjust_by_holm, compare_runs

NUM_ROWS = 1000


class Simulation:
    """Scores of arms whose row effect all seeds share, with a seed's effect and its noise over rows on top."""

    def __init__(self, generator, means, num_seeds, row_spread, seed_spread, noise=0.5) -> None:
        arms = len(means)
        by_arm = np.asarray(means) + row_spread * generator.normal(size=arms)
        spread = np.broadcast_to(seed_spread, arms)[:, None]
        self.scores = by_arm[:, None] + spread * generator.normal(size=(arms, num_seeds))
        self.scores += noise * generator.normal(size=(arms, num_seeds))
        self.num_seeds = num_seeds
        shared = np.kron(np.eye(arms), np.full((num_seeds, num_seeds), row_spread**2))
        self.covariance = shared + noise**2 * np.eye(arms * num_seeds)

    def measure(self, runs: list[RunKey]) -> SimpleNamespace:
        places = [int(name) * self.num_seeds + seed for name, seed in runs]
        covariance = self.covariance[np.ix_(places, places)]
        return SimpleNamespace(scores=self.scores.ravel()[places], covariance=covariance, num_rows=NUM_ROWS)

    def race(self, num_controls: int = 0, is_drawn: bool = False) -> list[Look]:
        arms, seeds = len(self.scores), tuple(range(self.num_seeds))
        racers = [
            Racer(str(arm), seeds, arm >= arms - num_controls, is_drawn and arm == arms - 1) for arm in range(arms)
        ]
        return follow_race(racers, self.measure, lambda run: True)[0]

    def list_told_apart(self) -> set[int]:
        """With all seeds at once, as `compare_strategies.py` does: the arms that another is better than."""
        arms = [range(arm * self.num_seeds, (arm + 1) * self.num_seeds) for arm in range(len(self.scores))]
        pairs = list(combinations(range(len(arms)), 2))
        found = [compare_runs(self.scores.ravel(), self.covariance, arms[i], arms[j], NUM_ROWS) for i, j in pairs]
        adjusted = adjust_by_holm([estimate.p_value for estimate in found])
        return {
            j if estimate.value > 0 else i
            for (i, j), estimate, p_value in zip(pairs, found, adjusted, strict=True)
            if p_value < 0.05
        }


def list_decided(looks: list[Look]) -> set[int]:
    return {int(name) for name, judged in looks[-1].judgements.items() if judged.state in (BEHIND, AHEAD)}


def limit(cases: int) -> float:
    """5 % and three standard errors of the simulation."""
    return 0.05 + 3 * math.sqrt(0.05 * 0.95 / cases)


def measure_error(cases: int, means, num_seeds, row_spread, seed_spread, **options) -> float:
    generator = np.random.default_rng(3)
    made = [Simulation(generator, means, num_seeds, row_spread, seed_spread) for _ in range(cases)]
    return float(np.mean([bool(list_decided(simulation.race(**options))) for simulation in made]))


# ---- error and power over all looks ------------------------------------------------------------------------------


def test_equal_arms_are_rarely_told_apart_at_any_look():
    assert measure_error(15, np.zeros(5), 5, row_spread=1, seed_spread=1) <= limit(15)


@pytest.mark.slow
@pytest.mark.parametrize(("row_spread", "seed_spread"), [(1, 0), (1, 1), (1, 3), (0.3, 1)])
@pytest.mark.parametrize(("arms", "num_seeds"), [(5, 5), (5, 3), (2, 5)])
def test_equal_arms_are_rarely_told_apart_at_length(arms, num_seeds, row_spread, seed_spread):
    assert measure_error(400, np.zeros(arms), num_seeds, row_spread, seed_spread) <= limit(400)


@pytest.mark.slow
@pytest.mark.parametrize("spreads", [(0.5, 0.5, 0.5, 0.5, 2), (0.1, 0.1, 1, 1, 1)])
def test_arms_whose_seeds_vary_more_than_those_of_others_are_not_told_apart_for_it(spreads):
    assert measure_error(400, np.zeros(5), 5, row_spread=0.7, seed_spread=np.array(spreads)) <= limit(400)


@pytest.mark.slow
def test_controls_and_draws_of_layers_are_no_false_alarms_either():
    """Two families, each held at 5 %."""
    spreads = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 2])  # a draw varies by its layers too
    error = measure_error(400, np.zeros(6), 5, row_spread=1, seed_spread=spreads, num_controls=2, is_drawn=True)
    assert error <= 2 * limit(400)


@pytest.mark.slow
def test_a_race_has_most_of_the_power_of_all_seeds_at_about_half_of_the_runs():
    generator, cases, means = np.random.default_rng(4), 200, [0, -0.3, -3, -6, -12]
    raced, fixed, runs = np.zeros(5), np.zeros(5), 0
    for _ in range(cases):
        simulation = Simulation(generator, means, 5, row_spread=0.5, seed_spread=0.7)
        looks = simulation.race()
        raced[list(list_decided(looks))] += 1
        fixed[list(simulation.list_told_apart())] += 1
        runs += sum(looks[-1].num_seeds.values())
    assert runs / cases / 25 < 0.55
    assert (raced[3:] >= 0.9 * fixed[3:]).all()
    assert raced[2] >= 0.4 * fixed[2]
    assert raced[1] / cases <= 0.05


# ---- who gets seeds -----------------------------------------------------------------------------------------------


def make_far(means=(0, -20, -20, -20, -20), num_seeds=5, **options) -> Simulation:
    return Simulation(np.random.default_rng(0), means, num_seeds, row_spread=0.5, seed_spread=0.5, **options)


def test_the_first_look_has_one_seed_each_and_decides_nothing():
    first = make_far().race()[0]
    assert set(first.num_seeds.values()) == {1}
    assert {judged.state for judged in first.judgements.values()} <= {OPEN, UNDECIDED}


def test_far_arms_get_no_second_seed_but_for_those_that_measure_what_a_seed_changes():
    looks = make_far().race()
    assert [look.number for look in looks] == [1, 2]
    assert sorted(looks[-1].num_seeds.values()) == [1, 1, 2, 2, 2]
    assert {judged.state for judged in looks[-1].judgements.values()} == {BEHIND}
    assert looks[-1].leader == "0"


def test_what_is_dropped_stays_dropped_with_what_was_seen_then():
    generator = np.random.default_rng(8)
    simulation = Simulation(generator, [0, -2.5, -20, -20, -20], 5, row_spread=0.2, seed_spread=1)
    looks = simulation.race()
    assert len(looks) > 2
    then, last = looks[1].judgements["4"], looks[-1].judgements["4"]
    assert (then.state, then.look) == (BEHIND, 2)
    assert last == then
    assert looks[-1].num_seeds["4"] == looks[1].num_seeds["4"]


def test_arms_that_no_seed_could_tell_apart_stop_the_race():
    """The rows decide here, and more seeds bring no rows."""
    simulation = Simulation(np.random.default_rng(2), np.zeros(5), 20, row_spread=1, seed_spread=0.01, noise=0.01)
    looks = simulation.race()
    assert {judged.state for judged in looks[-1].judgements.values()} == {UNDECIDED}
    assert sum(looks[-1].num_seeds.values()) <= 20


def test_draws_of_layers_are_not_judged_before_there_are_three():
    looks = make_far((0, -1, -1, -20)).race(num_controls=1, is_drawn=True)
    decided = next(look for look in looks if look.judgements["3"].state == BEHIND)
    assert decided.num_seeds["3"] == 3


def test_a_start_without_teacher_is_raced_against_the_same_start_while_that_leads():
    simulation = make_far((0, -20, -20, -1, -20))
    seeds = tuple(range(5))
    racers = [Racer(str(arm), seeds) for arm in range(3)]
    racers += [Racer("3", seeds, is_control=True, start="0"), Racer("4", seeds, is_control=True, start="1")]
    looks, _ = follow_race(racers, simulation.measure, lambda run: True)
    assert looks[-1].judgements["3"].rival == "0"
    assert looks[-1].judgements["4"].rival == "1"
    assert looks[-1].num_seeds["3"] >= 2
    assert looks[-1].num_seeds["4"] <= 2


def test_no_arm_gets_more_seeds_than_it_may():
    for seed in range(5):
        simulation = Simulation(np.random.default_rng(seed), [0, -1, -1.5, -2], 3, row_spread=0.1, seed_spread=1)
        assert max(simulation.race()[-1].num_seeds.values()) <= 3


def test_a_race_waits_for_what_its_next_look_needs():
    simulation = make_far()
    racers = [Racer(str(arm), tuple(range(5))) for arm in range(5)]
    there = {(racer.name, 0) for racer in racers[:3]}
    assert follow_race(racers, simulation.measure, there.__contains__) == ([], [("3", 0), ("4", 0)])
    there |= {("3", 0), ("4", 0)}
    looks, missing = follow_race(racers, simulation.measure, there.__contains__)
    assert len(looks) == 1
    assert missing == [(name, 1) for name in looks[0].wanted]


def test_the_order_of_the_arms_changes_nothing():
    simulation = make_far((0, -2, -2, -4, -20))
    racers = [Racer(str(arm), tuple(range(5))) for arm in range(5)]
    looks, turned = (follow_race(order, simulation.measure, lambda run: True)[0] for order in (racers, racers[::-1]))
    assert looks[-1].num_seeds == turned[-1].num_seeds
    for name, judged in looks[-1].judgements.items():
        assert turned[-1].judgements[name].state == judged.state
        assert turned[-1].judgements[name].difference.value == pytest.approx(judged.difference.value)
