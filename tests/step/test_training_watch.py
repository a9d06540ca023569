"""The step at which a loss or a teacher was no number first, whatever comes after it."""

import pytest
import torch

from layer_distillation.step.training_watch import LossWatch, NonFiniteLossError

CPU = torch.device("cpu")


def test_numbers_pass():
    watch = LossWatch(CPU)
    watch.watch_loss(torch.tensor(1e30), 1)
    watch.watch_teacher(torch.ones(2, 3), 1)
    watch.raise_if_not_finite(1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_first_step_is_named(value):
    watch = LossWatch(CPU)
    for step, loss in enumerate([0.5, value, 0.5, float("nan")], 1):
        watch.watch_loss(torch.tensor(loss), step)
    with pytest.raises(
        NonFiniteLossError, match=r"loss became nan or infinite at step 2;.*--learning_rate \(now 0\.1\)"
    ):
        watch.raise_if_not_finite(0.1)


def test_a_teacher_is_named_before_the_loss_that_it_spoils():
    watch = LossWatch(CPU)
    watch.watch_teacher(torch.tensor([[1.0, float("nan")]]), 4)
    watch.watch_loss(torch.tensor(float("nan")), 4)
    with pytest.raises(NonFiniteLossError, match="the teacher's logits are nan or infinite for rows of step 4"):
        watch.raise_if_not_finite(0.1)
