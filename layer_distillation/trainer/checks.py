"""What cannot be meant by what a `DistillationTrainer` is made of: each is refused in one line when it is made."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Protocol

import numpy as np
from datasets import Dataset, LargeList, List, Value
from torch.optim import Optimizer
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.projections import Projections, check_no_optimizer
from layer_distillation.outputs.store import TeacherStore
from layer_distillation.records.suggestions import suggest_name
from layer_distillation.tasks.kinds.entry import CLOSENESS, RELEVANCE, VECTOR, TaskKind
from layer_distillation.tasks.kinds.multi_label import MULTI_LABEL
from layer_distillation.tasks.kinds.table import TASK_KINDS

logger = logging.getLogger(__name__)

LABEL_COLUMNS = ("labels", "label", "label_ids")  # collators call each of them `labels`


class MadeTrainer(Protocol):
    """What `check_made` needs of a trainer."""

    args: DistillationTrainingArguments
    is_fsdp_enabled: bool
    model: PreTrainedModel
    train_dataset: Any
    eval_dataset: Any
    teacher_store: TeacherStore | None
    projections: Projections | None
    optimizer: Optimizer | None
    term_weights: dict[str, float]
    task_kind: TaskKind


def check_call(args: Any, teacher: Any, further_teachers: Sequence[Any], others: Mapping[str, Any]) -> None:
    """Raises ValueError for what can be told of the arguments alone; `others` are those of the stock Trainer."""
    check_arguments(args)
    check_teachers(teacher, further_teachers)
    check_loss_function(others.get("compute_loss_func"), args, has_teacher=teacher is not None)


def check_made(trainer: MadeTrainer) -> None:
    """Raises ValueError for what the student, the rows and the processes say, once all is there."""
    check_sharded(trainer)
    has_ce = "ce" in trainer.term_weights
    num_labels = trainer.model.config.num_labels
    check_rows(trainer.train_dataset, trainer.eval_dataset, num_labels, has_ce, trainer.task_kind)
    if trainer.teacher_store is not None and trainer.train_dataset is not None:
        trainer.teacher_store.check_rows(trainer.train_dataset)
    if trainer.projections is not None:
        check_no_optimizer(trainer.optimizer)


def check_sharded(trainer: MadeTrainer) -> None:
    """Raises ValueError where --fsdp would change nothing: accelerate 1.15 takes it on cards alone (`MULTI_CPU` is not
    among its kinds), and trains a whole copy in every process otherwise, without a word."""
    if trainer.args.fsdp and not trainer.is_fsdp_enabled:
        raise ValueError(
            "--fsdp shards over several cards and here is a processor: accelerate shards nothing on processors, "
            "leave it out"
        )


def read_kind(kind: TaskKind | str | None) -> TaskKind | None:
    """By name; raises ValueError for one that there is none of."""
    if isinstance(kind, str) and kind not in TASK_KINDS:
        raise ValueError(f"task_kind is {kind!r}: choose from {', '.join(TASK_KINDS)}.{suggest_name(kind, TASK_KINDS)}")
    return TASK_KINDS[kind] if isinstance(kind, str) else kind


def check_arguments(args: Any) -> None:
    """Raises ValueError for arguments of another class: they have no weights."""
    if not isinstance(args, DistillationTrainingArguments):
        raise ValueError(
            f"args is a {type(args).__name__}: make it a DistillationTrainingArguments, which takes the same arguments "
            "and the loss's weights"
        )


def check_teachers(teacher: Any, further_teachers: Sequence[Any]) -> None:
    """Raises ValueError for what is neither a model nor a store, and for further teachers without a first."""
    if further_teachers and teacher is None:
        raise ValueError("further_teachers without a teacher: give the first of them as teacher")
    if further_teachers and isinstance(teacher, TeacherStore):
        raise ValueError("further_teachers beside a store: append stores of their logits to its further_stores")
    for model in [] if teacher is None else [teacher, *further_teachers]:
        name = type(model).__name__
        if type(model).__module__.split(".")[0] == "peft":
            raise ValueError(f"the teacher is a {name}: merge its adapter first, teacher.merge_and_unload()")
        if not isinstance(model, (PreTrainedModel, TeacherStore)):
            raise ValueError(
                f"teacher is a {name}: give a PreTrainedModel or a TeacherStore (the third argument is the teacher, "
                "unlike the stock Trainer's: name the others, such as data_collator=...)"
            )


def check_loss_function(compute_loss_func: Any, args: DistillationTrainingArguments, has_teacher: bool) -> None:
    """Raises ValueError where it would never be called, or stand against another argument."""
    if compute_loss_func is not None and has_teacher and args.get_largest_weights()["ce"] == 0:
        raise ValueError("compute_loss_func takes the place of the CE term, and ce_weight is 0: set it above 0")
    if compute_loss_func is not None and args.class_weights is not None:
        raise ValueError(
            "compute_loss_func takes the place of the CE term, which class_weights weighs: give one of both"
        )


def check_configs(student: PreTrainedConfig, teachers: Sequence[PreTrainedConfig], kind: TaskKind) -> None:
    """Raises ValueError where one has other outputs than the kind's, or their labels or tokens differ."""
    for name, config in [("student", student), *(("teacher", config) for config in teachers)]:
        check_problem_type(name, config, kind)
    for config in teachers:
        check_label_order(student, config)
        check_vocabulary_size(student, config)


