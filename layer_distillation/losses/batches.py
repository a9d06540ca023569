"""What a collated batch holds beside the model's inputs, and how its items are counted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layer_distillation.losses.class_weights import weigh_labels
from layer_distillation.losses.functions import IGNORED_LABEL
from layer_distillation.outputs.compared import ModelOutputs

ItemCounts = dict[str, Tensor]

INTERMEDIATE_COLUMNS = ("teacher_hidden_states", "teacher_attentions", "teacher_relations")
NOT_MODEL_INPUTS = {"teacher_logits", *INTERMEDIATE_COLUMNS} | {"labels", "example_index", "is_duplicate"}


def split_inputs(inputs: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor | None, ModelOutputs | None]:
    """What the model gets, the labels, and the teacher's outputs where the batch brings them: `teacher_logits` (batch,
    classes), `teacher_hidden_states` (batch, layers, tokens, hidden), `teacher_attentions` (batch, layers, heads,
    tokens, tokens) and `teacher_relations` (batch, layers, 3, tokens, width)."""
    model_inputs = {name: value for name, value in inputs.items() if name not in NOT_MODEL_INPUTS}
    if "teacher_logits" not in inputs:
        return model_inputs, inputs.get("labels"), None
    intermediate = [inputs[name].unbind(dim=1) if name in inputs else () for name in INTERMEDIATE_COLUMNS]
    return model_inputs, inputs.get("labels"), ModelOutputs(inputs["teacher_logits"], *intermediate)


def split_predictions(predictions: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Student logits and, where there is a teacher, its logits: (rows, classes) each."""
    return predictions if isinstance(predictions, tuple) else (predictions, None)


def count_items(
    batches: Sequence[Mapping[str, Any]], device: torch.device, class_weights: Tensor | None = None
) -> ItemCounts:
    """Labelled rows (or the sum of their classes' weights), rows and real tokens of some micro-batches; a batch of
    duplicates counts nothing."""

    def count_labelled(labels: Tensor) -> Tensor:
        return is_labelled(labels).sum() if class_weights is None else weigh_labels(labels, class_weights).sum()

    counted = [batch for batch in batches if not batch.get("is_duplicate")]
    counts = {
        "labelled_rows": sum(count_labelled(batch["labels"]) for batch in counted),
        "rows": sum(len(batch["labels"]) for batch in counted),
        "tokens": sum(batch["attention_mask"].sum() for batch in counted),
    }
    return {name: put_on(count, device) for name, count in counts.items()}


def put_on(count: Tensor | int, device: torch.device) -> Tensor:
    """As float32; a plain number is filled in, as a copy of it would make a GPU wait."""
    if isinstance(count, Tensor):
        return count.to(device, torch.float32)
    return torch.full((), count, dtype=torch.float32, device=device)


def is_labelled(labels: Tensor) -> Tensor:
    """(batch,) of bool: regression marks a missing target by nan, classification by -100."""
    return ~labels.isnan() if labels.is_floating_point() else labels != IGNORED_LABEL


def keep_rows(batch: Mapping[str, Any], num_rows: int) -> dict[str, Any]:
    """The first `num_rows` rows. With none to keep, one row marked as a duplicate: every process has to take part in
    the step, but that row counts nothing."""
    rows = {name: value[: max(num_rows, 1)] for name, value in batch.items()}
    return rows if num_rows > 0 else rows | {"is_duplicate": True}
