"""The mean of several teachers' distributions: a value by hand, its gradient, one teacher twice, any order."""

import math

import pytest
import torch
import torch.nn.functional as F

from layer_distillation.losses.functions import kl_divergence_loss
from layer_distillation.outputs.ensemble_logits import average_logits, mix_logits

LOG3 = math.log(3.0)


def draw_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_kl_against_the_mean_distribution_by_hand():
    """At T = 2 the teachers say 1/4, 3/4 and 1/2, 1/2 in the first row: 3/8, 5/8; in the second twice 1/4 and 3/4."""
    teachers = torch.tensor([[[0.0, 2 * LOG3], [5.0, 5.0]], [[0.0, 2 * LOG3], [1.0, 1.0 + 2 * LOG3]]])
    student = torch.tensor([[0.0, 2 * LOG3], [0.0, 0.0]])
    first = 0.375 * math.log(0.375 / 0.25) + 0.625 * math.log(0.625 / 0.75)
    second = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    loss = kl_divergence_loss(student, mix_logits(teachers, 2.0), temperature=2.0)
    assert loss.item() == pytest.approx(4 * (first + second) / 2, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_zero_where_the_student_s_distribution_is_the_mean(temperature):
    teachers = draw_logits(5, 3, 4)
    mean = (teachers / temperature).softmax(dim=-1).mean(dim=1)
    torch.testing.assert_close((mix_logits(teachers, temperature) / temperature).softmax(dim=-1), mean)
    student = temperature * mean.log() + 7.0  # a constant changes no distribution
    assert kl_divergence_loss(student, mix_logits(teachers, temperature), temperature).item() == pytest.approx(
        0, abs=1e-5
    )


def test_the_gradient_is_the_formula_s():
    """T^2 sum p (log p - log softmax(student / T)), p the mean over teachers: T (softmax(student / T) - p) / rows."""
    temperature, teachers = 3.0, draw_logits(6, 2, 4).double()
    student = draw_logits(6, 4, seed=1).double().requires_grad_()
    kl_divergence_loss(student, mix_logits(teachers, temperature), temperature).backward()
    mean = (teachers / temperature).softmax(dim=-1).mean(dim=1)
    written_out = student.detach().clone().requires_grad_()
    log_student = F.log_softmax(written_out / temperature, dim=-1)
    (temperature**2 * (mean * (mean.log() - log_student)).sum(dim=-1).mean()).backward()
    torch.testing.assert_close(student.grad, written_out.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        student.grad, temperature * (log_student.exp() - mean).detach() / 6, rtol=1e-4, atol=1e-6
    )


def test_a_single_teacher_s_logits_stay_as_they_are_and_twice_the_same_teacher_is_that_teacher():
    logits = draw_logits(5, 3)
    assert mix_logits(logits, 2.0) is logits
    assert average_logits(logits) is logits
    twice = torch.stack([logits, logits], dim=1)
    torch.testing.assert_close(mix_logits(twice, 2.0).softmax(dim=-1), logits.softmax(dim=-1))
    assert torch.equal(average_logits(twice), logits)


def test_the_order_of_teachers_changes_nothing():
    teachers = draw_logits(5, 3, 4)
    torch.testing.assert_close(mix_logits(teachers, 2.0), mix_logits(teachers[:, [0, 2, 1]], 2.0), rtol=1e-6, atol=1e-6)


def test_of_regressions_the_outputs_are_averaged():
    assert torch.equal(mix_logits(torch.tensor([[[1.0], [4.0]]]), 2.0), torch.tensor([[2.5]]))


def test_probabilities_that_underflow_are_no_infinity():
    teachers = torch.tensor([[[0.0, 300.0], [0.0, 300.0]]])
    torch.testing.assert_close(mix_logits(teachers, 1.0), torch.tensor([[-300.0, 0.0]]))
