"""A teacher's fine-tuning resumes what was interrupted and leaves nothing half-written."""

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback

from conftest import make_bert, make_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.tasks.loading import TaskData
from layer_distillation.teachers import training as teacher_training
from layer_distillation.teachers.training import fine_tune_once
from tiny_project import write_tokenizer


def run(folder: Path, callbacks: list[TrainerCallback] | None = None) -> None:
    rows = Dataset.from_list([row | {"input_ids": [token % 18 for token in row["input_ids"]]} for row in make_rows(24)])
    data = TaskData(
        "tiny", rows, {"validation": rows}, None, (), ["a", "b", "c"], ("accuracy",), None, None, max_length=12
    )
    write_tokenizer(folder.parent / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder.parent / "tokenizer")
    arguments = DistillationTrainingArguments(
        output_dir="unused", use_cpu=True, num_train_epochs=3, learning_rate=1e-3, disable_tqdm=True
    )
    fine_tune_once(folder, make_bert(2, seed=3), tokenizer, data, arguments, lambda _: {})


class Interrupt(TrainerCallback):
    def on_epoch_begin(self, args, state, control, **kwargs):
        if state.epoch >= 2:
            raise KeyboardInterrupt


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForSequenceClassification.from_pretrained(folder).state_dict()


def test_an_interrupted_fine_tuning_ends_with_the_same_weights(tmp_path, monkeypatch):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    run(tmp_path / "whole" / "teacher")

    class InterruptedTrainer(DistillationTrainer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs, callbacks=[Interrupt()])

    broken = tmp_path / "broken" / "teacher"
    with monkeypatch.context() as patch:
        patch.setattr(teacher_training, "DistillationTrainer", InterruptedTrainer)
        with pytest.raises(KeyboardInterrupt):
            run(broken)
    assert not broken.exists()
    assert (tmp_path / "broken" / "teacher.unfinished").exists()
    run(broken)
    whole, resumed = load_weights(tmp_path / "whole" / "teacher"), load_weights(broken)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert sorted(path.name for path in broken.parent.iterdir()) == ["teacher", "teacher.lock", "tokenizer"]


def test_a_teacher_that_is_there_is_not_trained_again_and_what_a_kill_left_beside_it_is_cleared(tmp_path, monkeypatch):
    run(tmp_path / "teacher")
    left = tmp_path / "teacher.unfinished" / "checkpoint-9"  # killed after the rename, before its checkpoints were gone
    left.mkdir(parents=True)
    (left / "optimizer.pt").write_bytes(b"half")
    monkeypatch.setattr(teacher_training, "fine_tune", lambda *_: pytest.fail("trained again"))
    run(tmp_path / "teacher")
    assert json.loads((tmp_path / "teacher" / "config.json").read_text())["num_hidden_layers"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["teacher", "teacher.lock", "tokenizer"]
