"""Projections to the teacher's width: trained, clipped, saved and resumed with the student, and not a part of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.losses import functions as losses
from layer_distillation.losses.head_states import patient_loss, relational_loss
from layer_distillation.losses.projections import MODULE_NAME, Projections, attach_projections, fit_projections
from layer_distillation.outputs.compared import EMBEDDING_LAYER, run_model
from layer_distillation.records.process_locks import leave_process_group
from tiny_project import write_tokenizer

ROOT = Path(__file__).resolve().parents[2]
TERMS = {"ce_weight": 0.5, "kl_weight": 0.0, "hidden_weight": 1.0, "pkd_weight": 0.5, "embedding_weight": 1.0}


def make_trainer(folder: Path, teacher_width: int = 16, **options: object) -> DistillationTrainer:
    """A student of 2 layers, 8 wide, and a teacher of 4 layers."""
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "learning_rate": 1e-2,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": None,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "hidden_loss": "mse",
        "disable_tqdm": True,
        **TERMS,
    } | options
    return DistillationTrainer(
        model=make_bert(2, seed=2, hidden_size=8, hidden_dropout_prob=0.1),
        teacher=make_bert(4, seed=1, hidden_size=teacher_width),
        args=DistillationTrainingArguments(**settings),
        data_collator=pad_rows,
        train_dataset=Dataset.from_list(make_rows(24)),
        eval_dataset=Dataset.from_list(make_rows(8, seed=5)),
    )


def make_trimming_trainer(folder: Path, **options: object) -> DistillationTrainer:
    """The same, on rows that use less than half of the vocabulary."""
    write_tokenizer(folder)
    trainer = make_trainer(folder, **options)
    rows = [row | {"input_ids": [token % 15 + 5 for token in row["input_ids"]]} for row in make_rows(24)]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trainer.train_dataset, trainer.data_collator = Dataset.from_list(rows), DataCollatorWithPadding(tokenizer)
    return trainer


def test_terms_compare_projected_states_with_the_teacher_s(tmp_path):
    trainer = make_trainer(tmp_path, ce_weight=1.0, rkd_weight=1.0)
    batch = pad_rows(make_rows(8))
    mask = batch["attention_mask"]
    trainer.model.config.hidden_dropout_prob = 0.0
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer.model.train()
    for matrix in trainer.projections.matrices:  # no isometry any more, which would keep the distances
        matrix.weight.data[:, 0] *= 3
    with attach_projections(trainer.model, trainer.projections, None):
        trainer.compute_loss(trainer.model, dict(batch))
    found = {name: value.item() for name, value in trainer._term_means.sums.items()}
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    embedding, first, second = (matrix.weight for matrix in trainer.projections.matrices)
    with torch.no_grad():
        student = run_model(trainer.model, inputs, (EMBEDDING_LAYER, 0, 1)).hidden_states
        teacher = run_model(trainer.teacher_outputs.teacher, inputs, (EMBEDDING_LAYER, 1, 3)).hidden_states
        projected = [states @ matrix.T for states, matrix in zip(student, (embedding, first, second), strict=True)]
        expected = {
            "hidden": losses.hidden_state_loss(projected[1:], teacher[1:], mask, "mse"),
            "pkd": patient_loss(projected[1:], teacher[1:], mask),
            "embedding": losses.embedding_loss(projected[0], teacher[0], mask),
            "rkd": relational_loss(student[1:], teacher[1:], mask),  # no projection can stretch its distances
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("make", [make_trainer, make_trimming_trainer])
def test_they_are_trained_and_leave_a_plain_student(tmp_path, make):
    trainer = make(tmp_path)
    before = [matrix.weight.clone() for matrix in trainer.projections.matrices]
    names = set(trainer.model.state_dict())
    trainer.train()
    for matrix, start in zip(trainer.projections.matrices, before, strict=True):
        assert (matrix.weight - start).abs().max() > 1e-3
    assert set(trainer.model.state_dict()) == names
    assert trainer.model._forward_hooks == {}
    trainer.model.save_pretrained(tmp_path / "student")
    assert set(load_file(tmp_path / "student" / "model.safetensors")) == names
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student", output_loading_info=True)
    assert not any(info.values())


def test_they_count_in_the_norm_that_gradients_are_clipped_to(tmp_path):
    trainer = make_trainer(tmp_path, max_grad_norm=0.01, max_steps=1, optim="sgd", warmup_steps=0, learning_rate=1.0)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    starts = [matrix.weight.clone() for matrix in trainer.projections.matrices]
    trainer.train()
    student = sum((tensor - before[name]).square().sum() for name, tensor in trainer.model.state_dict().items())
    pairs = zip(trainer.projections.matrices, starts, strict=True)
    projected = sum((matrix.weight - start).square().sum() for matrix, start in pairs)
    assert projected.item() > 1e-7
    assert (student + projected).sqrt().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("options", [{}, {"intermediate_epochs": 1, "second_stage": "prediction"}])
@pytest.mark.parametrize("make", [make_trainer, make_trimming_trainer])
def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(tmp_path, make, options):
    whole = make(tmp_path / "run", **options)
    whole.train()
    saved = load_file(tmp_path / "run" / "checkpoint-2" / "model.safetensors")
    assert sum(name.startswith(MODULE_NAME) for name in saved) == 3
    resumed = make(tmp_path / "run", **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    for part in ("model", "projections"):
        weights = getattr(whole, part).state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in getattr(resumed, part).state_dict().items())


def test_a_student_of_the_teacher_s_width_has_none(tmp_path):
    trainer = make_trainer(tmp_path, teacher_width=8)
    assert trainer.projections is None
    options = dict.fromkeys(["hidden_weight", "pkd_weight", "embedding_weight"], 0.0)
    assert make_trainer(tmp_path, **options).projections is None
    assert make_trainer(tmp_path, **options, rkd_weight=1.0).projections is None


def test_the_best_checkpoint_and_a_second_training_work(tmp_path):
    trainer = make_trainer(tmp_path, eval_strategy="steps", eval_steps=2, load_best_model_at_end=True)
    trainer.train()
    best = load_file(Path(trainer.state.best_model_checkpoint) / "model.safetensors")
    assert all(torch.equal(tensor, best[name]) for name, tensor in trainer.model.state_dict().items())
    trainer.train()


def test_an_optimizer_that_lacks_them_is_refused(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="leave the optimizer to the trainer"):
        trainer.train()


def test_they_start_as_isometries_by_the_seed_and_leave_the_random_state_alone():
    state = torch.get_rng_state()
    one, same, other = (Projections((0, 1), 8, 16, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for matrix, again, another in zip(one.matrices, same.matrices, other.matrices, strict=True):
        torch.testing.assert_close(matrix.weight.T @ matrix.weight, torch.eye(8))
        assert torch.equal(matrix.weight, again.weight)
        assert not torch.equal(matrix.weight, another.weight)


def test_a_fitted_start_is_the_least_squares_one_with_its_ridge():
    student, teacher = make_bert(2, seed=2, hidden_size=8), make_bert(4, seed=1)
    batches = [
        {name: pad_rows(make_rows(8, seed=seed))[name] for name in ("input_ids", "attention_mask")} for seed in (1, 2)
    ]
    start = fit_projections(student, teacher, batches, {EMBEDDING_LAYER: EMBEDDING_LAYER, 1: 3})
    for own, imitated in ((EMBEDDING_LAYER, EMBEDDING_LAYER), (1, 3)):
        with torch.no_grad():
            states = [
                torch.cat(
                    [
                        run_model(model, batch, (layer,)).hidden_states[0][batch["attention_mask"].bool()]
                        for batch in batches
                    ]
                ).double()
                for model, layer in ((student, own), (teacher, imitated))
            ]
        ridge = (0.1 * states[0].square().sum(dim=0)).sqrt().diag()  # as many rows more, whose targets are 0
        given = torch.cat([states[0], ridge])
        solution = torch.linalg.lstsq(given, nn.functional.pad(states[1], (0, 0, 0, 8))).solution
        torch.testing.assert_close(start[own], solution, atol=1e-6, rtol=1e-5)
    projections = Projections((EMBEDDING_LAYER, 1), 8, 16, seed=0, start=start)
    torch.testing.assert_close(projections.matrices[1].weight, start[1].T.float())


@pytest.mark.slow
def test_two_processes_train_the_same_projections_as_one(tmp_path):
    """By plain SGD without dropout on the same global batches, in two stages: also where no term compares states."""
    options = {"optim": "sgd", "learning_rate": 0.1, "save_strategy": "no", "intermediate_epochs": 1}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    for processes, rows in ((1, 8), (2, 4)):
        settings = options | {"per_device_train_batch_size": rows}
        command = [*launch, str(processes), __file__, str(tmp_path / str(processes)), json.dumps(settings)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two, other = (torch.load(tmp_path / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-4)
        assert torch.equal(two[name], other[name])


def train_and_save(folder: Path, **options: object) -> None:
    trainer = make_trainer(folder, **options)
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer.train()
    weights = trainer.model.state_dict() | {f"projection {k}": v for k, v in trainer.projections.state_dict().items()}
    torch.save(weights, f"{folder}-{trainer.args.process_index}.pt")


if __name__ == "__main__":
    train_and_save(Path(sys.argv[1]), **json.loads(sys.argv[2]))
    leave_process_group()
