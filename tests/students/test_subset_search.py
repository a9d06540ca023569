"""Searches against hand-made scores and against all subsets."""

import math
import random
from dataclasses import dataclass
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from calibration_tools import make_batches
from conftest import make_bert
from layer_distillation.students import subset_search
from layer_distillation.students.arguments import SearchArguments
from layer_distillation.students.layer_scores import SubsetScorer
from layer_distillation.students.subset_search import ScoreSubsets, Subset, beam_search, cover_layers, measure_cover
from layer_distillation.tasks.kinds.entry import CLASSES


@dataclass(frozen=True)
class SearchGap:
    """How far a beam search ended from the best of all subsets; `rank` is 1 where nothing is better than what it found.

    Scores are those of `score_subsets`, in its unit.
    """

    found: Subset
    found_score: float
    best: Subset
    best_score: float
    rank: int
    num_subsets: int


def compare_with_exhaustive(num_layers: int, count: int, beam_width: int, score_subsets: ScoreSubsets) -> SearchGap:
    """A beam search beside the scores of all subsets of `count` layers: for teachers with few layers."""
    found, found_score = beam_search(num_layers, count, beam_width, score_subsets)[-1]
    subsets = list(combinations(range(num_layers), count))
    scores = score_subsets(subsets)
    best_score, best = min(zip(scores, subsets, strict=True))
    rank = 1 + sum(score < found_score for score in scores)
    return SearchGap(found, found_score, best, best_score, rank, len(subsets))


def draw_scores(num_layers: int, seed: int) -> ScoreSubsets:
    """Some score for every subset, in no relation to one another: the hardest case for a search."""
    return lambda subsets: [random.Random(f"{seed} {num_layers} {subset}").random() for subset in subsets]


@given(num_layers=st.integers(2, 8), seed=st.integers(0, 1000))
def test_removing_one_layer_greedily_is_exhaustive(num_layers, seed):
    gap = compare_with_exhaustive(num_layers, num_layers - 1, 1, draw_scores(num_layers, seed))
    assert (gap.found, gap.rank, gap.num_subsets) == (gap.best, 1, num_layers)


@given(num_layers=st.integers(2, 7), count=st.integers(1, 7), seed=st.integers(0, 1000))
def test_a_beam_that_holds_all_subsets_is_exhaustive(num_layers, count, seed):
    gap = compare_with_exhaustive(num_layers, min(count, num_layers), 1000, draw_scores(num_layers, seed))
    assert (gap.found, gap.found_score, gap.rank) == (gap.best, gap.best_score, 1)


def test_a_wider_beam_finds_what_greedy_removal_misses():
    """Layer 0 looks easiest to miss alone, but only 1 and 2 can be missed together."""
    scores = {(0, 1, 2): 0.0, (1, 2): 0.1, (0, 2): 0.2, (0, 1): 0.3, (2,): 3.0, (1,): 2.0, (0,): 1.0}

    def look_up(subsets):
        return [scores[subset] for subset in subsets]

    assert beam_search(3, 1, 1, look_up) == [((0, 1, 2), 0.0), ((1, 2), 0.1), ((1,), 2.0)]
    assert beam_search(3, 1, 2, look_up) == [((0, 1, 2), 0.0), ((1, 2), 0.1), ((0,), 1.0)]
    assert compare_with_exhaustive(3, 1, 1, look_up) == SearchGap((1,), 2.0, (0,), 1.0, 2, 3)


def test_all_layers_need_no_search():
    assert beam_search(3, 3, 4, lambda subsets: [0.0] * len(subsets)) == [((0, 1, 2), 0.0)]


@pytest.mark.parametrize(("num_layers", "seed"), [(4, 1), (4, 2), (6, 1), (6, 2), (6, 3)])
def test_on_tiny_teachers_the_default_beam_finds_the_best_of_all_subsets(num_layers, seed, record_property):
    scorer = SubsetScorer(make_bert(num_layers, seed=seed), make_batches(1), outputs=CLASSES)
    for width in (1, SearchArguments().beam_width):
        gap = compare_with_exhaustive(num_layers, num_layers // 2, width, scorer.score_subsets)
        record_property(f"width {width}", f"rank {gap.rank} of {gap.num_subsets}, {gap.found_score - gap.best_score}")
        assert gap.num_subsets == math.comb(num_layers, num_layers // 2)
    assert gap.rank == 1


def test_a_cover_takes_one_layer_of_each_group_that_is_alike():
    """Groups 0-1, 2-3-4 and 5; 3 is the most like the rest of its group."""
    similarity = torch.eye(6, dtype=torch.float64)
    for first, second, value in [(0, 1, 0.9), (2, 3, 0.8), (3, 4, 0.8), (2, 4, 0.5)]:
        similarity[first, second] = similarity[second, first] = value
    assert cover_layers(similarity, 3) == (0, 3, 5)
    assert measure_cover(similarity, (0, 3, 5)) == pytest.approx(1 + 0.9 + 0.8 + 1 + 0.8 + 1)
    assert cover_layers(similarity, 2) == (0, 3)
    assert cover_layers(similarity, 6) == (0, 1, 2, 3, 4, 5)


@given(num_layers=st.integers(1, 7), count=st.integers(1, 7), seed=st.integers(0, 1000))
def test_a_cover_that_grows_layer_by_layer_keeps_its_promise(num_layers, count, seed):
    count = min(count, num_layers)
    features = torch.randn(num_layers, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    similarity = F.cosine_similarity(features[:, None], features[None], dim=-1).square()
    best = max(measure_cover(similarity, subset) for subset in combinations(range(num_layers), count))
    assert measure_cover(similarity, cover_layers(similarity, count)) == best
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subset_search, "MOST_EXHAUSTIVE_SUBSETS", 0)
        grown = cover_layers(similarity, count)
    assert len(set(grown)) == count
    assert best * (1 - 1 / math.e) <= measure_cover(similarity, grown) <= best
