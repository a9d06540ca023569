"""A finished run's record and folder, made up: a tiny student that loads, predictions that give the record's scores."""

from pathlib import Path

import numpy as np
from huggingface_hub import ModelCard
from transformers import PreTrainedTokenizerFast

from conftest import make_bert
from layer_distillation.cards.model_card import build_model_card
from layer_distillation.cards.publish import write_model_card
from layer_distillation.cards.scores import ComparisonRow, list_scores
from layer_distillation.records.run_record import EARLIER_BEHAVIOUR, FINISHED, RunRecord
from tiny_project import write_tokenizer

HUB_NAME = "user/student"
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
TEACHER_CHOICES = np.array([0, 1, 2, 0, 1, 2, 1, 2])  # 6 of 8 right
STUDENT_CHOICES = np.array([0, 1, 2, 0, 1, 0, 1, 2])  # 5 of 8 right, 7 of 8 as the teacher
ARGUMENTS = EARLIER_BEHAVIOUR | {
    "output_dir": "runs/odd",
    "max_length": 16,
    "num_train_epochs": 3.0,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
    "optim": "adamw_torch_fused",
    "weight_decay": 0.0,
    "bf16": False,
    "fp16": False,
    "temperature": 2.0,
    "ce_weight": 0.5,
    "kl_weight": 0.5,
    "hidden_weight": 1.0,
    "attention_weight": 0.0,
    "logit_cosine_weight": 0.0,
}
PARTS = {
    "arguments": ARGUMENTS,
    "versions": {"torch": "2.13.0"},
    "hardware": {"device": "CPU", "cores": 2, "processes": 1},
    "task": {
        "name": "sst2",
        "dataset_name": "nyu-mll/glue",
        "dataset_config_name": "sst2",
        "text_columns": ["sentence"],
        "label_names": ["red", "green", "blue"],
        "metric_names": ["accuracy"],
        "rows": {"train": 24, "validation": 8, "test": 4},
        "fingerprint": "rows",
    },
    "teacher": {
        "name": "org/teacher",
        "is_local": False,
        "is_trained": True,
        "layers": 4,
        "parameters": 9000,
        "metrics": {"validation": {"accuracy": 0.75, "loss": 0.5}},
        "card": {},
    },
    "student": {"layers": [1, 3, None], "layer_matching": [1, 3, 3], "parameters": 5000},
    "metrics": {
        "validation": {"accuracy": 0.625, "loss": 0.75, "agreement": 0.875},
        "test": {"accuracy": 0.75, "loss": 0.5},
    },
    "seconds": {"distillation": 12.0},
    "speed": {
        "tokens": 16,
        "threads": 2,
        "milliseconds": {"1": {"teacher": 8.0, "student": 4.0}, "32": {"teacher": 100.0, "student": 40.0}},
        "rounds": {"1": 10, "32": 5},
        "weight_bytes": {"teacher": 36_000_000, "student": 20_000_000},
    },
}


def make_record(command: str = "run_distillation.py --layer_strategy odd", **changes: dict) -> RunRecord:
    """The record of a finished run, some entries of its parts changed."""
    parts = {name: part | changes.get(name, {}) for name, part in PARTS.items()}
    return RunRecord(command=command, seed=7, strategy="odd", status=FINISHED, best_epoch=2.0, **parts)


def write_predictions(folder: Path) -> None:
    """Those of the record: validation has 8 rows, test 4 of them, 3 of which the student has right."""
    test = [0, 1, 2, 7]
    rows = {"validation": list(range(8)), "test": test}
    choices = {"student_logits": STUDENT_CHOICES, "teacher_logits": TEACHER_CHOICES}
    arrays = {f"{split}.labels": LABELS[chosen] for split, chosen in rows.items()}
    for split, chosen in rows.items():
        arrays |= {f"{split}.{name}": np.eye(3)[values[chosen]] for name, values in choices.items()}
    np.savez_compressed(folder / "predictions.npz", **arrays)


def write_student(folder: Path, record: RunRecord) -> Path:
    """The folder as a run leaves it."""
    tokenizer = folder.parent / "tokenizer"
    write_tokenizer(tokenizer)
    make_bert(num_layers=2).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(tokenizer).save_pretrained(folder)
    write_predictions(folder)
    write_model_card(record, folder)
    record.write(folder)
    return folder


def make_card(record: RunRecord, folder: Path, comparison: ComparisonRow | None = None) -> ModelCard:
    """Read back from its text, as the Hub reads it."""
    if not (folder / "predictions.npz").exists():
        write_predictions(folder)
    return ModelCard(str(build_model_card(record, HUB_NAME, list_scores(folder, record), comparison)))


def find_section(card: ModelCard, title: str) -> str:
    return card.text.split(f"\n## {title}\n")[1].split("\n## ")[0].strip()
