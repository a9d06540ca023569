"""What a race measures at a look: how much a seed changes, differences of two arms, and what further seeds may bring.

With one seed only the rows vary. How much a seed changes is measured on all arms that have several, together, and
counts for every pair; a pair's own estimate, with its own degrees of freedom, where it is larger. Pure functions.

Entry: `measure_seeds`, `measure_difference`, `predict_decision`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from layer_distillation.comparison.statistics import compare_runs, count_degrees_of_freedom


class Measured(Protocol):
    """The metric of runs and how it varies over rows: `pairs.PairedScores`, or a simulation."""

    scores: np.ndarray  # (runs,)
    covariance: np.ndarray  # (runs, runs), over resamples of the rows
    num_rows: int


class SeedVariance(NamedTuple):
    """Of the difference of two arms with one seed each, over seeds."""

    value: float
    freedom: int


class Difference(NamedTuple):
    """First minus second over shared seeds; variances: `row` stays whatever the seeds, `between` is divided by them."""

    value: float
    num_seeds: int
    num_rows: int
    row: float
    between: float
    freedom: int  # of `between`

    def turn(self) -> "Difference":
        """Second minus first."""
        return self._replace(value=-self.value)

    @property
    def is_of_rows_alone(self) -> bool:
        """One seed, and nothing known of what another would change."""
        return self.num_seeds == 1 and self.row == 0

    def get_error(self, num_seeds: int) -> float:
        return math.sqrt(self.row + self.between / num_seeds)

    def count_freedom(self, num_seeds: int) -> float:
        """Every further seed adds a degree of freedom to `between`, or more."""
        freedom = self.freedom + num_seeds - self.num_seeds
        return count_degrees_of_freedom(self.between / num_seeds, self.row, freedom + 1, self.num_rows)

    def compute_p_value(self) -> float:
        """Of "it is 0", two-sided, by Student's t; 1 for no difference at all."""
        error = self.get_error(self.num_seeds)
        if error == 0:
            return 1.0 if self.value == 0 else min(1.0, 2.0 ** (1 - self.num_rows))
        return float(2 * stdtr(self.count_freedom(self.num_seeds), -abs(self.value) / error))

    def get_interval(self, level: float) -> tuple[float, float]:
        error = self.get_error(self.num_seeds)
        half = 0.0 if error == 0 else float(stdtrit(self.count_freedom(self.num_seeds), 1 - level / 2)) * error
        return self.value - half, self.value + half


def measure_seeds(runs: Mapping[str, Mapping[int, float]]) -> SeedVariance | None:
    """The spread that is left beside arms and seeds as additive effects; None where nothing is left to measure it on.

    Args:
        runs: arm -> seed -> score, of arms with two seeds or more.
    """
    cells = [(arm, seed, score) for arm, scores in runs.items() for seed, score in scores.items()]
    if not cells:
        return None
    arms, seeds, scores = (np.array(column) for column in zip(*cells, strict=True))
    effects = np.concatenate([arms[:, None] == np.unique(arms), seeds[:, None] == np.unique(seeds)], axis=1)
    effects = effects.astype(np.float64)
    solution, _, rank, _ = np.linalg.lstsq(effects, scores, rcond=None)
    freedom = len(cells) - int(rank)
    if freedom == 0:
        return None
    left = scores - effects @ solution
    return SeedVariance(2 * float(left @ left) / freedom, freedom)


def measure_difference(
    measured: Measured, first: Sequence[int], second: Sequence[int], seeds: SeedVariance | None
) -> Difference:
    """Between runs that are paired by seed.

    Args:
        seeds: how much a seed changes; None: the pair's own estimate alone, or with one seed that all of the spread
            over rows may be of that seed, which is the most that further seeds could take away.
    """
    estimate = compare_runs(measured.scores, measured.covariance, first, second, measured.num_rows)
    components, num_seeds = estimate.components, len(first)
    row = components.row / measured.num_rows
    if num_seeds == 1:
        if seeds is None:
            return Difference(estimate.value, 1, measured.num_rows, 0.0, row, measured.num_rows - 1)
        return Difference(estimate.value, 1, measured.num_rows, row, seeds.value, seeds.freedom)
    own = num_seeds * components.get_parts(num_seeds, measured.num_rows)[0]
    if seeds is None or own > seeds.value:
        return Difference(estimate.value, num_seeds, measured.num_rows, row, own, num_seeds - 1)
    return Difference(estimate.value, num_seeds, measured.num_rows, row, seeds.value, seeds.freedom)


def predict_decision(difference: Difference, num_seeds: int, level: float) -> float:
    """The chance that the test with `num_seeds` seeds will reach the level on the side that the difference is on.

    Predictive power: with the seeds that are left the mean moves by a variance of `between` (1 / n - 1 / N). Source:
    Spiegelhalter, Freedman and Blackburn, Monitoring clinical trials: conditional or predictive power?, Controlled
    Clinical Trials 7, 1986.
    """
    error = difference.get_error(num_seeds)
    if error == 0:
        return float(difference.value != 0)
    needed = float(stdtrit(difference.count_freedom(num_seeds), 1 - level / 2)) * error
    spread = math.sqrt(difference.between * max(1 / difference.num_seeds - 1 / num_seeds, 0.0))
    if spread == 0:
        return float(abs(difference.value) >= needed)
    return float(ndtr((abs(difference.value) - needed) / spread))