def check_problem_type(name: str, config: PreTrainedConfig, kind: TaskKind) -> None:
    is_multi_label = config.problem_type == MULTI_LABEL.get_problem_type(None)
    if kind is MULTI_LABEL and not is_multi_label:
        raise ValueError(
            f"the {name}'s problem_type is {config.problem_type}, and the task has any number of labels to a row: give "
            "models that were trained so, whose config says multi_label_classification"
        )
    is_several = config.problem_type == "regression" and config.num_labels > 1
    if kind is not MULTI_LABEL and (is_multi_label or is_several):
        raise ValueError(
            f"the {name}'s problem_type is {config.problem_type} with {config.num_labels} outputs: a task of "
            f"{kind.name} has one label per item, a class or one number; give models with problem_type None"
        )


def check_label_order(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    """Raises ValueError where both name the same labels in another order: each would be taught another class."""
    own, other = ([str(config.id2label[i]) for i in sorted(config.id2label)] for config in (student, teacher))
    if own != other and sorted(map(str.lower, own)) == sorted(map(str.lower, other)):
        if [name.lower() for name in own] == [name.lower() for name in other]:
            return
        raise ValueError(
            f"student and teacher order their labels otherwise, {own} and {other}: bring the rows' labels and the "
            "student into the teacher's order"
        )


def check_vocabulary_size(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    sizes = [config.to_dict().get("vocab_size") for config in (student, teacher)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"the student's vocabulary has {sizes[0]} tokens and the teacher's {sizes[1]}: one id has to mean one "
            "token in both; take a student of the teacher's vocabulary"
        )


def check_rows(train_rows: Any, eval_rows: Any, num_labels: int, has_ce: bool, kind: TaskKind) -> None:
    """Raises ValueError where a data set's columns say that its labels are of another kind, or that none are there."""
    for name, rows in list_datasets(train_rows, eval_rows):
        column = next((column for column in LABEL_COLUMNS if column in rows.column_names), None)
        if column is None and name == "train_dataset" and has_ce:
            raise ValueError(
                f"train_dataset has the columns {rows.column_names}, none of {', '.join(LABEL_COLUMNS)}: add labels, "
                "or set ce_weight to 0 and train on a teacher alone"
            )
        if column is not None:
            check_label_feature(name, column, rows.features[column], num_labels, kind)
            if has_ce and kind.get_outputs(None) == RELEVANCE:
                check_relevance(name, column, rows)


def check_label_feature(name: str, column: str, feature: Any, num_labels: int, kind: TaskKind) -> None:
    if kind.get_outputs([""] * num_labels) == VECTOR:  # scores of pairs, beside any number of outputs
        return
    is_list = isinstance(feature, LargeList) or (isinstance(feature, List) and feature.length != 1)
    if is_list and not kind.has_label_lists:
        raise ValueError(
            f"{name} has several labels per row in {column!r} ({feature}), and the student is one for {kind.name}: "
            "give one per row; of several labels each, a student with the problem_type multi_label_classification "
            "(several regression targets are not supported)"
        )
    if kind.has_label_lists:
        if isinstance(feature, Value):
            raise ValueError(
                f"{name} has one label per row in {column!r} ({feature}), and the student is one for {kind.name}: give "
                "a list per row"
            )
        return
    if isinstance(feature, Value) and feature.dtype.startswith("float") and num_labels > 1:
        raise ValueError(
            f"{name} has numbers ({feature.dtype}) in {column!r}, and the student {num_labels} outputs: give class "
            "indices as integers, or a student with num_labels=1 for a regression"
        )


def check_relevance(name: str, column: str, rows: Dataset) -> None:
    """Raises ValueError for a score that is no probability: binary cross-entropy would have no lowest value there."""
    scores = np.asarray(rows[column][:], np.float64)
    for row in np.flatnonzero((scores < 0) | (scores > 1))[:1]:
        raise ValueError(
            f"{name} has the score {scores[row]:g} in {column!r}, row {row}: scores of relevance are from 0 to 1, "
            "divide them by the largest, or set ce_weight to 0"
        )


def list_datasets(train_rows: Any, eval_rows: Any) -> Iterator[tuple[str, Dataset]]:
    """Those whose columns can be read."""
    named = {f"eval_dataset[{name!r}]": rows for name, rows in eval_rows.items()} if is_dict(eval_rows) else {}
    named |= {"train_dataset": train_rows} | ({} if named else {"eval_dataset": eval_rows})
    yield from ((name, rows) for name, rows in named.items() if isinstance(rows, Dataset))


def is_dict(rows: Any) -> bool:
    return isinstance(rows, Mapping)


def choose_by_kind(args: DistillationTrainingArguments, kind: TaskKind) -> DistillationTrainingArguments:
    """The arguments, or a copy: vectors have no loss of their own, so that closeness to the teacher chooses."""
    if kind.get_outputs(["a", "b"]) != VECTOR or args.metric_for_best_model not in ("loss", "eval_loss"):
        return args
    args = copy(args)
    args.metric_for_best_model, args.greater_is_better = CLOSENESS[VECTOR][0], True
    return args


def choose_by_first(args: DistillationTrainingArguments, eval_rows: Any) -> DistillationTrainingArguments:
    """The arguments, or a copy: of several evaluation sets the first chooses the best model, unless the metric names
    one itself."""
    metric = args.metric_for_best_model
    if metric is None or not is_dict(eval_rows) or not eval_rows:
        return args
    plain = metric.removeprefix("eval_")
    if any(plain.startswith(f"{name}_") for name in eval_rows):
        return args
    args = copy(args)
    args.metric_for_best_model = f"{next(iter(eval_rows))}_{plain}"
    logger.info("several evaluation sets: %s chooses the best model", args.metric_for_best_model)
    return args
