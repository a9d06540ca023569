"""Searches for the best few of n layers: by removal, under a score of whole subsets, or by cover, under a similarity.

Pure functions, which know nothing of models. A subset is an ascending tuple of layer numbers; `score_subsets` gives the
score of each of some subsets, lower being better.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

from torch import Tensor

MOST_EXHAUSTIVE_SUBSETS = 20_000

Subset = tuple[int, ...]
ScoreSubsets = Callable[[Sequence[Subset]], list[float]]


def beam_search(
    num_layers: int, count: int, beam_width: int, score_subsets: ScoreSubsets
) -> list[tuple[Subset, float]]:
    """The best subset found of every size from `num_layers` down to `count`, and its score.

    From each of the `beam_width` best subsets of a size every one of its layers is taken out in turn. A width of 1 is
    greedy removal; a width that holds all subsets is an exhaustive search. Ties: the subset that comes first in order,
    so that layers near the input stay.
    """
    everything = tuple(range(num_layers))
    steps = [(everything, score_subsets([everything])[0])]
    beam = [everything]
    for size in range(num_layers - 1, count - 1, -1):
        candidates = sorted({smaller for subset in beam for smaller in combinations(subset, size)})
        ranked = sorted(zip(score_subsets(candidates), candidates, strict=True))
        beam = [subset for _, subset in ranked[:beam_width]]
        score, best = ranked[0]
        steps.append((best, score))
    return steps


def cover_layers(similarity: Tensor, count: int) -> Subset:
    """The `count` layers S that maximise the sum over all layers t of the largest `similarity[t, s]` with s in S.

    Up to 20,000 subsets are all tried. Beyond, S grows by the layer that adds most, which reaches 1 - 1/e of the
    largest possible sum at least (Nemhauser, Wolsey and Fisher 1978, on submodular functions). The last layer has to
    earn its place like any other: its output is one of those to be represented, and the student's head is trained on.
    Ties: the layers nearest the input.

    Args:
        similarity: (layers, layers), 1 on the diagonal, none below 0.
    """
    num_layers = len(similarity)
    if math.comb(num_layers, count) <= MOST_EXHAUSTIVE_SUBSETS:
        return max(combinations(range(num_layers), count), key=lambda subset: measure_cover(similarity, subset))
    chosen: Subset = ()
    for _ in range(count):
        covers = {
            layer: measure_cover(similarity, (*chosen, layer)) for layer in range(num_layers) if layer not in chosen
        }
        chosen += (max(covers, key=covers.__getitem__),)
    return tuple(sorted(chosen))


def measure_cover(similarity: Tensor, subset: Subset) -> float:
    """The sum over all layers of the largest similarity with one of the subset."""
    # Rounded: the order of a sum must not tell apart what is equally good.
    return round(similarity[:, list(subset)].max(dim=1).values.sum().item(), 12)
