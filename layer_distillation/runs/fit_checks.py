"""Whether what was asked for goes with what was found: a run's rows and start with those of before, flags with the task
and the teacher's answers.

Entry: each is called once, as soon as it can be answered.
"""

import logging
from pathlib import Path
from typing import Any

from layer_distillation.embedding.modules import count_outputs
from layer_distillation.losses.class_weights import check_class_weights
from layer_distillation.losses.margins import check_group_batches, check_margins, count_group_rows
from layer_distillation.losses.vectors import check_vector_terms
from layer_distillation.records.checkpoints import find_checkpoint
from layer_distillation.records.run_record import RunRecord
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.runs.settled_arguments import list_closeness, name_temperature
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.kinds.entry import CLOSENESS, ONE_NUMBER, VECTOR
from layer_distillation.teachers.loading import Teacher

logger = logging.getLogger(__name__)


def check_same_rows(record: RunRecord, task: dict[str, Any], folder: str) -> None:
    """Raises ValueError where the run was begun on other rows than `task` describes."""
    for name, rows in {"fingerprint": "rows", "unlabelled_fingerprint": "unlabelled rows"}.items():
        if record.task and record.task.get(name) != task[name]:
            raise ValueError(f"{folder} was begun on other {rows}: give another --output_dir")


def check_same_start(record: RunRecord, teacher: dict[str, Any], student: dict[str, Any], folder: Path) -> None:
    """Raises ValueError where the checkpoints of `folder` have another teacher or start: that is not the same run.

    Args:
        record: as the run before left it.
        teacher, student: their entries of the record of now, as far as they are known.
    """
    if find_checkpoint(folder) is None:
        return
    for what, before, now in (("teacher", record.teacher, teacher), ("student", record.student, student)):
        names = ("fingerprint", "layers", "layer_matching", "source")
        differing = [name for name in names if name in before and name in now and before[name] != now[name]]
        if differing:
            raise ValueError(
                f"{folder} was begun with another {what} ({differing[0]} was {before[differing[0]]} and is "
                f"{now[differing[0]]}): give another --output_dir, or bring that {what} back"
            )


def check_task_fits(arguments: RunArguments, data: TaskData) -> None:
    """Raises ValueError if the arguments ask for what the task does not have."""
    if data.is_regression and arguments.training.get_largest_weights()["logit_cosine"] > 0:
        raise ValueError("--logit_cosine_weight above 0 on a regression task: one output has no direction; set it to 0")
    if data.outputs in ONE_NUMBER and (flag := name_temperature(arguments)) and flag != "--temperature 1":
        # No error: a recipe's loss serves any task.
        logger.warning("%s changes nothing here: a single score has no softmax", flag)
    check_queries(arguments, data)
    scores = ["loss", *data.metric_names]
    own = scores
    if data.outputs == VECTOR:
        own = [*data.metric_names, *CLOSENESS[VECTOR]]  # there is no loss of their own
    for flag, name, valid in (
        (
            "--metric_for_best_model",
            arguments.training.metric_for_best_model,
            list_closeness(data) if data.is_scored_by_teacher else own,
        ),
        ("--teacher_metric_for_best_model", arguments.teacher.teacher_metric_for_best_model, scores),
    ):
        if (plain := name.removeprefix("eval_")) not in valid:
            raise ValueError(f"{flag} is {plain!r}: the task {data.name} has {', '.join(valid)}")


def check_queries(arguments: RunArguments, data: TaskData) -> None:
    """Raises ValueError where the margin term is on and finds nothing to compare, or batches cut its queries in two."""
    check_margins(data.kind, arguments.training.get_largest_weights())
    if arguments.training.get_largest_weights()["margin"] > 0:
        check_group_batches(count_group_rows(data.student_train), arguments.training.per_device_train_batch_size)


def check_outputs_fit(arguments: RunArguments, data: TaskData, teacher: Teacher) -> None:
    """Raises ValueError where flags name classes or dimensions that the teacher's answers do not have."""
    check_class_weights(arguments.training.class_weights, data.label_names, data.kind)
    if data.outputs == VECTOR:
        check_vector_terms(arguments.training, VECTOR, count_outputs(teacher.model.config))
