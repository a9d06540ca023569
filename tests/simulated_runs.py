"""Folders of finished runs as `run_distillation.py` leaves them, made up: no training, no model."""

import zlib
from pathlib import Path

import numpy as np

from layer_distillation.comparison.metrics import score_all_rows
from layer_distillation.records.run_record import FINISHED, RunRecord
from layer_distillation.tasks.weighted_scores import make_scorer

STARTS = {"top": [0, 1], "bottom": [2, 3], "odd": [1, 3], "even": [0, 2], "ends": [0, 3], "scratch": [None, None]}
WITHOUT_TEACHER = {"ce_weight": 1.0, "kl_weight": 0.0, "hidden_weight": 0.0}
ROWS = {"train": 90, "validation": 60, "test": 120}
WEIGHTS = {
    "ce_weight": 0.5,
    "kl_weight": 0.5,
    "hidden_weight": 1.0,
    "attention_weight": 0.0,
    "logit_cosine_weight": 0.0,
}
ARGUMENTS = WEIGHTS | {
    "hidden_loss": "cosine",
    "layer_matching": "block",
    "num_train_epochs": 3.0,
    "temperature": 2.0,
    "learning_rate": 1e-4,
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 1,
}
TEACHER = {"name": "minilm", "is_local": False, "fingerprint": "weights", "layers": 4, "parameters": 1000}
DEFAULTS = {
    "command": "run_distillation.py",
    "versions": {"torch": "2.13.0"},
    "hardware": {"device": "CPU", "cores": 2},
    "status": FINISHED,
    "best_epoch": 2.0,
    "seconds": {"distillation": 12.0},
}


def write_run(
    folder: Path,
    strategy: str = "top",
    seed: int = 1,
    accuracy: float = 0.8,
    seed_spread: float = 0.01,
    rows: dict[str, int] | None = None,
    num_classes: int = 3,
    metric_names: tuple[str, ...] = ("accuracy", "macro_f1"),
    task: dict | None = None,
    teacher: dict | None = None,
    student: dict | None = None,
    arguments: dict | None = None,
    has_test_labels: bool = True,
    **record: object,
) -> Path:
    """A student that is right on about `accuracy` of the rows; of a regression (1 class) one with that correlation.

    Rows are as hard for one run as for another, up to its own noise. The other arguments replace entries of the record.
    """
    rows = rows or ROWS
    generator = np.random.default_rng(zlib.crc32(f"{strategy} {seed} {arguments}".encode()))
    quality = accuracy + seed_spread * generator.normal()
    splits = {split: make_split(generator, quality, num_rows, num_classes) for split, num_rows in rows.items()}
    splits.pop("train")
    metrics, teacher_metrics = (
        {split: score(arrays[f"{model}_logits"], arrays["labels"], metric_names) for split, arrays in splits.items()}
        for model in ("student", "teacher")
    )
    if not has_test_labels:
        splits["test"]["labels"] = np.full_like(splits["test"]["labels"], -100 if num_classes > 1 else np.nan)
        del metrics["test"], teacher_metrics["test"]
    names = [f"class {label}" for label in range(num_classes)] if num_classes > 1 else None
    described = {"label_names": names, "metric_names": list(metric_names), "rows": rows}
    layers = STARTS.get(strategy, [seed % 3, 3])
    made = RunRecord(
        **DEFAULTS
        | {"metrics": metrics, "history": make_history(quality, metrics["validation"]["loss"])}
        | {"arguments": ARGUMENTS | {"layer_strategy": strategy, "seed": seed} | (arguments or {})}
        | {"seed": seed, "strategy": strategy}
        | {"task": {"name": "sick", "fingerprint": "rows"} | described | (task or {})}
        | {"teacher": TEACHER | {"metrics": teacher_metrics} | (teacher or {})}
        | {"student": {"layers": layers, "layer_matching": [1, 3], "parameters": 600} | (student or {})}
        | record
    )
    made.write(folder)
    arrays = {f"{split}.{name}": array for split, values in splits.items() for name, array in values.items()}
    np.savez_compressed(folder / "predictions.npz", **arrays)
    return folder


def make_history(quality: float, validation_loss: float) -> list[dict[str, float]]:
    """Two epochs, the better one last."""
    return [
        {"epoch": 1.0, "step": 3, "train_loss": 0.9, "eval_loss": 2 - quality},
        {"epoch": 2.0, "step": 6, "train_loss": 1.5 - quality, "eval_loss": validation_loss},
    ]


def make_split(
    generator: np.random.Generator, quality: float, num_rows: int, num_classes: int
) -> dict[str, np.ndarray]:
    """Labels, teacher and how hard a row is depend on the number of rows alone."""
    task_generator = np.random.default_rng(num_rows)
    labels = draw_labels(task_generator, num_rows, num_classes)
    difficulty = task_generator.random(num_rows)
    return {
        "student_logits": draw_logits(generator, labels, difficulty, quality, num_classes),
        "teacher_logits": draw_logits(task_generator, labels, difficulty, 0.9, num_classes),
        "labels": labels,
    }


def draw_labels(generator: np.random.Generator, num_rows: int, num_classes: int) -> np.ndarray:
    """(rows,)"""
    if num_classes == 1:
        return generator.normal(size=num_rows).astype(np.float32)
    return generator.integers(0, num_classes, num_rows)


def draw_logits(
    generator: np.random.Generator, labels: np.ndarray, difficulty: np.ndarray, quality: float, num_classes: int
) -> np.ndarray:
    """(rows, classes): wrong, by one class, on rows that are harder than the run is good."""
    noise = generator.normal(size=len(labels))
    if num_classes == 1:
        return (quality * labels + np.sqrt(1 - min(quality, 1) ** 2) * noise)[:, None].astype(np.float32)
    chosen = (labels + (difficulty + 0.1 * noise > quality)) % num_classes
    return (2 * np.eye(num_classes)[chosen] + 0.1 * generator.normal(size=(len(labels), num_classes))).astype(
        np.float32
    )


def score(logits: np.ndarray, labels: np.ndarray, metric_names: tuple[str, ...]) -> dict[str, float]:
    """As the record has them; the loss is made up, lower for the better."""
    decisions = logits[:, 0].astype(np.float64) if logits.shape[1] == 1 else logits.argmax(axis=1)
    scores = {
        name: float(score_all_rows(make_scorer(name, decisions[None], labels), len(labels))[0]) for name in metric_names
    }
    return {"loss": 1.5 - scores[metric_names[0]]} | scores
