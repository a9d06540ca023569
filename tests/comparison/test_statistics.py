"""Statistics against scipy, statsmodels and cases by hand; equal strategies are told apart in 5 % of cases at most."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from layer_distillation.comparison.metrics import resample_scores, score_all_rows
from layer_distillation.comparison.statistics import (
    MOST_NEEDED,
    Components,
    adjust_by_holm,
    compare_runs,
    compute_covariance,
    compute_mcnemar,
    correlate_ranks,
    estimate_components,
    estimate_mean,
    find_needed_rows,
    find_needed_seeds,
    has_power,
    rank_over_tasks,
)
from layer_distillation.tasks.weighted_scores import make_scorer


def draw_correctness(
    generator: np.random.Generator, num_arms: int, num_seeds: int, num_rows: int, seed_spread: float, row_spread: float
) -> np.ndarray:
    """Equal strategies, right (1) or wrong by row: (arms * seeds, rows).

    Some rows are harder for all, by `row_spread` for one strategy; a seed lifts a whole run by `seed_spread`.
    """
    ease = 1.5 * generator.normal(1, 1, num_rows)
    by_strategy = row_spread * generator.normal(size=(num_arms, 1, num_rows))
    by_seed = seed_spread * generator.normal(size=(num_arms, num_seeds, 1))
    is_right = ease + by_strategy + by_seed + generator.normal(size=(num_arms, num_seeds, num_rows)) > 0
    return is_right.reshape(num_arms * num_seeds, num_rows).astype(float)


def compare_first_two(is_right: np.ndarray, num_seeds: int) -> float:
    """p-value; the covariance in closed form, which resampling approaches."""
    num_rows = is_right.shape[1]
    covariance = np.atleast_2d(np.cov(is_right)) / num_rows
    first, second = range(num_seeds), range(num_seeds, 2 * num_seeds)
    return compare_runs(is_right.mean(axis=1), covariance, first, second, num_rows).p_value


def measure_false_positives(num_seeds: int, seed_spread: float, row_spread: float, cases: int) -> float:
    generator = np.random.default_rng(7)
    found = [
        compare_first_two(draw_correctness(generator, 2, num_seeds, 300, seed_spread, row_spread), num_seeds) < 0.05
        for _ in range(cases)
    ]
    return float(np.mean(found))


def limit(cases: int) -> float:
    """5 % and three standard errors of the simulation."""
    return 0.05 + 3 * math.sqrt(0.05 * 0.95 / cases)


# ---- size and coverage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize(("seed_spread", "row_spread"), [(0.0, 0.5), (0.1, 0.3), (0.5, 0.0)])
def test_equal_strategies_are_rarely_told_apart(num_seeds, seed_spread, row_spread):
    assert measure_false_positives(num_seeds, seed_spread, row_spread, cases=400) <= limit(400)


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [2, 3, 5, 8])
@pytest.mark.parametrize("seed_spread", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("row_spread", [0.0, 0.5])
def test_equal_strategies_are_rarely_told_apart_at_length(num_seeds, seed_spread, row_spread):
    assert measure_false_positives(num_seeds, seed_spread, row_spread, cases=4000) <= limit(4000)


def test_with_one_seed_the_rows_alone_keep_the_level():
    assert measure_false_positives(1, 0.0, 0.5, cases=600) == pytest.approx(0.05, abs=limit(600) - 0.05)


def test_resampled_macro_f1_of_equal_strategies_is_rarely_told_apart():
    generator, found = np.random.default_rng(9), 0
    for _ in range(200):
        labels = generator.integers(0, 3, 200)
        hardness = generator.random(200)
        quality = 0.8 + 0.05 * generator.normal(size=(6, 1))
        decisions = np.where(hardness + 0.2 * generator.normal(size=(6, 200)) < quality, labels, (labels + 1) % 3)
        scorer = make_scorer("macro_f1", decisions, labels)
        covariance = compute_covariance(resample_scores(scorer, 200, 200))
        found += compare_runs(score_all_rows(scorer, 200), covariance, range(3), range(3, 6), 200).p_value < 0.05
    assert found / 200 <= limit(200)


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_intervals_hold_the_true_difference(spread):
    generator, held, num_rows = np.random.default_rng(5), 0, 50
    for _ in range(400):
        by_seed = generator.normal(0.3, spread, (4, 1))
        values = by_seed + generator.normal(0, 1, (1, num_rows)) + generator.normal(0, 0.5, (4, num_rows))
        estimate = estimate_mean(values.mean(axis=1), np.cov(values) / num_rows, num_rows)
        held += estimate.low <= 0.3 <= estimate.high
    assert 0.95 - (limit(400) - 0.05) <= held / 400 <= 0.995


def name_any_winner(is_right: np.ndarray, num_arms: int, num_seeds: int) -> bool:
    """True if the arm that looks best is called better than any other."""
    means = is_right.mean(axis=1).reshape(num_arms, num_seeds).mean(axis=1)
    pairs = list(combinations(np.argsort(-means), 2))
    runs = is_right.reshape(num_arms, num_seeds, -1)
    p_values = [compare_first_two(np.concatenate([runs[i], runs[j]]), num_seeds) for i, j in pairs]
    return min(adjust_by_holm(p_values)[: num_arms - 1]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("num_seeds", "seed_spread"), [(1, 0.0), (3, 0.3), (5, 0.3)])
def test_picking_the_best_of_six_equal_strategies_finds_no_winner(num_seeds, seed_spread):
    generator = np.random.default_rng(2)
    cases = [draw_correctness(generator, 6, num_seeds, 300, seed_spread, 0.5) for _ in range(600)]
    assert np.mean([name_any_winner(is_right, 6, num_seeds) for is_right in cases]) <= limit(600)


# ---- against other libraries and by hand -------------------------------------------------------------------------


def test_without_noise_of_rows_it_is_the_paired_t_test():
    scores = np.array([0.81, 0.84, 0.80, 0.86, 0.70, 0.75, 0.77, 0.74])
    estimate = compare_runs(scores, np.zeros((8, 8)), range(4), range(4, 8), num_rows=1000)
    reference = stats.ttest_rel(scores[:4], scores[4:])
    interval = reference.confidence_interval()
    assert estimate.p_value == pytest.approx(reference.pvalue)
    assert estimate[:3] == pytest.approx([0.0875, interval.low, interval.high])


def test_with_one_seed_it_is_the_paired_t_test_over_rows():
    generator = np.random.default_rng(0)
    values = generator.normal(0.1, 1, (2, 200))
    estimate = compare_runs(values.mean(axis=1), np.cov(values) / 200, [0], [1], 200)
    assert estimate.p_value == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue)
    assert math.isnan(estimate.components.seed)


def test_pairs_are_by_seed_whatever_their_order():
    scores = np.array([0.5, 0.9, 0.4, 0.8])
    assert compare_runs(scores, np.zeros((4, 4)), [0, 1], [2, 3], 10).p_value < 0.01
    assert compare_runs(scores, np.zeros((4, 4)), [0, 1], [3, 2], 10).p_value > 0.5


def test_identical_runs_do_not_differ():
    covariance = np.full((2, 2), 0.01)
    assert compare_runs(np.array([0.8, 0.8]), covariance, [0], [1], 50)[:4] == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_no_resample_changes_is_as_sure_as_its_rows_are_many():
    assert compare_runs(np.array([1.0, 0.0]), np.zeros((2, 2)), [0], [1], 4).p_value == 0.125


def test_variances_by_hand():
    covariance = np.array([[5.0, 2.0], [2.0, 5.0]])
    components = estimate_components(np.array([1.0, 5.0]), covariance, num_rows=10)
    assert components == Components(seed=8.0 - 3.0, row=20.0, residual=30.0, num_seeds=2, num_rows=10)
    assert components.get_parts(2, 10) == ((5.0 + 3.0) / 2, 2.0)


def test_the_variance_over_seeds_is_not_let_below_what_rows_explain():
    covariance = np.array([[5.0, 2.0], [2.0, 5.0]])
    components = estimate_components(np.array([1.0, 1.0]), covariance, num_rows=10)
    assert components.seed == 0
    assert components.get_parts(2, 10)[0] == 1.5


def test_simulated_variances_are_found_again():
    generator, found = np.random.default_rng(1), []
    for _ in range(300):
        values = generator.normal(0, 0.2, (6, 1)) + generator.normal(0, 1, (1, 80)) + generator.normal(0, 2, (6, 80))
        found.append(estimate_components(values.mean(axis=1), np.cov(values) / 80, 80)[:3])
    assert np.mean(found, axis=0) == pytest.approx([0.04, 1.0, 4.0], rel=0.25)


def test_the_covariance_of_resamples_is_numpys():
    resampled = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert compute_covariance(resampled) == pytest.approx(np.cov(resampled.T), rel=1e-5)
    assert compute_covariance(resampled[:, :1]).shape == (1, 1)


def test_holm_by_hand():
    assert adjust_by_holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjust_by_holm([0.6, 0.7]) == [1.0, 1.0]
    assert adjust_by_holm([]) == []


def test_holm_is_that_of_statsmodels():
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    p_values = np.random.default_rng(0).random(20) ** 3
    assert adjust_by_holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_mcnemar_counts_the_rows_that_one_alone_has_right():
    first = np.array([True] * 9 + [False] * 4)
    second = np.array([True] * 2 + [False] * 7 + [True] + [False] * 3)
    assert compute_mcnemar(first, second) == (7, 1, pytest.approx(2 * (1 + 8) / 2**8))
    assert compute_mcnemar(first, first) == (0, 0, 1.0)


def test_mcnemar_is_that_of_statsmodels():
    mcnemar = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar
    generator = np.random.default_rng(4)
    first, second = generator.random(100) < 0.8, generator.random(100) < 0.6
    table = [[np.sum(first & second), np.sum(first & ~second)], [np.sum(~first & second), np.sum(~first & ~second)]]
    assert compute_mcnemar(first, second)[2] == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_rank_correlation_wants_three_pairs_that_vary():
    assert correlate_ranks([1, 2, 3], [2, 9, 10]) == pytest.approx(1)
    assert correlate_ranks([1, 2], [1, 2]) is None
    assert correlate_ranks([1, 2, 3], [4, 4, 4]) is None


# ---- how much would be needed ------------------------------------------------------------------------------------


def test_needed_rows_follow_the_planning_formula():
    components = Components(math.nan, row=0.25, residual=0.0, num_seeds=1, num_rows=100)
    expected = 0.25 * ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / 0.02) ** 2
    assert find_needed_rows(0.02, components, 1, 0.05) == pytest.approx(expected, rel=0.002)


def test_needed_seeds_give_a_paired_t_test_its_power():
    solve = pytest.importorskip("statsmodels.stats.power").TTestPower().solve_power
    components = Components(seed=1e-4, row=0.0, residual=0.0, num_seeds=3, num_rows=100)
    expected = solve(effect_size=0.5, alpha=0.01, power=0.8)
    assert find_needed_seeds(0.005, components, 0.01) == pytest.approx(expected, abs=1.5)


def test_the_needed_number_is_the_least_that_suffices():
    components = Components(seed=1e-4, row=0.02, residual=0.1, num_seeds=3, num_rows=400)
    needed = find_needed_seeds(0.03, components, 0.05)
    assert has_power(0.03, components, needed, 400, 0.05)
    assert not has_power(0.03, components, needed - 1, 400, 0.05)


def test_no_number_of_rows_makes_up_for_few_seeds():
    components = Components(seed=0.01, row=0.25, residual=0.0, num_seeds=3, num_rows=100)
    assert find_needed_rows(0.01, components, 3, 0.05) is None
    assert find_needed_seeds(0.0001, components, 0.05) is None
    assert MOST_NEEDED == 1_000_000


# ---- over tasks --------------------------------------------------------------------------------------------------


def draw_tasks(num_tasks: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_tasks, 4)) + np.array([1.0, 0.5, 0.2, 0.0])


def test_ranks_over_tasks_by_hand():
    values = np.array([[0.9, 0.8, 0.7], [0.5, 0.6, 0.5]])
    ranks = rank_over_tasks(["a", "b", "c"], values)
    assert ranks.mean_ranks == {"a": 1.75, "b": 1.5, "c": 2.75}
    assert ranks.friedman_p_value == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)


def test_nemenyis_critical_difference_is_the_published_one():
    # Demsar 2006, table 5: q 2.569 for 4 classifiers; his example has 14 data sets.
    assert rank_over_tasks(list("abcd"), draw_tasks(14)).critical_difference == pytest.approx(1.25, abs=0.005)


def test_pairs_are_tested_only_where_enough_tasks_could_reach_the_level():
    few, enough = rank_over_tasks(list("abcd"), draw_tasks(7)), rank_over_tasks(list("abcd"), draw_tasks(8))
    assert few.pairwise_p_values == {}
    assert few.smallest_pairwise_p_value == 6 * 2 / 2**7
    values = draw_tasks(8)
    p_values = [stats.wilcoxon(values[:, i] - values[:, j]).pvalue for i, j in combinations(range(4), 2)]
    assert list(enough.pairwise_p_values.values()) == pytest.approx(adjust_by_holm(p_values))


def test_strategies_that_tie_everywhere_are_not_tested():
    ranks = rank_over_tasks(list("abc"), np.ones((9, 3)))
    assert ranks.friedman_p_value is None
    assert set(ranks.pairwise_p_values.values()) == {1.0}
