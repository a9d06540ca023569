"""Brings a teacher's outputs and the task's labels into one list of names, in one order.

Names decide. Where the task has bare numbers, the teacher's names stay, in its order; where the teacher has none
(LABEL_0), the task's. Data may lack classes of the teacher: its list is taken.

Entry: `adopt_labels` on the first teacher and `relabel_task` on the task, then `match_head_to_task` on other models.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.tasks.kinds.entry import NUMBER, VECTOR, TaskKind
from layer_distillation.tasks.kinds.multi_label import MULTI_LABEL
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.loading import TaskData

logger = logging.getLogger(__name__)

NUMBERED = re.compile(r"(?:label_)?([+-]?\d{1,18})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class LabelMatch:
    """The labels that student, record and predictions have, in their order.

    `indices[i]` is the place there of the task's label i, `outputs` are the model's own labels in this order;
    `is_by_name` tells whether names vouch for it, or only numbers and order.
    """

    names: list[str]
    indices: list[int]
    outputs: list[str]
    is_by_name: bool


def set_task_labels(
    config: PreTrainedConfig, label_names: Sequence[str] | None, kind: TaskKind = TEXT_CLASSIFICATION
) -> None:
    """Writes the task's labels (None: regression) into a config, in place."""
    config.num_labels = 1 if label_names is None else len(label_names)
    config.problem_type = kind.get_problem_type(label_names)  # it may have been another in an existing model
    if label_names is None:
        return
    config.id2label = dict(enumerate(label_names))
    config.label2id = {name: index for index, name in enumerate(label_names)}


def adopt_labels(model: PreTrainedModel, data: TaskData, name: str) -> LabelMatch | None:
    """Brings a trained head into one order of labels with the task, in place. By the first teacher of a run that order
    is decided: `relabel_task` then gives it to the task. None for a regression.

    Raises:
        ValueError: the labels are not the task's.
    """
    check_label_count(model.config, data.kind, name)
    if data.outputs == VECTOR:
        return None
    if data.kind.has_fixed_outputs:
        set_task_labels(model.config, data.label_names, data.kind)
        return None
    if data.label_names is None:
        match_head_to_task(model, None, name, data.kind)
        if data.outputs == NUMBER:
            check_number_head(model.config, data, name)
        return None
    if data.written_labels is not None:  # the first teacher's are taken
        return match_head_to_task(model, data.label_names, name, data.kind)
    match = match_labels(list_labels(model.config), data.label_names, name)
    check_tags(match, data, name)
    arrange_head(model, match, list(range(len(match.names))), name)
    set_task_labels(model.config, match.names, data.kind)
    return match


def check_tags(match: LabelMatch, data: TaskData, name: str) -> None:
    """Raises ValueError where a tagger has numbers for names: most words have the tag O, so that a wrong order would go
    unnoticed."""
    if data.kind.is_per_token and is_unnamed(match.outputs) and not is_unnamed(data.label_names):
        raise ValueError(
            f"the model {name} has no names for its tags {match.outputs}, and the order of the task's "
            f"{list(data.label_names)} cannot be told from them: write id2label and label2id into its config.json"
        )


def match_head_to_task(
    model: PreTrainedModel, label_names: Sequence[str] | None, name: str, kind: TaskKind = TEXT_CLASSIFICATION
) -> LabelMatch | None:
    """Brings the outputs of a trained head into the order of labels that are decided, in place.

    Raises:
        ValueError: the labels are not the task's, all of them.
    """
    if kind.get_outputs(label_names) == VECTOR:
        return None
    if kind.has_fixed_outputs:
        set_task_labels(model.config, label_names, kind)
        return None
    if label_names is None:
        if model.config.num_labels != 1:
            raise ValueError(
                f"{describe_one_output(kind)}, and the model {name} has {model.config.num_labels}: "
                f"{list_labels(model.config)}; give a model that was trained on this task"
            )
        return None
    match = match_labels(list_labels(model.config), label_names, name)
    if len(match.names) != len(label_names):
        raise ValueError(explain_mismatch(list_labels(model.config), label_names, name))
    arrange_head(model, match, match.indices, name)
    set_task_labels(model.config, label_names, kind)
    outputs = [match.outputs[index] for index in match.indices]
    return LabelMatch(list(label_names), list(range(len(label_names))), outputs, match.is_by_name)


