"""What a collated batch holds beside the model's inputs, and how its items are counted."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from layer_distillation.losses.class_weights import weigh_labels
from layer_distillation.outputs.compared import ModelOutputs, make_mask
from layer_distillation.tasks.kinds.entry import LABELS, VECTOR, TaskKind
from layer_distillation.tasks.kinds.table import TASK_KINDS
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION

ItemCounts = dict[str, Tensor]

INTERMEDIATE_COLUMNS = ("teacher_hidden_states", "teacher_attentions", "teacher_relations")
ITEM_COLUMNS = {kind.item_column for kind in TASK_KINDS.values() if kind.item_column is not None}
NOT_MODEL_INPUTS = {"teacher_logits", *INTERMEDIATE_COLUMNS, *ITEM_COLUMNS} | {
    "labels",
    "example_index",
    "is_duplicate",
}


def split_inputs(inputs: Mapping[str, Any]) -> tuple[dict[str, Tensor], Tensor | None, ModelOutputs | None]:
    """What the model gets, the labels, and the teacher's outputs where the batch brings them: `teacher_logits` (batch,
    classes), `teacher_hidden_states` (batch, layers, tokens, hidden), `teacher_attentions` (batch, layers, heads,
    tokens, tokens) and `teacher_relations` (batch, layers, 3, tokens, width); of rows of several inputs each (batch,
    inputs, layers, ...)."""
    model_inputs = {name: value for name, value in inputs.items() if name not in NOT_MODEL_INPUTS}
    if "teacher_logits" not in inputs:
        return model_inputs, inputs.get("labels"), None
    stored = [inputs.get(name) for name in INTERMEDIATE_COLUMNS]
    if inputs["input_ids"].dim() > 2:  # (rows, choices, ...) of multiple choice, which a model runs one by one
        stored = [None if tensor is None else tensor.flatten(end_dim=1) for tensor in stored]
    intermediate = [() if tensor is None else tensor.unbind(dim=1) for tensor in stored]
    return model_inputs, inputs.get("labels"), ModelOutputs(inputs["teacher_logits"], *intermediate)


def find_items(batch: Mapping[str, Any], kind: TaskKind) -> Tensor | None:
    """(batch, tokens) of bool, where a batch's items are; None where its rows are the items. Rows that say nothing of
    it, as they come from elsewhere, have them where their labels are.

    Raises:
        ValueError: nor are there any labels.
    """
    if kind.item_column is None:
        return None
    if kind.item_column in batch:
        return batch[kind.item_column].bool()
    if "labels" not in batch:
        raise ValueError(
            f"a batch for {kind.name} has neither labels nor {kind.item_column!r} (1 at tokens that count): give one"
        )
    return batch["labels"] >= 0


def count_items(
    batches: Sequence[Mapping[str, Any]],
    device: torch.device,
    class_weights: Tensor | None = None,
    kind: TaskKind = TEXT_CLASSIFICATION,
) -> ItemCounts:
    """Items with a label (or the sum of their classes' weights), items, rows, real tokens and states that heads read
    of some micro-batches; a batch of duplicates counts nothing. Where rows are the items, `labelled_rows` says what it
    is called."""

    def count_labelled(batch: Mapping[str, Any]) -> Tensor:
        labels = kind.take_labels(batch["labels"], find_items(batch, kind))
        return is_labelled(labels).sum() if class_weights is None else weigh_labels(labels, class_weights).sum()

    counted = [batch for batch in batches if not batch.get("is_duplicate")]
    rows, inputs = sum(len(batch["input_ids"]) for batch in counted), sum(len(make_mask(batch)) for batch in counted)
    masks = [find_items(batch, kind) for batch in counted]
    is_per_row = kind.item_column is None
    counts = {
        "labelled_rows": sum(count_labelled(batch) for batch in counted if "labels" in batch),
        "items": rows if is_per_row else sum(kind.count_items(mask) for mask in masks),
        "rows": rows,
        "tokens": sum(make_mask(batch).sum() for batch in counted),
        "head_states": inputs if is_per_row else sum(mask.sum() for mask in masks),
    }
    return {name: put_on(count, device) for name, count in counts.items()}


def put_on(count: Tensor | int, device: torch.device) -> Tensor:
    """As float32; a plain number is filled in, as a copy of it would make a GPU wait."""
    if isinstance(count, Tensor):
        return count.to(device, torch.float32)
    return torch.full((), count, dtype=torch.float32, device=device)


def is_labelled(labels: Tensor) -> Tensor:
    """(items,) of bool: numbers, and labels of 0 and 1, mark missing ones by nan, classes by -100 or -1."""
    known = ~labels.isnan() if labels.is_floating_point() else labels >= 0
    return known.flatten(1).all(dim=1) if known.dim() > 1 else known


def keep_rows(batch: Mapping[str, Any], num_rows: int) -> dict[str, Any]:
    """The first `num_rows` rows. With none to keep, one row marked as a duplicate: every process has to take part in
    the step, but that row counts nothing."""
    rows = {name: value[: max(num_rows, 1)] for name, value in batch.items()}
    return rows if num_rows > 0 else rows | {"is_duplicate": True}


def check_labels(labels: Tensor | None, logits: Tensor, outputs: str) -> None:
    """Raises ValueError unless there is one label per item, or as the outputs want it: others would be broadcast to a
    loss of another meaning.

    Args:
        labels, logits: of the items.
        outputs: what the logits are, of `tasks/kinds/entry.py`.
    """
    if labels is None:
        raise ValueError("a batch has no labels, and ce_weight is above 0: give the rows labels, or set ce_weight to 0")
    if outputs == VECTOR:
        return
    rows, num_labels = logits.shape
    if outputs == LABELS:
        if labels.shape != logits.shape or not labels.is_floating_point():
            raise ValueError(
                f"the labels of a batch of {rows} rows are {labels.dtype} of the shape {tuple(labels.shape)}, and the "
                f"student decides {num_labels} labels each: give a row of {num_labels} floats, 0 and 1, per row"
            )
        return
    if labels.shape != (rows,) and not (num_labels == 1 and labels.shape == (rows, 1)):
        raise ValueError(
            f"the labels of a batch of {rows} rows have the shape {tuple(labels.shape)}: give one label per row, "
            "not several (for several labels a student whose config has the problem_type multi_label_classification)"
        )
    if num_labels > 1 and labels.is_floating_point():
        raise ValueError(
            f"the labels are {labels.dtype}, and the student has {num_labels} classes: give class indices as integers, "
            "or a student of one output (num_labels=1) for a regression"
        )
