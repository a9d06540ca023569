"""What compares the vectors of a batch with each other, and their first dimensions."""

import math

import pytest
import torch
import torch.nn.functional as F

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.functions import logit_cosine_loss, squared_distance_loss
from layer_distillation.losses.vectors import (
    SIMILARITY_LOSSES,
    average_parts,
    compare_rows,
    similarity_divergence_loss,
    similarity_error_loss,
)


def draw(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_rows_are_compared_with_all_others():
    vectors = torch.tensor([[1.0, 0], [0, 2], [3, 3]])
    half = math.sqrt(0.5)
    torch.testing.assert_close(compare_rows(vectors), torch.tensor([[0, half], [0, half], [half, half]]))


def test_the_divergence_by_hand():
    student, teacher = torch.tensor([[1.0, 0], [0, 1], [1, 1]]), torch.tensor([[1.0, 0], [1, 0.5], [0, 1]])
    expected = 0.0
    for row in range(3):
        others = [other for other in range(3) if other != row]
        ours, theirs = (
            torch.tensor([F.cosine_similarity(v[row], v[other], dim=0).item() for other in others]) / 0.5
            for v in (student, teacher)
        )
        expected += (theirs.softmax(0) * (theirs.log_softmax(0) - ours.log_softmax(0))).sum().item() / 3
    assert similarity_divergence_loss(student, teacher, 0.5).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", SIMILARITY_LOSSES)
def test_equal_structure_costs_nothing_and_lengths_and_widths_are_free(name):
    compare, vectors = SIMILARITY_LOSSES[name], draw(6, 4, 0)
    assert compare(vectors, vectors, 0.1).item() == pytest.approx(0, abs=1e-6)
    assert compare(vectors, F.pad(3 * vectors, (0, 5)), 0.1).item() == pytest.approx(0, abs=1e-6)
    other = draw(6, 4, 1).requires_grad_()
    loss = compare(other, vectors, 0.1)
    loss.backward()
    assert loss.item() > 0.01
    assert other.grad.abs().sum() > 0
    assert compare(vectors[:1], vectors[:1], 0.1).item() == 0


def test_similarity_error_is_a_mean_over_pairs():
    student, teacher = draw(5, 3, 0), draw(5, 3, 1)
    pairs = [(row, other) for row in range(5) for other in range(5) if row != other]
    differences = [
        F.cosine_similarity(student[a], student[b], dim=0) - F.cosine_similarity(teacher[a], teacher[b], dim=0)
        for a, b in pairs
    ]
    expected = torch.stack(differences).square().mean().item()
    assert similarity_error_loss(student, teacher, 1.0).item() == pytest.approx(expected, rel=1e-5)


def test_squared_distance_is_twice_one_minus_cosine_of_units():
    student, teacher = (F.normalize(draw(7, 5, seed), dim=-1) for seed in (0, 1))
    assert squared_distance_loss(student, teacher).item() == pytest.approx(
        2 * logit_cosine_loss(student, teacher).item(), rel=1e-5
    )
    halves = [squared_distance_loss(student[part], teacher[part], 7) for part in (slice(0, 3), slice(3, 7))]
    assert sum(halves).item() == pytest.approx(squared_distance_loss(student, teacher).item(), rel=1e-5)


def test_parts_are_the_first_dimensions_of_unit_vectors():
    student, teacher = draw(4, 6, 0), draw(4, 6, 1)
    found = average_parts(logit_cosine_loss, student, teacher, [2, 4])
    expected = [logit_cosine_loss(student[:, :size], teacher[:, :size]) for size in (2, 4, 6)]
    assert found.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    whole = average_parts(lambda s, t: similarity_error_loss(s, t, 1.0), student, teacher, [2], is_teacher_whole=True)
    expected = [similarity_error_loss(student[:, :size], teacher, 1.0) for size in (2, 6)]
    assert whole.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def make_arguments(tmp_path, **flags) -> DistillationTrainingArguments:
    return DistillationTrainingArguments(str(tmp_path), use_cpu=True, **flags)


def test_what_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--similarity_weight compares the rows of one whole batch"):
        make_arguments(tmp_path, similarity_weight=1.0, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="--matryoshka_dims is '64,64': give different whole numbers"):
        make_arguments(tmp_path, matryoshka_dims="64,64")
    with pytest.raises(ValueError, match="similarity_loss is 'cosine': choose one of kl, mse, distance"):
        make_arguments(tmp_path, similarity_loss="cosine")
    assert make_arguments(tmp_path, matryoshka_dims=[8, 4]).matryoshka_dims == "8,4"
