"""Turns: as many as the medians need, and no more than the budget allows."""

import numpy as np
import pytest

from layer_distillation.export import timing
from layer_distillation.export.timing import FEWEST_ROUNDS, KNOWING_ROUNDS, PRECISION, is_known, take_turns


class Clock:
    """Moves on by what a pass takes, and by nothing else."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self.seconds, self.calls = 0.0, seconds, 0

    def __call__(self) -> float:
        return self.now

    def answer(self, _: object) -> None:
        self.now += self.seconds[self.calls % len(self.seconds)]
        self.calls += 1


@pytest.mark.parametrize(
    ("seconds", "budget", "rounds"),
    [
        ([0.01], 100, KNOWING_ROUNDS + 1),  # no noise
        ([0.01, 0.03, 0.02, 0.05], 3.99, 146),  # noise for ever: the budget ends it, 0.0275 s each
        ([9.0], 1.0, FEWEST_ROUNDS + 1),
    ],
)
def test_turns_end_when_the_medians_are_known_or_the_budget_is_spent(seconds, budget, rounds, monkeypatch):
    clock = Clock(seconds)
    monkeypatch.setattr(timing.time, "perf_counter", clock)
    take_turns({"one": clock.answer}, {"one": {}}, budget)
    assert clock.calls == rounds


def test_a_median_that_is_called_known_is_within_the_precision():
    """In 400 series of passes with 10 % of noise; stopping when it looks known costs some of the 95 %."""
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(400):
        passes = list(generator.lognormal(0.0, 0.1, KNOWING_ROUNDS))
        while not is_known([passes]):
            passes.append(generator.lognormal(0.0, 0.1))
        errors.append(abs(np.median(passes) - 1.0))
    assert np.mean(np.array(errors) <= PRECISION) > 0.85
    assert np.mean(np.array(errors) <= 2 * PRECISION) > 0.98


def test_one_median_that_is_not_known_keeps_all_going():
    assert is_known([[1.0] * 8])
    assert not is_known([[1.0] * 8, [1.0, 2.0] * 4])
