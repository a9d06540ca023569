"""Logits, labels and scores of every split but the training rows."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import EvalPrediction

from distill_trainer import DistillationTrainer
from layer_distillation.losses.batches import is_labelled
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks.kinds.entry import ITEM_MARKS, VECTOR, TaskKind
from layer_distillation.tasks.loading import TaskData
from layer_distillation.tasks.metrics import compute_task_loss
from layer_distillation.trainer.evaluated_rows import DistillationOutput

PREDICTIONS_NAME = "predictions.npz"
TIMING_SUFFIXES = ("runtime", "_per_second", "preparation_time")

Predictions = dict[str, dict[str, np.ndarray]]


def predict_splits(trainer: DistillationTrainer, data: TaskData) -> tuple[Predictions, dict[str, dict[str, float]]]:
    """Logits and labels, and the metrics, of every split but the training rows; each row once, on all processes, and in
    the precision of the weights: as whoever loads the student gets them, however it was trained."""
    predictions, metrics = {}, {}
    for split, rows in data.list_splits():
        if split == "train":
            continue
        if data.raw:  # what is scored is told by the very rows
            trainer.compute_metrics = partial(score_prediction, data, split)
        output = trainer.predict(rows, metric_key_prefix=split)
        has_answers = data.kind.answer_rows is not None
        predictions[split] = keep_answers(output, data, split) if has_answers else keep_items(output, data.kind)
        if data.kind.number_items is not None:
            predictions[split][ITEM_MARKS] = np.concatenate(rows[data.kind.item_column][:]).astype(bool)
        if (units := data.read_units(split)) is not None:
            predictions[split]["units"] = units
        if f"{split}_loss" in output.metrics or data.is_scored_by_teacher or data.outputs == VECTOR:
            metrics[split] = select_scores(output.metrics, split)
    return predictions, metrics


def score_prediction(data: TaskData, split: str, prediction: EvalPrediction) -> dict[str, float]:
    return data.score(prediction.predictions, prediction.label_ids, split)


def keep_items(output: DistillationOutput, kind: TaskKind) -> dict[str, np.ndarray]:
    """Logits and labels of the items, without any padding; of a kind whose rows have several how many each row has."""
    is_item = output.is_item
    if kind.keep_answers is not None:
        return kind.keep_answers(output.predictions, output.teacher_logits, output.label_ids)
    logits = {"student_logits": output.predictions, "teacher_logits": output.teacher_logits}
    arrays = {name: kind.take_items(array, is_item) for name, array in logits.items() if array is not None}
    if output.label_ids is not None:
        arrays["labels"] = kind.take_labels(output.label_ids, is_item)
    return arrays if is_item is None else arrays | {"row_items": is_item.sum(axis=1)}


def keep_answers(output: DistillationOutput, data: TaskData, split: str) -> dict[str, np.ndarray]:
    """Answers and scores of the rows, and which of them a comparison resamples together."""
    arrays = {}
    for model, logits in (("student", output.predictions), ("teacher", output.teacher_logits)):
        if logits is not None:
            rows = data.answer_rows(split, logits)
            arrays |= {f"{model}_scores": rows.scores, f"{model}_answers": rows.answers}
    return arrays | {"labels": rows.labels, "units": rows.units, "unit": np.array(rows.unit)}


def select_scores(metrics: dict[str, float], split: str) -> dict[str, float]:
    """What was scored, without the Trainer's own timings."""
    names = {name: name.removeprefix(f"{split}_") for name in metrics}
    return {short: metrics[name] for name, short in names.items() if not short.endswith(TIMING_SUFFIXES)}


def add_teacher_logits(data: TaskData, logits: dict[str, np.ndarray]) -> TaskData:
    """The same task, every evaluated split of which there are logits with a column `teacher_logits`."""

    def add(split: str, rows: Dataset) -> Dataset:
        """Without what pads the shorter rows of a kind with logits per token."""
        if split not in logits:
            return rows
        if not data.kind.is_per_token:
            return rows.add_column("teacher_logits", list(logits[split]))
        values = zip(logits[split], measure_lengths(rows), strict=True)
        return rows.add_column("teacher_logits", [row[:length].tolist() for row, length in values])

    validation = {split: add(split, rows) for split, rows in data.validation.items()}
    test = data.test if data.test is None else add("test", data.test)
    return dataclasses.replace(data, validation=validation, test=test)


def stack_teacher_logits(data: TaskData, rows: Dataset) -> np.ndarray:
    """What `add_teacher_logits` has put into the rows: (rows, outputs); of a kind with logits per token (rows, tokens,
    outputs), from the first token of every row on."""
    values = rows["teacher_logits"][:]
    if not data.kind.is_per_token:
        return np.asarray(values)
    stacked = np.zeros((len(values), max(map(len, values)), len(values[0][0])), np.float32)
    for target, row in zip(stacked, values, strict=True):
        target[: len(row)] = row
    return stacked


def save_predictions(predictions: Predictions, folder: Path) -> None:
    """`<split>.student_logits`, `.teacher_logits` and `.labels`, in the order of the rows: for paired tests."""
    arrays = {f"{split}.{name}": array for split, values in predictions.items() for name, array in values.items()}
    unfinished = folder / f".unfinished-{PREDICTIONS_NAME}"
    np.savez_compressed(unfinished, allow_pickle=False, **arrays)
    unfinished.replace(folder / PREDICTIONS_NAME)


def score_logits(
    data: TaskData, logits: dict[str, np.ndarray], score: Callable[[EvalPrediction], dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Loss and metrics of some logits, for every split of them that has labels."""
    metrics = {}
    for split, rows in data.list_splits():
        labels = data.stack_labels(rows)
        is_item = find_items(data, rows, labels)
        item_labels = data.kind.take_labels(labels, is_item)
        if split in logits and is_labelled(torch.as_tensor(item_labels)).any():
            items = data.kind.take_items(logits[split], is_item)
            has_loss = data.outputs != VECTOR
            metrics[split] = {"loss": compute_task_loss(items, item_labels, data.outputs)} if has_loss else {}
            if data.kind.unit_column is not None:
                metrics[split] |= data.score(logits[split], labels, split)
            elif data.kind.answer_rows is None:
                metrics[split] |= score(EvalPrediction(logits[split], labels))
            else:
                metrics[split] |= data.score_answers(data.answer_rows(split, logits[split], is_padded_left=False))
    return metrics


def find_items(data: TaskData, rows: Dataset, labels: np.ndarray) -> np.ndarray | None:
    """(rows, tokens), from the first token of every row on; None where the rows are the items."""
    if data.kind.answer_rows is None:
        return None if data.kind.item_column is None else labels >= 0
    lengths = measure_lengths(rows)
    is_item = np.zeros((len(rows), max(lengths)), bool)
    for target, marks in zip(is_item, rows[data.kind.item_column][:], strict=True):
        target[: len(marks)] = np.asarray(marks, bool)
    return is_item
