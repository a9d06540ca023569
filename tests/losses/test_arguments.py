"""What the training arguments choose by the machine, and that a user's own choice wins."""

import dataclasses
import logging
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from layer_distillation.losses import arguments as distillation_arguments
from layer_distillation.losses.arguments import DistillationTrainingArguments
from tiny_training import make_trainer


@pytest.mark.parametrize(
    ("has_instructions", "options", "is_bf16"),
    [
        (True, {}, True),
        (True, {"bf16": False}, False),
        (False, {}, False),
        (False, {"bf16": True}, True),
    ],
)
def test_bf16_where_the_machine_has_it_unless_said_otherwise(tmp_path, monkeypatch, has_instructions, options, is_bf16):
    monkeypatch.setattr(distillation_arguments, "has_bfloat16", lambda use_cpu: has_instructions)
    assert DistillationTrainingArguments(str(tmp_path), use_cpu=True, **options).bf16 is is_bf16


@pytest.mark.parametrize(
    ("has_gpu", "start", "options", "workers"),
    [
        (True, "fork", {}, 2),
        (True, "fork", {"dataloader_num_workers": 0}, 0),
        (True, "fork", {"use_cpu": True}, 0),
        (True, "spawn", {}, 0),
        (False, "fork", {}, 0),
        (False, "fork", {"dataloader_num_workers": 3}, 3),
    ],
)
def test_batches_are_read_ahead_beside_a_gpu_unless_said_otherwise(
    tmp_path, monkeypatch, has_gpu, start, options, workers
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: start)
    monkeypatch.setattr(distillation_arguments, "has_bfloat16", lambda use_cpu: False)
    monkeypatch.setattr(TrainingArguments, "device", torch.device("cpu"))  # none is there to be set up
    assert DistillationTrainingArguments(str(tmp_path), **options).dataloader_num_workers == workers


@pytest.mark.parametrize(
    ("device", "options", "is_not_waited_for"),
    [
        ("cuda", {}, True),
        ("cuda", {"accelerator_config": {"non_blocking": False}}, False),
        ("cuda", {"dataloader_pin_memory": False}, False),
        ("cpu", {}, False),
    ],
)
def test_copies_of_batches_to_a_gpu_are_not_waited_for_unless_said_otherwise(
    tmp_path, monkeypatch, device, options, is_not_waited_for
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(distillation_arguments, "has_bfloat16", lambda use_cpu: False)
    monkeypatch.setattr(TrainingArguments, "device", torch.device(device))
    monkeypatch.setattr(TrainingArguments, "n_gpu", 1)
    arguments = DistillationTrainingArguments(str(tmp_path), **options)
    assert arguments.accelerator_config.non_blocking is is_not_waited_for
    again = dataclasses.replace(arguments, seed=7)
    assert again.accelerator_config.non_blocking is is_not_waited_for


@pytest.mark.parametrize(
    ("bf16", "said"), [(True, "computing in bf16 (--bf16 false: fp32)"), (False, "computing in fp32")]
)
def test_the_precision_is_said(tmp_path, caplog, bf16, said):
    caplog.set_level(logging.INFO)
    make_trainer(tmp_path, bf16=bf16, max_steps=1).train()
    assert said in caplog.messages


def test_the_default_optimizer_is_fused(tmp_path):
    trainer = make_trainer(tmp_path, optim=DistillationTrainingArguments(str(tmp_path), use_cpu=True).optim)
    assert trainer.create_optimizer().defaults["fused"] is True


def test_what_is_said_of_loss_and_training_is_known_without_torch():
    code = (
        "import sys, layer_distillation.losses.flags, layer_distillation.step.flags;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'datasets')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
