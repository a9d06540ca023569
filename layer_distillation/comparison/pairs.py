"""Compares two arms at a time on the same rows and seeds.

Entry: `PairedScores.compare_all`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layer_distillation.comparison.arms import Arm
from layer_distillation.comparison.grouping import Unit
from layer_distillation.comparison.metrics import resample_scores, score_all_rows
from layer_distillation.comparison.runs import Run
from layer_distillation.comparison.statistics import (
    LEVEL,
    Estimate,
    adjust_by_holm,
    compare_runs,
    compute_covariance,
    compute_mcnemar,
    estimate_mean,
)
from layer_distillation.tasks.weighted_scores import NUMBER_SCORERS

CORRELATIONS = ("matthews_correlation", *NUMBER_SCORERS)


@dataclass
class McNemar:
    """Rows that only one of two runs of one seed has right."""

    seed: int
    only_first: int
    only_second: int
    p_value: float


@dataclass
class Pair:
    """`first` minus `second`. `estimate` is None where they share no seed; `level` is what its p-value had to reach;
    `units` are what was resampled."""

    first: str
    second: str
    seeds: list[int]
    estimate: Estimate | None
    adjusted_p_value: float
    level: float
    mcnemar: McNemar | None
    units: str = "rows"


class PairedScores:
    """The metric of all runs on all rows and how it varies over resampled rows, or what else the kind resamples."""

    def __init__(self, unit: Unit, split: str, metric_name: str, num_resamples: int) -> None:
        runs = unit.runs
        answers = np.stack([run.get_answers(metric_name, split) for run in runs])
        self.num_rows = runs[0].get_truth(split).num_rows
        self.units = runs[0].name_units(split)
        self.num_resamples = runs[0].limit_resamples(num_resamples, metric_name, split, len(runs))
        scorer = runs[0].make_scorer(metric_name, answers, split)
        self.scores = score_all_rows(scorer, self.num_rows)
        self.covariance = compute_covariance(resample_scores(scorer, self.num_rows, self.num_resamples))
        self.is_right = runs[0].mark_right(metric_name, answers, split)
        self.lowest_score = -1.0 if metric_name in CORRELATIONS else 0.0
        self.positions = {id(run): position for position, run in enumerate(runs)}

    def find(self, runs: Sequence[Run]) -> list[int]:
        return [self.positions[id(run)] for run in runs]

    def estimate(self, arm: Arm) -> Estimate:
        """The arm's mean; its interval ends where the metric does, which Student's t does not know."""
        positions = self.find(arm.runs)
        mean = estimate_mean(self.scores[positions], self.covariance[np.ix_(positions, positions)], self.num_rows)
        return mean._replace(low=max(mean.low, self.lowest_score), high=min(mean.high, 1.0))

    def compare(self, first: Arm, second: Arm, level: float) -> Pair:
        """Over the seeds that both have; McNemar's test for the first of them, where right and wrong is the metric."""
        seeds = sorted(set(first.seeds) & set(second.seeds))
        left, right = (self.find([arm.runs[arm.seeds.index(seed)] for seed in seeds]) for arm in (first, second))
        if not seeds:
            return Pair(first.name, second.name, [], None, 1.0, level, None, self.units)
        estimate = compare_runs(self.scores, self.covariance, left, right, self.num_rows)
        mcnemar = None
        if self.is_right is not None:
            mcnemar = McNemar(seeds[0], *compute_mcnemar(self.is_right[left[0]], self.is_right[right[0]]))
        return Pair(first.name, second.name, seeds, estimate, estimate.p_value, level, mcnemar, self.units)

    def compare_all(self, pairs: Sequence[tuple[Arm, Arm]]) -> list[Pair]:
        """Corrected over all of these pairs."""
        level = LEVEL / max(len(pairs), 1)
        found = [self.compare(first, second, level) for first, second in pairs]
        known = [pair for pair in found if pair.estimate is not None]
        for pair, adjusted in zip(known, adjust_by_holm([pair.adjusted_p_value for pair in known]), strict=True):
            pair.adjusted_p_value = adjusted
        return found
