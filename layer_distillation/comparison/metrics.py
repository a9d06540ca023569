"""How a metric of many runs varies over resampled rows, and how many resamples a few seconds allow.

The metrics themselves, as functions of the rows' weights, are the kinds' (`tasks/kinds/`).

Entry: `score_all_rows`, `resample_scores`, `limit_resamples`.
"""

import numpy as np

from layer_distillation.tasks.weighted_scores import Scorer

CHUNK_VALUES = 4_000_000
MOST_PRODUCTS = 3e10  # multiplications: about two seconds on one core
MOST_WEIGHTS = 6e7  # drawn numbers: about one second
FEWEST_RESAMPLES = 500  # the standard error that comes out is then good to 3 %


def score_all_rows(scorer: Scorer, num_rows: int) -> np.ndarray:
    """The metric itself, in float64: (runs,)."""
    return np.asarray(scorer(np.ones((1, num_rows))))[0]


def resample_scores(scorer: Scorer, num_rows: int, num_resamples: int, seed: int = 0) -> np.ndarray:
    """The metric of every run on rows drawn with replacement, the same rows for all runs: (resamples, runs)."""
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_VALUES // num_rows)
    scores = [
        scorer(draw_weights(generator, min(chunk, num_resamples - start), num_rows))
        for start in range(0, num_resamples, chunk)
    ]
    return np.concatenate(scores)


def draw_weights(generator: np.random.Generator, num_resamples: int, num_rows: int) -> np.ndarray:
    """How often each row was drawn: (resamples, rows), float32, every resample sums to `num_rows`."""
    drawn = generator.integers(0, num_rows, size=(num_resamples, num_rows), dtype=np.int32)
    drawn += np.arange(num_resamples, dtype=np.int32)[:, None] * num_rows
    counts = np.bincount(drawn.ravel(), minlength=num_resamples * num_rows)
    return counts.reshape(num_resamples, num_rows).astype(np.float32)


def limit_resamples(wanted: int, num_products: float, num_rows: int, num_runs: int) -> int:
    """As many resamples as a few seconds allow, at least `FEWEST_RESAMPLES` or what was wanted if that is less.

    Args:
        num_products: multiplications that a run's row costs (a kind's `count_products`).
    """
    affordable = min(MOST_PRODUCTS / (num_rows * num_runs * num_products), MOST_WEIGHTS / num_rows)
    return min(wanted, max(FEWEST_RESAMPLES, int(affordable)))
