"""What a GPU has to give: the processor's weights, stores and resumed trainings, and no step that waits.

Each test runs on the processor too, where the comparison is with itself: so that it cannot fail on a GPU for a reason
that has nothing to do with one. `benchmarks/gpu.sh` runs them there.
"""

import pytest
import torch

from benchmarks.host_waits import count_waits, list_per_step
from conftest import make_bert, pad_rows
from layer_distillation.outputs.store import make_spec
from layer_distillation.step import training_watch, unread_masks
from layer_distillation.teachers.store_filling import open_or_fill
from layer_distillation.trainer import wrappers
from tiny_training import make_trainer

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
pytestmark = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])


def train(folder, device, resume_from=None, **options) -> dict[str, torch.Tensor]:
    trainer = make_trainer(folder, use_cpu=device == "cpu", **options)
    trainer.train(resume_from_checkpoint=resume_from)
    assert next(trainer.model.parameters()).device.type == device
    return {name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()}


def test_a_training_gives_the_processors_weights(tmp_path, device):
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    own, processors = train(tmp_path / "own", device), train(tmp_path / "processor", "cpu")
    for name, tensor in processors.items():
        torch.testing.assert_close(own[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_training_in_bfloat16_comes_near(tmp_path, device):
    own, exact = train(tmp_path / "own", device, bf16=True), train(tmp_path / "exact", "cpu")
    start = make_bert(2, seed=2).state_dict()
    moved = sum(float((exact[name] - start[name]).square().sum()) for name in exact)
    off = sum(float((own[name] - exact[name]).square().sum()) for name in exact)
    assert off < 0.02 * moved


def test_a_store_filled_there_gives_what_the_live_teacher_gives(tmp_path, device):
    options = {"attention_weight": 0.0}
    trainer = make_trainer(tmp_path / "live", use_cpu=device == "cpu", **options)
    rows, teacher = trainer.train_dataset, trainer.teacher
    spec = make_spec(teacher.config, "teacher", rows, hidden_layers=tuple(trainer.layer_matching))
    store = open_or_fill(tmp_path, spec, teacher, rows, pad_rows, torch.device(device))
    live = train(tmp_path / "live", device, **options)
    stored_trainer = make_trainer(tmp_path / "stored", teacher=store, use_cpu=device == "cpu", **options)
    stored_trainer.train()
    for name, tensor in stored_trainer.model.state_dict().items():
        torch.testing.assert_close(tensor.cpu(), live[name], rtol=5e-3, atol=5e-4)


def test_a_resumed_training_gives_the_weights_of_one_that_was_not_stopped(tmp_path, device):
    options = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 3, "num_train_epochs": 2}
    whole = train(tmp_path / "run", device, **options)
    again = train(tmp_path / "run", device, resume_from=str(tmp_path / "run" / "checkpoint-4"), **options)
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-4, atol=1e-5)


def test_no_step_waits(tmp_path, monkeypatch, device):
    monkeypatch.setattr(training_watch.StepWatch, "on_step_end", lambda *_, **__: None)  # it reads on processors alone
    gpu = torch.device("cuda")
    monkeypatch.setattr(wrappers, "make_masks_unread", lambda _: unread_masks.make_masks_unread(gpu))
    trainer = make_trainer(tmp_path, use_cpu=device == "cpu", max_steps=6, attention_weight=0.0)
    trainer.args.logging_strategy = trainer.args.eval_strategy = "no"
    with count_waits(torch.device(device)) as waits:
        trainer.train()
    assert list_per_step(waits, 6) == {}