def describe_one_output(kind: TaskKind) -> str:
    is_regression = kind is TEXT_CLASSIFICATION
    return "the task is a regression with one output" if is_regression else f"a task of {kind.name} has one output"


def arrange_head(model: PreTrainedModel, match: LabelMatch, places: list[int], name: str) -> None:
    """Output i becomes the one that stands for the match's name at places[i]."""
    own, names = fold_names(list_labels(model.config)), fold_names(match.names)
    if sorted(own) != sorted(names):  # one of the two has none
        own = names
    order = [own.index(names[place]) for place in places]
    if order != list(range(len(order))):
        wanted = [match.names[place] for place in places]
        logger.info("model %s orders its labels otherwise: its outputs %s become %s", name, order, wanted)
        permute_output_layer(model, order)


def check_label_count(config: PreTrainedConfig, kind: TaskKind, name: str) -> None:
    """Raises ValueError for a head that gives every label a probability of its own where the task's are one
    distribution, and the other way round."""
    is_multi_label = config.problem_type == MULTI_LABEL.get_problem_type(None)
    if kind is MULTI_LABEL and not is_multi_label:
        raise ValueError(
            f"the model {name} gives one label to a row (its problem_type is {config.problem_type}), and a row of this "
            "task has any number: give a model that was trained so, or an encoder without a head; or, if it was "
            "trained so, write problem_type multi_label_classification into its config.json"
        )
    if kind is not MULTI_LABEL and is_multi_label:
        raise ValueError(
            f"the model {name} gives any number of labels to a row (its problem_type is multi_label_classification), "
            "and a row of this task has one: give a model that was trained on single labels; or, where rows have any "
            "number, say --task_type multi-label"
        )


def check_number_head(config: PreTrainedConfig, data: TaskData, name: str) -> None:
    """Raises ValueError where a single output is the logit of a probability, as binary cross-entropy trains it: squared
    error on it is another task's loss."""
    declared = (config.to_dict().get("sentence_transformers") or {}).get("activation_fn")
    declared = declared or config.to_dict().get("sbert_ce_default_activation_function") or ""
    has_sigmoid = str(declared).endswith("Sigmoid")
    known = {label for label in data.train["labels"] if label == label}
    is_binary = bool(known) and known <= {0.0, 1.0}
    if has_sigmoid or (is_binary and config.problem_type != "regression"):
        why = f"its config names the activation {declared}" if has_sigmoid else "the labels are 0 and 1"
        raise ValueError(
            f"the model {name} has a single output that looks like a cross-encoder's, the logit of a probability "
            f"({why}): squared error on logits would be wrong; give a classifier with an output for each class, and "
            "leave --label_kind numbers out"
        )


def list_labels(config: PreTrainedConfig) -> list[str]:
    return [str(config.id2label[index]) for index in range(config.num_labels)]


def match_labels(teacher_labels: Sequence[str], task_labels: Sequence[str], name: str) -> LabelMatch:
    """One list of labels for both.

    Raises:
        ValueError: with both lists, where they do not match.
    """
    if len(teacher_labels) == 1:
        raise ValueError(
            f"the model {name} has a single output, as a cross-encoder with binary cross-entropy or a regression has, "
            f"and the task has the classes {list(task_labels)}: give a classifier with an output for each of them"
        )
    teacher_names, task_names = fold_names(teacher_labels), fold_names(task_labels)
    if len(set(teacher_names)) < len(teacher_names):
        raise ValueError(explain_mismatch(teacher_labels, task_labels, name))
    has_names = not is_unnamed(teacher_names) and not is_unnamed(task_names)
    if is_unnamed(task_names):
        indices = match_numbers(teacher_labels, task_labels, name)
        match = LabelMatch(list(teacher_labels), indices, list(teacher_labels), False)
    elif sorted(teacher_names) == sorted(task_names):
        own = [teacher_labels[teacher_names.index(label)] for label in task_names]
        return LabelMatch(list(task_labels), list(range(len(task_labels))), own, True)
    elif has_names and set(task_names) < set(teacher_names):
        indices = [teacher_names.index(label) for label in task_names]
        return LabelMatch(list(teacher_labels), indices, list(teacher_labels), True)
    elif is_unnamed(teacher_names) and len(teacher_names) == len(task_names):
        match = LabelMatch(list(task_labels), list(range(len(task_labels))), list(teacher_labels), False)
    else:
        raise ValueError(explain_mismatch(teacher_labels, task_labels, name))
    if not (is_unnamed(teacher_names) and is_unnamed(task_names)):
        logger.warning(
            "labels of %s %s and of the task %s: taken to be in the same order",
            *(name, list(teacher_labels), list(task_labels)),
        )
    return match


