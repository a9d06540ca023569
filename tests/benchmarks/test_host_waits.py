"""Waits of the processor: which operations are counted, where, and that no training step of ours has one."""

import pytest
import torch

from benchmarks.host_waits import count_waits, list_per_step
from layer_distillation.step import training_watch, unread_masks
from layer_distillation.trainer import wrappers
from tiny_training import MORE_TERMS, make_trainer

CPU, GPU = torch.device("cpu"), torch.device("cuda")
VALUES = torch.tensor([1.0, -1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "read",
    [
        lambda: VALUES.sum().item(),
        lambda: bool((VALUES > 0).all()),
        lambda: VALUES[VALUES > 0],
        lambda: torch.unique(VALUES),
        lambda: VALUES.nonzero(),
    ],
)
def test_what_a_gpu_is_waited_for_is_counted_where_it_stands(read):
    with count_waits(CPU) as waits:
        for _ in range(3):
            read()
    assert list_per_step(waits, 3) == {f"test_host_waits.py:{read.__code__.co_firstlineno}": 1.0}


def test_what_stays_on_the_gpu_is_not_counted():
    with count_waits(CPU) as waits:
        VALUES.masked_fill(VALUES > 0, 2.0)[torch.tensor([0, 2])].square().sum().backward()
    assert not waits


@pytest.mark.parametrize(
    "options",
    [{}, MORE_TERMS, {"gradient_accumulation_steps": 2}, {"class_weights": "1,2,3"}, {"max_grad_norm": 1.0}],
    ids=["five terms", "more terms", "accumulated", "weighted classes", "clipped"],
)
def test_no_step_of_a_training_waits(tmp_path, monkeypatch, options):
    monkeypatch.setattr(training_watch.StepWatch, "on_step_end", lambda *_, **__: None)  # it reads on processors alone
    monkeypatch.setattr(wrappers, "make_masks_unread", lambda device: unread_masks.make_masks_unread(GPU))
    trainer = make_trainer(tmp_path, **options)
    trainer.args.max_steps = 6
    trainer.args.logging_strategy = trainer.args.eval_strategy = "no"
    with count_waits(CPU) as waits:
        trainer.train()
    assert list_per_step(waits, 6) == {}
