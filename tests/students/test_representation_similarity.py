"""Linear CKA against its definition by Gram matrices, its invariances, and the streaming form against the whole."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from layer_distillation.students.representation_similarity import LayerSimilarity, linear_cka


def draw(rows: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compare_layers(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    similarity = LayerSimilarity()
    for features_x, features_y in batches:
        similarity.add(features_x, features_y)
    return similarity.compute()


def draw_related(rows: int = 40) -> tuple[Tensor, Tensor]:
    """Two sets of features of widths 7 and 5 that share something, each with a mean far from 0."""
    features_x = draw(rows, 7) + 3
    return features_x, features_x @ draw(7, 5, seed=1) + 2 * draw(rows, 5, seed=2) - 1


def cka_of_grams(features_x: Tensor, features_y: Tensor) -> float:
    """The definition: HSIC of the centred rows x rows Gram matrices, normalised (Kornblith et al. 2019)."""
    rows = len(features_x)
    centring = torch.eye(rows, dtype=torch.float64) - torch.full((rows, rows), 1 / rows, dtype=torch.float64)
    gram_x, gram_y = features_x @ features_x.T, features_y @ features_y.T

    def hsic(first: Tensor, second: Tensor) -> Tensor:
        return torch.trace(first @ centring @ second @ centring)

    return (hsic(gram_x, gram_y) / (hsic(gram_x, gram_x) * hsic(gram_y, gram_y)).sqrt()).item()


@pytest.mark.parametrize("rows", [3, 40])
def test_the_feature_form_equals_the_definition_by_gram_matrices(rows):
    features_x, features_y = draw_related(rows)
    assert linear_cka(features_x, features_y) == pytest.approx(cka_of_grams(features_x, features_y), rel=1e-10)
    assert 0.1 < linear_cka(features_x, features_y) < 0.99


def test_a_value_by_hand():
    """x = (-1, 0, 1); y's columns (-1, 0, 1) and (1, -2, 1), centred already: x'y = (2, 0), y'y = diag(2, 6)."""
    features_x = torch.tensor([[-1.0], [0.0], [1.0]])
    features_y = torch.tensor([[-1.0, 1.0], [0.0, -2.0], [1.0, 1.0]])
    assert linear_cka(features_x, features_y) == pytest.approx(4 / (2 * 40**0.5))
    assert linear_cka(features_x, features_y[:, 1:]) == pytest.approx(0.0, abs=1e-12)


def test_the_same_features_are_1():
    features, _ = draw_related()
    assert linear_cka(features, features) == pytest.approx(1.0, abs=1e-12)


def test_rotation_scale_and_shift_change_nothing_and_both_sides_are_alike():
    features_x, features_y = draw_related()
    rotation = torch.linalg.qr(draw(7, 7, seed=3)).Q
    expected = linear_cka(features_x, features_y)
    assert linear_cka(features_x @ rotation * 0.01 + 5, features_y * -30) == pytest.approx(expected, rel=1e-10)
    assert linear_cka(features_y, features_x) == pytest.approx(expected, rel=1e-10)


def test_scaling_one_column_alone_does_change_it():
    """It is no correlation of subspaces: directions with more variance weigh more."""
    features_x, features_y = draw_related()
    stretched = features_x.clone()
    stretched[:, 0] *= 10
    assert abs(linear_cka(stretched, features_y) - linear_cka(features_x, features_y)) > 0.05


def test_a_mean_far_above_the_spread_costs_no_digits():
    """Hidden states have columns whose mean is many times their spread; raw second moments would lose these digits."""
    features_x, features_y = draw_related()
    expected = linear_cka(features_x, features_y)
    features_x, features_y = features_x + 1e7, features_y + 1e7
    assert linear_cka(features_x, features_y) == pytest.approx(expected, rel=1e-6)
    batches = [(features_x[None, a : a + 9], features_y[None, a : a + 9]) for a in range(0, 40, 9)]
    assert compare_layers(batches).item() == pytest.approx(expected, rel=1e-6)


def test_batches_of_any_size_give_what_the_whole_gives():
    layers_x, layers_y = torch.stack([draw(40, 6, seed) for seed in (0, 1)]), draw(3 * 40, 4, 9).reshape(3, 40, 4)
    layers_y[1] += layers_x[0][:, :4]
    layers_y += torch.linspace(0, 50, 40, dtype=torch.float64)[:, None]  # the mean drifts from batch to batch
    cuts = [0, 1, 8, 9, 33, 40]
    batches = [(layers_x[:, a:b], layers_y[:, a:b]) for a, b in pairwise(cuts)]
    streamed = compare_layers(batches)
    assert streamed.shape == (2, 3)
    for index_x in range(2):
        for index_y in range(3):
            expected = cka_of_grams(layers_x[index_x], layers_y[index_y])
            assert streamed[index_x, index_y].item() == pytest.approx(expected, rel=1e-9)


def test_half_precision_features_are_compared_in_float64():
    features_x, features_y = (features.to(torch.bfloat16) for features in draw_related())
    expected = cka_of_grams(features_x.double(), features_y.double())
    assert linear_cka(features_x, features_y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("features_x", "features_y", "message"),
    [
        (draw(4, 2), draw(5, 2), "the same rows"),
        (draw(0, 2), draw(0, 2), "one at least"),
        (draw(1, 2), draw(1, 2), "the same in every row"),
        (torch.ones(4, 2), draw(4, 2), "the same in every row"),
        (
            torch.full((7, 2), 0.1, dtype=torch.float64),
            draw(7, 2),
            "the same in every row",
        ),  # whose mean is not quite 0.1
    ],
)
def test_what_has_no_value_is_refused(features_x, features_y, message):
    with pytest.raises(ValueError, match=message):
        linear_cka(features_x, features_y)


def test_no_batch_at_all_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        compare_layers([])
