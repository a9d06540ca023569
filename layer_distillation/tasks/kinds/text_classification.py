"""One label to a row: a class, or a number to regress on. The kind of all records from before there were kinds."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from layer_distillation.tasks.arguments import TASKS, DataArguments
from layer_distillation.tasks.columns import find_label_column, find_text_columns
from layer_distillation.tasks.gold_labels import find_gold_column, holds_texts_alone, read_labels
from layer_distillation.tasks.kinds.entry import CLASSES, NUMBER, LabelNames, ReadTask, TaskKind, Truth
from layer_distillation.tasks.kinds.texts import collate_rows, read_texts, tokenize_texts, write_text_call
from layer_distillation.tasks.labels import IGNORED_LABEL
from layer_distillation.tasks.weighted_scores import (
    CLASS_SCORERS,
    NUMBER_SCORERS,
    RANKING_COST,
    RANKING_NAMES,
    Scorer,
    compute_margins,
    make_scorer,
)

if TYPE_CHECKING:
    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.files import RawSplit

CLASSIFICATION_METRICS = ("accuracy", "macro_f1")
REGRESSION_METRICS = ("pearson", "spearmanr")
BINARY_METRICS = ("precision", "recall", "f1")  # of class 1 of two
SHOWN_BESIDE = ("accuracy", "f1", "macro_f1", "matthews_correlation", *REGRESSION_METRICS)


# ---- data --------------------------------------------------------------------------------------------------------


def recognise(split: "RawSplit", arguments: DataArguments) -> str:
    return "one label to a row"


def read(splits: Mapping[str, "RawSplit"], arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> ReadTask:
    spec = TASKS.get(arguments.task_name or "")
    splits, label_column = find_labels(dict(splits), arguments, has_teacher=bool(teacher_labels))
    requested_texts = ",".join(spec.text_columns) if spec else arguments.text_columns
    text_columns = find_text_columns(splits["train"], label_column, requested_texts)
    found = {name: read_texts(split, text_columns) for name, split in splits.items()}
    label_kind = "numbers" if spec and spec.is_regression else arguments.label_kind
    label_names, labels = read_labels(splits, label_column, label_kind, teacher_labels)
    columns = {name: found[name] | {"labels": labels[name]} for name in splits}
    features = dict.fromkeys(text_columns, "string") | {"labels": "float32" if label_names is None else "int64"}
    return ReadTask(text_columns, label_names, columns, features)


def find_labels(
    splits: dict[str, "RawSplit"], arguments: DataArguments, has_teacher: bool
) -> tuple[dict[str, "RawSplit"], str | None]:
    """`find_gold_column`, where rows may do without labels: a named task and rows without a teacher need them."""
    if arguments.task_name is not None:
        return splits, "label"
    if not (has_teacher or arguments.has_own_answers):
        return splits, find_label_column(splits["train"], arguments.label_column)
    holds_no_other = partial(holds_texts_alone, requested_texts=arguments.text_columns)
    return find_gold_column(splits, arguments.label_column, not arguments.has_own_answers, holds_no_other)


def is_missing(label: float) -> bool:
    return label == IGNORED_LABEL or label != label


def make_unlabelled(columns: Mapping[str, list], label_names: LabelNames) -> list[float]:
    return [float("nan") if label_names is None else IGNORED_LABEL for _ in next(iter(columns.values()))]


def find_present(labels: Sequence[int]) -> set[int]:
    return set(labels)


def move_label(label: int, places: Mapping[int, int], num_classes: int) -> int:
    return label if label == IGNORED_LABEL else places[label]


# ---- outputs and scores ------------------------------------------------------------------------------------------


def get_outputs(label_names: LabelNames) -> str:
    return NUMBER if label_names is None else CLASSES


def get_problem_type(label_names: LabelNames) -> str:
    return "regression" if label_names is None else "single_label_classification"


def list_default_metrics(label_names: LabelNames) -> tuple[str, ...]:
    return REGRESSION_METRICS if label_names is None else CLASSIFICATION_METRICS


def check_metric(name: str, label_names: LabelNames) -> None:
    is_regression = label_names is None
    if (name in REGRESSION_METRICS) != is_regression or name not in CLASS_SCORERS | NUMBER_SCORERS:
        raise ValueError(f"--metrics {name} cannot score {'numbers' if is_regression else 'classes'}: leave it out.")
    if name in BINARY_METRICS and len(label_names) != 2:
        raise ValueError(f"--metrics {name} is of two classes, the labels are {label_names}: take macro_{name}.")


def score(logits: np.ndarray, truth: Truth, metric_names: Sequence[str]) -> dict[str, float]:
    # evaluate and scikit-learn take seconds to load, which a comparison does without
    from layer_distillation.tasks.metrics import compute_task_metrics

    return compute_task_metrics(logits, truth.labels, tuple(metric_names))


def read_answers(logits: np.ndarray, metric_name: str, truth: Truth) -> np.ndarray:
    """(rows,) decisions or scores; margins of all classes, (rows, classes), for a metric that ranks."""
    if metric_name in RANKING_NAMES:
        return compute_margins(logits)
    is_number = truth.label_names is None
    return logits.reshape(len(logits)).astype(np.float64) if is_number else logits.argmax(axis=-1)


def list_scorers(label_names: LabelNames) -> dict[str, Callable[[np.ndarray, Truth], Scorer]]:
    makers = NUMBER_SCORERS if label_names is None else CLASS_SCORERS
    return {name: name_scorer(name) for name in makers}


def name_scorer(metric_name: str) -> Callable[[np.ndarray, Truth], Scorer]:
    return lambda answers, truth: make_scorer(metric_name, answers, truth.labels)


def list_shown_beside(label_names: LabelNames) -> tuple[str, ...]:
    possible, is_binary = list_scorers(label_names), label_names is not None and len(label_names) == 2
    return tuple(name for name in SHOWN_BESIDE if name in possible and (name != "f1" or is_binary))


def list_constants(metric_name: str, answers: np.ndarray, truth: Truth) -> dict[str | None, np.ndarray]:
    """The answers that are one class throughout; all alike for what ranks or correlates, where every one scores 0."""
    if truth.label_names is None:
        return {None: np.full_like(truth.labels, 0)}
    if metric_name in RANKING_NAMES:
        return {None: np.zeros_like(answers)}
    return {truth.label_names[label]: np.full_like(truth.labels, label) for label in np.unique(truth.labels)}


def compare_answers(student_logits: np.ndarray, teacher_logits: np.ndarray, threshold: float) -> np.ndarray:
    return student_logits.argmax(axis=-1) == teacher_logits.argmax(axis=-1)


def mark_right(answers: np.ndarray, truth: Truth) -> np.ndarray:
    return answers == truth.labels


def count_products(metric_name: str, truth: Truth) -> float:
    columns = {"accuracy": 1, "f1": 2, "pearson": 3, "spearmanr": RANKING_COST}
    per_class = RANKING_COST if metric_name in RANKING_NAMES else 2
    return columns.get(metric_name, per_class * truth.num_outputs)


# ---- words -------------------------------------------------------------------------------------------------------


def describe_answer(labels: str) -> str:
    return f"one of {labels}"


def write_call(record: "RunRecord", location: str, options: str) -> str:
    # A pipeline turns one number into a probability.
    options += ', function_to_apply="none"' if record.task["label_names"] is None else ""
    return write_text_call(record, json.dumps(location, ensure_ascii=False), options)


TEXT_CLASSIFICATION = TaskKind(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    head_suffix="ForSequenceClassification",
    pipeline_tag="text-classification",
    unit="rows",
    recognise=recognise,
    read=read,
    read_texts=read_texts,
    tokenize=tokenize_texts,
    make_collator=collate_rows,
    is_missing=is_missing,
    make_unlabelled=make_unlabelled,
    find_present=find_present,
    move_label=move_label,
    get_outputs=get_outputs,
    get_problem_type=get_problem_type,
    list_default_metrics=list_default_metrics,
    check_metric=check_metric,
    score=score,
    read_answers=read_answers,
    list_scorers=list_scorers,
    list_shown_beside=list_shown_beside,
    list_constants=list_constants,
    compare_answers=compare_answers,
    mark_right=mark_right,
    count_products=count_products,
    describe_answer=describe_answer,
    write_call=write_call,
    takes_own_answers=True,
)
