"""Trains a tiny student by plain SGD and saves what came out; also started by tests under several processes.

torchrun --nproc_per_node 2 tests/tiny_training.py FOLDER '{"per_device_train_batch_size": 4}'
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel

from conftest import check_group_has_ended, make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.losses.flags import TERM_NAMES
from layer_distillation.losses.terms import ComparedBatch
from layer_distillation.outputs.store import TeacherStore
from layer_distillation.records.process_locks import leave_process_group

ALL_TERMS = {
    "ce_weight": 1.0,
    "kl_weight": 1.0,
    "hidden_weight": 1.0,
    "attention_weight": 1.0,
    "logit_cosine_weight": 1.0,
    "pkd_weight": 0.0,
}
MORE_TERMS = {
    "pkd_weight": 1.0,
    "embedding_weight": 1.0,
    "relation_weight": 1.0,
    "relation_heads": 4,
    "attention_loss": "kl",
}
OFF = dict.fromkeys(
    ["ce_weight", "kl_weight", "hidden_weight", "attention_weight", "logit_cosine_weight", "pkd_weight"], 0.0
)


def make_trainer(
    folder: Path,
    num_rows: int = 22,
    num_labelled: int | None = None,
    has_own_term: bool = False,
    teacher: PreTrainedModel | TeacherStore | None = None,
    **options: object,
) -> DistillationTrainer:
    """2 layers taught by 4, five terms on, SGD with rate 0.1 and no clipping: a weight shows every gradient.

    Row 3 has no label, nor do the rows after the first `num_labelled`.
    """
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "optim": "sgd",
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 4,
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
        **ALL_TERMS,
    } | options
    rows = make_rows(num_rows)
    for row in [rows[3], *rows[num_rows if num_labelled is None else num_labelled :]]:
        row["labels"] = -100  # rows without a label
    # No dropout: the same rows have to give the same gradients however they are split up.
    student = make_bert(2, seed=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return DistillationTrainer(
        model=student,
        teacher=make_bert(4, seed=1) if teacher is None else teacher,
        args=DistillationTrainingArguments(**settings),
        data_collator=pad_rows,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(make_rows(21, seed=9)),
        compute_metrics=count_rows,
        extra_terms={"distance": (0.5, measure_distance)} if has_own_term else None,
    )


def measure_distance(batch: ComparedBatch) -> torch.Tensor:
    """A term of the user's own: the mean over rows of a squared distance of logits."""
    return (batch.student.logits - batch.teacher.logits).square().sum(dim=-1).mean()


def set_terms(trainer: DistillationTrainer, weights: dict[str, float]) -> None:
    """These terms alone, as a user would set them on the trainer's arguments."""
    for name in TERM_NAMES:
        setattr(trainer.args, f"{name}_weight", weights.get(name, 0.0))


def count_rows(prediction: EvalPrediction) -> dict[str, float]:
    labels = prediction.label_ids
    return {"rows": float(len(labels)), "order": float((labels * np.arange(len(labels))).sum())}


def train_and_save(folder: Path, resume_from: str | None = None, **options: object) -> None:
    trainer = make_trainer(folder, **options)
    trainer.train(resume_from_checkpoint=resume_from)
    if trainer.is_world_process_zero():
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(trainer.model.state_dict(), folder / "weights.pt")
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    for name, options in json.loads(sys.argv[2]).items():
        train_and_save(Path(sys.argv[1]) / name, **options)
    leave_process_group()
    check_group_has_ended()