def match_numbers(teacher_labels: Sequence[str], task_labels: Sequence[str], name: str) -> list[int]:
    """Which of the teacher's labels each of the task's bare numbers means: that of the same number, where the teacher
    has numbers too, else by order; of fewer numbers than labels, counted from 0 or from 1.

    Raises:
        ValueError: they may mean several.
    """
    numbers, count = read_numbers(task_labels), len(teacher_labels)
    if is_unnamed(teacher_labels) and set(numbers) <= set(read_numbers(teacher_labels)):
        return [read_numbers(teacher_labels).index(number) for number in numbers]
    if len(numbers) == count:
        return [sorted(numbers).index(number) for number in numbers]
    counted_from = [first for first in (0, 1) if first <= min(numbers) and max(numbers) < first + count]
    if len(counted_from) == 2 or not counted_from:
        raise ValueError(
            explain_mismatch(teacher_labels, task_labels, name)
            + ("; or write its names in place of these numbers, which may count from 0 or from 1" * bool(counted_from))
        )
    return [number - counted_from[0] for number in numbers]


def explain_mismatch(teacher_labels: Sequence[str], task_labels: Sequence[str], name: str) -> str:
    return (
        f"the labels of the model {name} {list(teacher_labels)} are not the task's {list(task_labels)}: give a "
        "model that was trained on this task, or rename the labels in its config.json (id2label, label2id)"
    )


def relabel_task(data: TaskData, match: LabelMatch | None) -> TaskData:
    """The task with the match's names, the labels of all rows with it; says which class has no training row."""
    if match is None:
        return data
    written = dict(zip(match.indices, data.label_names, strict=True))
    if match.indices != list(range(len(match.names))):
        data = data.map_labels(dict(enumerate(match.indices)), len(match.names))
    metrics, defaults = data.metric_names, data.kind.list_default_metrics(match.names)
    if defaults != data.kind.list_default_metrics(data.label_names):  # the names say more than the numbers did
        metrics = tuple(dict.fromkeys((*defaults, *metrics)))
    data = replace(data, label_names=match.names, written_labels=written, metric_names=metrics)
    if match.names != list(written.values()):
        logger.info("the student answers with the teacher's labels: %s", describe_written(match.names, written))
    if absent := data.list_absent_labels():
        logger.warning("no training row has the label %s: the student learns it from the teacher alone", absent)
    return data


def describe_written(names: list[str], written: dict[int, str]) -> str:
    """Such as `NEGATIVE (0), POSITIVE (1)`: each label and what the data have for it."""
    return ", ".join(f"{name} ({written.get(index, 'no row')})" for index, name in enumerate(names))


def fold_names(labels: Sequence[str]) -> list[str]:
    """Without blanks around and, unless two of them would be one then (US, us), without capitals."""
    names = [str(label).strip() for label in labels]
    folded = [name.lower() for name in names]
    return folded if len(set(folded)) == len(set(names)) else names


def is_unnamed(labels: Sequence[str]) -> bool:
    """True for LABEL_0, LABEL_1 ... and for plain numbers."""
    return all(NUMBERED.fullmatch(label) for label in labels)


def read_numbers(labels: Sequence[str]) -> list[int]:
    return [int(NUMBERED.fullmatch(label)[1]) for label in labels]


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
