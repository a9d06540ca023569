"""Weights of the classes in cross-entropy, as `--class_weights` names them or balances them by training rows.

Entry: `check_class_weights` before training, `resolve_class_weights` once the rows are there.
"""

import logging
from collections.abc import Sequence

import datasets
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedConfig

from layer_distillation.losses.flags import parse_class_weights
from layer_distillation.losses.functions import IGNORED_LABEL
from layer_distillation.tasks.kinds.entry import LABELS, VECTOR, TaskKind
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION

logger = logging.getLogger(__name__)


def check_class_weights(
    text: str | None, label_names: Sequence[str] | None, kind: TaskKind = TEXT_CLASSIFICATION
) -> None:
    """Raises ValueError where there are no classes, or other ones than weights."""
    if text is None:
        return
    if kind.get_outputs(label_names) == LABELS:
        raise ValueError(f"--class_weights {text} on a task of {kind.name}: each label is decided alone; leave it out")
    if kind.get_outputs(label_names) == VECTOR:
        raise ValueError(f"--class_weights {text} on a task of {kind.name}: vectors have no classes; leave it out")
    if kind.has_fixed_outputs:
        raise ValueError(f"--class_weights {text} on a task of {kind.name}: places are no classes; leave it out")
    if label_names is None:
        raise ValueError(f"--class_weights {text} on a regression: numbers have no classes; leave it out")
    weights = parse_class_weights(text)
    if weights is not None and len(weights) != len(label_names):
        raise ValueError(
            f"--class_weights {text} has {len(weights)} numbers for the {len(label_names)} labels {list(label_names)}: "
            "give one for each, in this order"
        )


def resolve_class_weights(
    text: str | None,
    config: PreTrainedConfig,
    train_dataset: Dataset | None,
    device: torch.device,
    kind: TaskKind = TEXT_CLASSIFICATION,
) -> Tensor | None:
    """(classes,) of float32, or None where nothing is weighted, or nothing trained.

    Balanced: rows / (classes that have rows * rows of the class), scikit-learn's formula; a class without a row has 1.

    Args:
        train_dataset: rows with `labels`, -100 for none.
    """
    if text is None or train_dataset is None:
        return None
    is_regression = config.num_labels == 1
    names = None if is_regression else [str(config.id2label[index]) for index in range(config.num_labels)]
    check_class_weights(text, names, kind)
    weights = parse_class_weights(text)
    if weights is None:
        is_table = isinstance(train_dataset, datasets.Dataset)
        labels = train_dataset["labels"][:] if is_table else [row["labels"] for row in train_dataset]
        given = torch.as_tensor([label for row in labels for label in row] if kind.is_per_token else labels)
        counts = torch.bincount(given[given != IGNORED_LABEL], minlength=len(names))
        balanced = counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))
        weights = torch.where(counts > 0, balanced, 1.0).tolist()
    shown = ", ".join(f"{name} {weight:.4g}" for name, weight in zip(names, weights, strict=True))
    logger.info("class weights of the cross-entropy: %s", shown)
    return torch.tensor(weights, dtype=torch.float32, device=device)


def weigh_labels(labels: Tensor, class_weights: Tensor) -> Tensor:
    """(batch,) -> the weight of each row's class, 0 where it has no label."""
    is_labelled = labels >= 0
    return class_weights.to(labels.device)[labels.masked_fill(~is_labelled, 0)] * is_labelled
