"""Brings a teacher's outputs into the task's label order, by the labels' names."""

import logging
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)


def set_task_labels(config: PreTrainedConfig, label_names: Sequence[str] | None) -> None:
    """Writes the task's labels (None: regression) into a config, in place."""
    config.num_labels = 1 if label_names is None else len(label_names)
    if label_names is None:
        config.problem_type = "regression"
        return
    config.problem_type = "single_label_classification"  # it may have been another in an existing model
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}


def match_head_to_task(model: PreTrainedModel, label_names: Sequence[str] | None, name: str) -> None:
    """Brings the outputs of a trained head into the task's label order, in place.

    Raises:
        ValueError: the labels are not the task's.
    """
    if label_names is None:
        if model.config.num_labels != 1:
            raise ValueError(
                f"the task is a regression with one output, and the model {name} has {model.config.num_labels}: "
                f"{list(model.config.id2label.values())}; give a model that was trained on this task"
            )
        return
    order = match_labels([model.config.id2label[index] for index in range(model.config.num_labels)], label_names, name)
    if order != list(range(len(order))):
        logger.info("model %s orders its labels otherwise: its outputs %s become %s", name, order, list(label_names))
        permute_output_layer(model, order)
    set_task_labels(model.config, label_names)


def match_labels(teacher_labels: Sequence[str], task_labels: Sequence[str], name: str) -> list[int]:
    """For every task label the index of the teacher's output that means it, by name.

    Labels without a name (LABEL_0 or 0 on either side) are taken to be in the same order.

    Raises:
        ValueError: with both lists, where they do not match.
    """
    teacher_names, task_names = fold_names(teacher_labels), fold_names(task_labels)
    if len(teacher_names) == len(task_names):
        if sorted(teacher_names) == sorted(task_names):
            return [teacher_names.index(label) for label in task_names]
        if any(is_unnamed(labels) for labels in (teacher_names, task_names)):
            logger.warning(
                "labels of %s %s and of the task %s: taken to be in the same order",
                name,
                list(teacher_labels),
                list(task_labels),
            )
            return list(range(len(task_names)))
    raise ValueError(
        f"the labels of the model {name} {list(teacher_labels)} are not the task's {list(task_labels)}: give a "
        "model that was trained on this task, or rename the labels in its config.json (id2label, label2id)"
    )


def fold_names(labels: Sequence[str]) -> list[str]:
    """Without blanks around and, unless two of them would be one then (US, us), without capitals."""
    names = [str(label).strip() for label in labels]
    folded = [name.lower() for name in names]
    return folded if len(set(folded)) == len(set(names)) else names


def is_unnamed(labels: Sequence[str]) -> bool:
    """True for LABEL_0, LABEL_1 ... and for plain numbers."""
    return all(label.removeprefix("label_").isdigit() for label in labels)


@torch.no_grad()
def permute_output_layer(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Reorders the rows of the last linear layer, so that output i is what output order[i] was."""
    encoder_modules = set(model.base_model.modules())
    candidates = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == len(order) and module not in encoder_modules
    ]
    if not candidates:
        raise ValueError(
            f"cannot reorder the labels of {type(model).__name__}: reorder them in the task's files instead"
        )
    output_layer = candidates[-1]
    output_layer.weight.copy_(output_layer.weight[list(order)])
    if output_layer.bias is not None:
        output_layer.bias.copy_(output_layer.bias[list(order)])
