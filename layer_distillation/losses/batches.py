"""What a collated batch holds beside the model's inputs, and how its items are counted."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from layer_distillation.losses.class_weights import weigh_labels
from layer_distillation.outputs.compared import ModelOutputs, make_mask

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


def count_items(
    batches: Sequence[Mapping[str, Any]], device: torch.device, class_weights: Tensor | None = None
) -> ItemCounts:
    """Labelled rows (or the sum of their classes' weights), rows and real tokens of some micro-batches; a batch of
    duplicates counts nothing."""

    def count_labelled(labels: Tensor) -> Tensor:
        return is_labelled(labels).sum() if class_weights is None else weigh_labels(labels, class_weights).sum()

    counted = [batch for batch in batches if not batch.get("is_duplicate")]
    counts = {
        "labelled_rows": sum(count_labelled(batch["labels"]) for batch in counted if "labels" in batch),
        "rows": sum(len(make_mask(batch)) for batch in counted),
        "tokens": sum(make_mask(batch).sum() for batch in counted),
    }
    return {name: put_on(count, device) for name, count in counts.items()}


def put_on(count: Tensor | int, device: torch.device) -> Tensor:
    """As float32; a plain number is filled in, as a copy of it would make a GPU wait."""
    if isinstance(count, Tensor):
        return count.to(device, torch.float32)
    return torch.full((), count, dtype=torch.float32, device=device)


def is_labelled(labels: Tensor) -> Tensor:
    """(batch,) of bool: regression marks a missing target by nan, classification by -100, GLUE's test rows by -1."""
    return ~labels.isnan() if labels.is_floating_point() else labels >= 0


def keep_rows(batch: Mapping[str, Any], num_rows: int) -> dict[str, Any]:
    """The first `num_rows` rows. With none to keep, one row marked as a duplicate: every process has to take part in
    the step, but that row counts nothing."""
    rows = {name: value[: max(num_rows, 1)] for name, value in batch.items()}
    return rows if num_rows > 0 else rows | {"is_duplicate": True}


def check_labels(labels: Tensor | None, logits: Tensor) -> None:
    """Raises ValueError unless there is one label per row: others would be broadcast to a loss of another meaning."""
    if labels is None:
        raise ValueError("a batch has no labels, and ce_weight is above 0: give the rows labels, or set ce_weight to 0")
    rows, num_labels = logits.shape
    if labels.shape != (rows,) and not (num_labels == 1 and labels.shape == (rows, 1)):
        raise ValueError(
            f"the labels of a batch of {rows} rows have the shape {tuple(labels.shape)}: give one label per row, "
            "not several (multi-label, several regression targets)"
        )
    if num_labels > 1 and labels.is_floating_point():
        raise ValueError(
            f"the labels are {labels.dtype}, and the student has {num_labels} classes: give class indices as integers, "
            "or a student of one output (num_labels=1) for a regression"
        )
