"""The losses of items by what their outputs are (`tasks/kinds/entry.py`): the task's own, and the soft target's.

Entry: `OUTPUT_LOSSES`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from layer_distillation.losses import functions as losses
from layer_distillation.losses.functions import Count
from layer_distillation.tasks.kinds.entry import CLASSES, LABELS, NUMBER, RELEVANCE, VECTOR


@dataclass(frozen=True)
class OutputLosses:
    """Means over items; `num_items` are those of the whole batch, of the task's loss the labelled ones."""

    task: Callable[[Tensor, Tensor, Count, Tensor | None], Tensor]  # student, labels, num_items, class weights
    divergence: Callable[[Tensor, Tensor, float, Count], Tensor]  # student, teacher, temperature, num_items


def refuse_labels(*_: object) -> Tensor:
    raise ValueError("ce_weight is above 0, and vectors have no labels: set it to 0")


OUTPUT_LOSSES = {
    CLASSES: OutputLosses(losses.cross_entropy_loss, losses.kl_divergence_loss),
    LABELS: OutputLosses(
        lambda student, labels, num_items, weights: losses.binary_cross_entropy_loss(student, labels, num_items),
        losses.binary_kl_loss,
    ),
    RELEVANCE: OutputLosses(
        lambda student, labels, num_items, weights: losses.binary_cross_entropy_loss(
            student, labels.reshape(-1, 1), num_items
        ),
        lambda student, teacher, temperature, num_items: losses.squared_error_loss(student, teacher, num_items),
    ),
    # A single output has no distribution: the squared error takes the place of KL.
    NUMBER: OutputLosses(
        lambda student, labels, num_items, weights: losses.squared_error_loss(student, labels, num_items),
        lambda student, teacher, temperature, num_items: losses.squared_error_loss(student, teacher, num_items),
    ),
    # Nobody says what vector is right: there is a teacher's alone.
    VECTOR: OutputLosses(
        refuse_labels,
        lambda student, teacher, temperature, num_items: losses.squared_distance_loss(student, teacher, num_items),
    ),
}
