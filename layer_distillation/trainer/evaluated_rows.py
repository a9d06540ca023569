"""What an evaluation leaves: all its rows, gathered and in the data set's order, and the scores of them.

The loop runs the longest rows first, which is fast; whoever is given its rows gets them as the data set has them.
Entry: `find_row_order`, `gather_rows`, then `score_rows`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, DataLoader
from transformers import EvalPrediction, Trainer
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput, default_compute_objective

from layer_distillation.losses.batches import is_labelled
from layer_distillation.step.length_pools import LengthSortedSampler
from layer_distillation.tasks.kinds.entry import CLOSENESS, VECTOR, TaskKind
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.metrics import compute_row_losses, compute_task_loss, compute_teacher_agreement

AGREEMENT_METRICS = tuple(f"_{name}" for names in CLOSENESS.values() for name in names)
STUDENT, TEACHER, ITEMS, SHOWN = "student", "teacher", "items", "shown"  # what a prediction step leaves of a batch

ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]


class DistillationOutput(PredictionOutput):
    """What `predict` returns: stock's three fields, into which it also unpacks, and beside them what the teacher says.

    teacher_logits: (rows, classes) in the order of the rows; None where there is no teacher. is_item: (rows, tokens),
    where the items are; None where the rows are the items.
    """

    teacher_logits: np.ndarray | None = None
    is_item: np.ndarray | None = None


@dataclass(frozen=True)
class EvaluatedRows:
    """All rows of one evaluation, of all processes, in the order of the data set.

    student_logits, teacher_logits: (rows, classes), of a kind with an output per token (rows, tokens, classes); labels:
    (rows, ...), None where the data set has none; predictions: what the user is shown, the student's logits or what his
    `preprocess_logits_for_metrics` made of them; inputs: (rows, tokens), where `include_for_metrics` asks for them;
    is_item: (rows, tokens) of bool, where the items are, None where the rows are the items.
    """

    student_logits: np.ndarray
    teacher_logits: np.ndarray | None
    labels: np.ndarray | None
    predictions: Any
    inputs: np.ndarray | None
    kind: TaskKind = TEXT_CLASSIFICATION
    is_item: np.ndarray | None = None

    @property
    def outputs(self) -> str:
        num_outputs = self.student_logits.shape[-1]
        return self.kind.get_outputs(None if num_outputs == 1 else [""] * num_outputs)

    @property
    def has_labels(self) -> bool:
        """Whether any item has one."""
        return self.labels is not None and bool(is_labelled(torch.as_tensor(self.item_labels)).any())

    @property
    def item_labels(self) -> np.ndarray | None:
        return None if self.labels is None else self.kind.take_labels(self.labels, self.is_item)

    def take_items(self, logits: np.ndarray) -> np.ndarray:
        """(items, outputs)"""
        return self.kind.take_items(logits, self.is_item)


@contextmanager
def replaced_callables(trainer: Trainer, taken: list[EvalPrediction]) -> Iterator[None]:
    """Inside, the loop scores nothing and shows the user's `preprocess_logits_for_metrics` the student's logits alone;
    what it would have scored lies in `taken` afterwards, the inputs with it."""
    compute, preprocess = trainer.compute_metrics, trainer.preprocess_logits_for_metrics

    def take(prediction: EvalPrediction) -> dict[str, float]:
        taken.append(prediction)
        return {}

    def show_student(logits: dict[str, torch.Tensor], labels: torch.Tensor | None) -> dict[str, Any]:
        return logits | {SHOWN: preprocess(logits[STUDENT], labels)}

    trainer.compute_metrics = take
    trainer.preprocess_logits_for_metrics = None if preprocess is None else show_student
    try:
        yield
    finally:
        trainer.compute_metrics, trainer.preprocess_logits_for_metrics = compute, preprocess


def find_row_order(loader: DataLoader) -> np.ndarray | None:
    """The rows of the data set in the order in which the loader brings them; None: as they lie there.

    Accelerate deals the batches of one sampler out to its processes and gathers them in the same order.
    """
    batches = loader.batch_sampler if isinstance(loader, DataLoader) else None
    while isinstance(batches, BatchSamplerShard):
        batches = batches.batch_sampler
    is_sorted = isinstance(batches, BatchSampler) and isinstance(batches.sampler, LengthSortedSampler)
    return batches.sampler.order if is_sorted else None


def gather_rows(
    output: EvalLoopOutput, inputs: np.ndarray | None, order: np.ndarray | None, kind: TaskKind
) -> EvaluatedRows:
    """What the loop left, row by row as in the data set."""
    logits = output.predictions
    places = None if order is None else np.argsort(order)
    num_rows = len(logits[STUDENT])
    teacher = logits.get(TEACHER)
    return EvaluatedRows(
        student_logits=reorder(logits[STUDENT], places, num_rows),
        teacher_logits=None if teacher is None else reorder(teacher, places, num_rows),
        labels=None if output.label_ids is None else reorder(output.label_ids, places, num_rows),
        predictions=reorder(logits.get(SHOWN, logits[STUDENT]), places, num_rows),
        inputs=None if inputs is None else reorder(inputs, places, num_rows),
        kind=kind,
        is_item=reorder(logits[ITEMS], places, num_rows) == 1 if ITEMS in logits else None,  # padded by the loop
    )


def reorder(values: Any, places: np.ndarray | None, num_rows: int) -> Any:
    """Arrays, or tuples, lists and dicts of them, with entry `places[i]` as row i."""
    if places is None:
        return values
    if isinstance(values, Mapping):
        return type(values)({name: reorder(value, places, num_rows) for name, value in values.items()})
    if isinstance(values, (list, tuple)):
        return type(values)(reorder(value, places, num_rows) for value in values)
    if values.ndim == 0 or len(values) != num_rows:
        raise ValueError(
            f"preprocess_logits_for_metrics gave an array of shape {values.shape} for {num_rows} rows: give one entry "
            "per row, which can be put into the order of the data set"
        )
    return values[places]


def score_rows(
    rows: EvaluatedRows,
    compute_metrics: ComputeMetrics | None,
    include: list[str],
    compute_loss: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> dict[str, float]:
    """`loss` (the task's), the user's metrics, and the student's closeness to the teacher, over all rows at once.

    Args:
        include: `include_for_metrics` of the arguments.
        compute_loss: logits and labels to the task's loss, where it is not the cross-entropy or squared error.
    """
    metrics: dict[str, float] = {}
    if rows.has_labels:
        scored = rows.take_items(rows.student_logits), rows.item_labels, rows.outputs
        is_own, losses = compute_loss is not None, None
        if is_own or rows.outputs != VECTOR:  # a vector has no loss but a teacher's
            metrics["loss"] = compute_loss(rows.student_logits, rows.labels) if is_own else compute_task_loss(*scored)
        if (
            "loss" in include and "loss" in metrics
        ):  # a user's own loss has no value per row: the mean, as stock repeats a batch's
            losses = np.full(len(rows.labels), metrics["loss"]) if is_own else compute_row_losses(*scored)
        if compute_metrics is not None:
            metrics |= compute_metrics(EvalPrediction(rows.predictions, rows.labels, rows.inputs, losses))
    if rows.teacher_logits is not None:
        both = [rows.take_items(logits) for logits in (rows.student_logits, rows.teacher_logits)]
        if rows.kind.compare_models is None:
            metrics |= compute_teacher_agreement(*both, outputs=rows.outputs)
        else:
            metrics |= rows.kind.compare_models(*both, rows.item_labels)
    return metrics


def compute_own_loss(
    function: Callable[..., Any], device: torch.device, logits: np.ndarray, labels: np.ndarray
) -> float:
    """The task's loss of all rows by the user's `compute_loss_func`, called once with all of them."""
    on_device = torch.as_tensor(logits, device=device), torch.as_tensor(labels, device=device)
    num_items = is_labelled(on_device[1]).sum()
    return float(function(SequenceClassifierOutput(logits=on_device[0]), on_device[1], num_items_in_batch=num_items))


def add_prefix(scores: dict[str, float], prefix: str) -> dict[str, float]:
    """As the stock loop names metrics."""
    return {name if name.startswith(f"{prefix}_") else f"{prefix}_{name}": score for name, score in scores.items()}


def compute_objective_alone(metrics: dict[str, float]) -> float:
    """The stock objective of a search, the loss or the sum of the user's metrics, without the closeness to the teacher:
    a sum of distances and agreements has no direction."""
    own = {name: value for name, value in metrics.items() if not name.endswith(AGREEMENT_METRICS)}
    return default_compute_objective(own)
