"""Which of several arms (strategies) is better, given a few seeds each on the same rows: pure functions.

A mean over seeds varies for two reasons: other rows would have been drawn, and other seeds. Resampling both with few
seeds is too sure of itself: of two equal strategies with 3 seeds, the percentile interval of the difference left out 0
in up to 16 % of simulated cases instead of 5 %. So rows are resampled, the same rows for every run, and seeds enter by
their measured variance with Student's t, which has about 2 degrees of freedom where 3 seeds decide. Equal strategies
are then told apart in at most 5 % of cases; the tests measure it. With one seed that holds of the two students alone.

Entry: `compare_runs`, `adjust_by_holm`, `compute_mcnemar`, `find_needed_rows`, `find_needed_seeds`,
`rank_over_tasks`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
LEVEL = 0.05
POWER = 0.8
MOST_NEEDED = 1_000_000


class Components(NamedTuple):
    """Variances behind a mean over `num_seeds` runs, each measured on `num_rows` rows.

    The mean over M seeds on N rows varies by seed / M + row / N + residual / (M N). With one seed `seed` is nan.
    """

    seed: float
    row: float
    residual: float
    num_seeds: int
    num_rows: int

    def get_parts(self, num_seeds: int, num_rows: int) -> tuple[float, float]:
        """The parts of the variance with num_seeds - 1 and with num_rows - 1 degrees of freedom."""
        row_part = self.row / num_rows
        if self.num_seeds == 1:
            return 0.0, row_part
        return (self.seed + self.residual / num_rows) / num_seeds, row_part


class Estimate(NamedTuple):
    """A mean, or a difference of means, with its interval and the p-value of "it is 0"."""

    value: float
    low: float
    high: float
    p_value: float
    components: Components


def estimate_components(values: np.ndarray, covariance: np.ndarray, num_rows: int) -> Components:
    """Splits the variance of a mean over seeds.

    Two-way random effects: value of seed s on row i = mean + seed_s + row_i + residual_si. Over resampled rows two
    seeds share row / N, one seed with itself row / N + residual / N; between seeds, on the same rows, values vary by
    seed + residual / N. `seed` is not let below 0: that floor keeps the size of the test, without it equal strategies
    of 2 or 3 seeds are told apart in 6 to 8 % of cases. Source: Owen, The pigeonhole bootstrap, 2007, section 3.

    Args:
        values: (seeds,), the metric or the difference of two metrics.
        covariance: (seeds, seeds), of the same over resamples of the rows.
    """
    num_seeds = len(values)
    own = float(np.mean(np.diag(covariance)))
    if num_seeds == 1:
        return Components(math.nan, own * num_rows, 0.0, 1, num_rows)
    shared = float((covariance.sum() - np.trace(covariance)) / (num_seeds * (num_seeds - 1)))
    shared = min(max(shared, 0.0), own)
    residual = own - shared
    seed = max(float(np.var(values, ddof=1)) - residual, 0.0)
    return Components(seed, shared * num_rows, residual * num_rows, num_seeds, num_rows)


def estimate_mean(values: np.ndarray, covariance: np.ndarray, num_rows: int) -> Estimate:
    """Mean over seeds, 95 % interval and two-sided p-value by Student's t; shapes as in `estimate_components`."""
    components = estimate_components(values, covariance, num_rows)
    mean = float(np.mean(values))
    seed_part, row_part = components.get_parts(len(values), num_rows)
    variance = seed_part + row_part
    if variance == 0:  # the same decision on every row, or so different that no resample changes it
        return Estimate(mean, mean, mean, 1.0 if mean == 0 else min(1.0, 2.0 ** (1 - num_rows)), components)
    freedom = count_degrees_of_freedom(seed_part, row_part, len(values), num_rows)
    error = math.sqrt(variance)
    half_width = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, freedom))
    return Estimate(mean, mean - half_width, mean + half_width, p_value, components)


def count_degrees_of_freedom(seed_part: float, row_part: float, num_seeds: int, num_rows: int) -> float:
    """Of a sum of two estimated variances. Source: Satterthwaite, Biometrics Bulletin 2, 1946, pages 110-114."""
    parts = ((seed_part, num_seeds - 1), (row_part, num_rows - 1))
    return (seed_part + row_part) ** 2 / sum(part**2 / max(freedom, 1) for part, freedom in parts)


def compare_runs(
    scores: np.ndarray, covariance: np.ndarray, first: Sequence[int], second: Sequence[int], num_rows: int
) -> Estimate:
    """Mean of `first` minus mean of `second`, paired by seed.

    Args:
        scores: (runs,), the metric on all rows.
        covariance: (runs, runs), of the metric over resamples of the rows.
        first, second: indices of runs; first[s] and second[s] have the same seed.
    """
    left, right = np.asarray(first), np.asarray(second)
    crossed = covariance[np.ix_(left, right)]
    differences = covariance[np.ix_(left, left)] + covariance[np.ix_(right, right)] - crossed - crossed.T
    return estimate_mean(scores[left] - scores[right], differences, num_rows)


