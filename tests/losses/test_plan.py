"""The stages of one training. What schedules and stages do to the terms: test_loss_schedules.py."""

import pytest
import torch
from transformers import TrainerCallback

from distill_trainer import DistillationTrainingArguments
from layer_distillation.losses.plan import LossPlan
from tiny_training import make_trainer

TWO_STAGES = {"num_train_epochs": 2, "intermediate_epochs": 1.0}


class CountMoments(TrainerCallback):
    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_step_end(self, *_: object, optimizer: torch.optim.Optimizer, **__: object) -> None:
        self.counts.append(len(optimizer.state))


def test_the_second_stage_begins_with_a_new_optimizer(tmp_path):
    trainer, moments = make_trainer(tmp_path, **TWO_STAGES, optim="adamw_torch"), CountMoments()
    trainer.add_callback(moments)
    trainer.train()
    assert [count > 0 for count in moments.counts] == [True, True, False, True, True, True]  # 3 steps an epoch


@pytest.mark.parametrize(("epochs", "has_teacher", "last"), [(1.0, True, 3), (0.0, True, 0), (1.0, False, 0)])
def test_the_first_stage_ends_once_and_only_where_there_is_one(tmp_path, epochs, has_teacher, last):
    settings = {"num_train_epochs": 2, "hidden_weight": 1.0, "intermediate_epochs": epochs}
    plan = LossPlan(DistillationTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, **settings), has_teacher)
    assert [step for step in range(1, 7) if plan.ends_first_stage(step, 6)] == [last] * (last > 0)
