"""What a look measures, by hand and against the comparison's own test."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from layer_distillation.comparison.race_differences import (
    Difference,
    SeedVariance,
    measure_difference,
    measure_seeds,
    predict_decision,
)
from layer_distillation.comparison.statistics import compare_runs

COVARIANCE = np.diag([4.0, 4.0, 4.0, 4.0]) * 1e-4
MEASURED = SimpleNamespace(scores=np.array([0.8, 0.9, 0.7, 0.72]), covariance=COVARIANCE, num_rows=500)


def test_arms_and_seeds_as_additive_effects_leave_what_a_seed_changes():
    runs = {"a": {1: 0.5, 2: 0.7}, "b": {1: 0.1, 2: 0.4}}  # the differences are 0.4 and 0.3
    assert measure_seeds(runs) == pytest.approx((np.var([0.4, 0.3], ddof=1), 1))
    assert measure_seeds({"a": {1: 0.5, 2: 0.7}}) is None
    assert measure_seeds({}) is None


def test_seeds_are_measured_on_arms_with_different_numbers_of_them():
    generator, found = np.random.default_rng(0), []
    for _ in range(400):
        scores = 0.3 * generator.normal(size=(4, 5)) + generator.normal(size=5)
        runs = {str(arm): dict(enumerate(scores[arm, : 5 - arm])) for arm in range(4)}
        found.append(measure_seeds(runs))
    assert {variance.freedom for variance in found} == {14 - 4 - 5 + 1}
    assert np.mean([variance.value for variance in found]) == pytest.approx(2 * 0.3**2, rel=0.1)


def test_without_seeds_measured_elsewhere_it_is_the_comparisons_test():
    difference = measure_difference(MEASURED, [0, 1], [2, 3], None)
    estimate = compare_runs(MEASURED.scores, COVARIANCE, [0, 1], [2, 3], 500)
    assert difference.value == pytest.approx(estimate.value)
    assert difference.compute_p_value() == pytest.approx(estimate.p_value)
    assert difference.get_interval(0.05) == pytest.approx((estimate.low, estimate.high))


def test_the_larger_of_the_two_estimates_counts_with_its_own_degrees_of_freedom():
    own = measure_difference(MEASURED, [0, 1], [2, 3], SeedVariance(1e-9, 7))
    pooled = measure_difference(MEASURED, [0, 1], [2, 3], SeedVariance(0.5, 7))
    assert own.freedom == 1
    assert (pooled.between, pooled.freedom) == (0.5, 7)


def test_one_seed_has_its_rows_and_what_a_seed_is_known_to_change():
    alone = measure_difference(MEASURED, [0], [2], None)
    assert alone.is_of_rows_alone
    assert alone.compute_p_value() == pytest.approx(2 * stats.t.sf(0.1 / np.sqrt(8e-4), 499))
    known = measure_difference(MEASURED, [0], [2], SeedVariance(2e-4, 3))
    assert known.get_error(1) == pytest.approx(np.sqrt(8e-4 + 2e-4))
    assert known.compute_p_value() > alone.compute_p_value()


def test_the_chance_of_a_decision_is_that_of_what_is_left():
    sure = Difference(1.0, 2, 1000, 1e-4, 1e-4, 20)
    assert predict_decision(sure, 5, 0.01) == pytest.approx(1)
    none = sure._replace(value=0.001)
    assert predict_decision(none, 5, 0.01) < 0.01
    rows_alone = sure._replace(value=0.02, between=0.0)
    assert predict_decision(rows_alone, 100, 0.01) == 0  # no number of seeds brings rows
    assert predict_decision(rows_alone, 100, 0.1) == 1


def test_the_chance_of_a_decision_comes_true():
    """Of many races with this much seen after two seeds: how many reach the level with five."""
    seen = Difference(0.05, 2, 10**6, 0.0, 0.003, 10**6)
    generator = np.random.default_rng(1)
    centre = generator.normal(0.05, np.sqrt(0.003 / 2), 20_000)  # a flat prior
    final = (2 * 0.05 + generator.normal(centre[:, None], np.sqrt(0.003), (20_000, 3)).sum(axis=1)) / 5
    reached = np.mean(final / np.sqrt(0.003 / 5) > stats.norm.ppf(1 - 0.01 / 2))
    assert predict_decision(seen, 5, 0.01) == pytest.approx(reached, abs=0.015)


def test_no_difference_and_no_spread_is_no_evidence():
    nothing = Difference(0.0, 1, 10, 0.0, 0.0, 9)
    assert nothing.compute_p_value() == 1
    assert nothing.get_interval(0.05) == (0, 0)
    assert predict_decision(nothing, 5, 0.05) == 0