def compute_covariance(resampled: np.ndarray) -> np.ndarray:
    """(resamples, runs) -> (runs, runs), in float64."""
    return np.atleast_2d(np.cov(resampled.astype(np.float64), rowvar=False))


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """p-values that may each be held against the level, however many were computed.

    The i-th smallest of m is multiplied by m - i + 1, and none gets below a smaller one's. Source: Holm, A simple
    sequentially rejective multiple test procedure, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.minimum(np.asarray(p_values)[order] * factors, 1.0))
    return adjusted.tolist()


def compute_mcnemar(first_is_right: np.ndarray, second_is_right: np.ndarray) -> tuple[int, int, float]:
    """McNemar's exact test of two runs: rows only the first has right, only the second, two-sided p-value.

    Source: McNemar, Note on the sampling error of the difference between correlated proportions, 1947; exact, so
    the binomial distribution of the discordant rows.
    """
    only_first = int(np.sum(first_is_right & ~second_is_right))
    only_second = int(np.sum(second_is_right & ~first_is_right))
    if only_first + only_second == 0:
        return 0, 0, 1.0
    return only_first, only_second, float(stats.binomtest(only_first, only_first + only_second).pvalue)


def find_needed_rows(difference: float, components: Components, num_seeds: int, level: float) -> int | None:
    """Rows that would show a difference of this size with so many seeds, in 80 % of cases; None: too many."""
    return find_smallest(lambda rows: has_power(difference, components, num_seeds, rows, level), 2)


def find_needed_seeds(difference: float, components: Components, level: float) -> int | None:
    """Seeds that would show it on the rows there are; None: too many."""
    return find_smallest(lambda seeds: has_power(difference, components, seeds, components.num_rows, level), 2)


def has_power(difference: float, components: Components, num_seeds: int, num_rows: int, level: float) -> bool:
    """True if |difference| >= (t at level / 2 + t at 80 %) standard errors, the usual planning formula."""
    seed_part, row_part = components.get_parts(num_seeds, num_rows)
    if seed_part + row_part == 0:
        return difference != 0
    freedom = count_degrees_of_freedom(seed_part, row_part, num_seeds, num_rows)
    factor = stats.t.ppf(1 - level / 2, freedom) + stats.t.ppf(POWER, freedom)
    return bool(abs(difference) >= factor * math.sqrt(seed_part + row_part))


def find_smallest(is_enough: Callable[[int], bool], smallest: int) -> int | None:
    """The least number up to `MOST_NEEDED` that is enough, for a test that stays true when the number doubles.

    Satterthwaite's degrees of freedom fall where seeds come to decide, so that far beyond the answer it may turn false.
    """
    low, high = smallest - 1, smallest
    while not is_enough(high):
        if high >= MOST_NEEDED:
            return None
        low, high = high, min(2 * high, MOST_NEEDED)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def correlate_ranks(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's correlation; None for fewer than three pairs or a constant side."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.spearmanr(first, second).statistic)


class TaskRanks(NamedTuple):
    """Arms over tasks: rank 1 is the best of a task, ties share the mean."""

    mean_ranks: dict[str, float]
    num_tasks: int
    friedman_p_value: float | None
    critical_difference: float | None
    smallest_pairwise_p_value: float
    pairwise_p_values: dict[tuple[str, str], float]


def rank_over_tasks(names: Sequence[str], values: np.ndarray) -> TaskRanks:
    """Demsar, Statistical comparisons of classifiers over multiple data sets, 2006.

    Friedman's test wants three arms and two tasks. Two arms differ by Nemenyi's test if their mean ranks differ by
    the critical difference q_{0.05, k} / sqrt(2) * sqrt(k (k + 1) / (6 N)). Pairs by Wilcoxon's signed-rank test,
    Holm's correction over all pairs, left out where even N agreeing tasks could not be significant.

    Args:
        values: (tasks, arms), higher is better.
    """
    num_tasks, num_arms = values.shape
    ranks = np.apply_along_axis(stats.rankdata, 1, -values)
    friedman = critical = None
    if num_tasks >= 2 and num_arms >= 3 and np.ptp(ranks, axis=1).any():
        friedman = float(stats.friedmanchisquare(*values.T).pvalue)
        quantile = float(stats.studentized_range.ppf(CONFIDENCE, num_arms, np.inf)) / math.sqrt(2)
        critical = quantile * math.sqrt(num_arms * (num_arms + 1) / (6 * num_tasks))
    smallest = min(1.0, num_arms * (num_arms - 1) / 2 * 2.0 ** (1 - num_tasks))
    pairs = [(i, j) for i in range(num_arms) for j in range(i + 1, num_arms)] if smallest < LEVEL else []
    p_values = adjust_by_holm([compute_signed_ranks(values[:, i] - values[:, j]) for i, j in pairs]) if pairs else []
    pairwise = {(names[i], names[j]): p for (i, j), p in zip(pairs, p_values, strict=True)}
    mean_ranks = dict(zip(names, ranks.mean(axis=0).tolist(), strict=True))
    return TaskRanks(mean_ranks, num_tasks, friedman, critical, smallest, pairwise)


def compute_signed_ranks(differences: np.ndarray) -> float:
    return float(stats.wilcoxon(differences).pvalue) if np.any(differences) else 1.0
