"""What a run's flags alone show to be wrong: in a moment, before torch is loaded and anything is read or downloaded.

Entry: `check_training` of the flags that become `DistillationTrainingArguments`, then `check_arguments` of all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from layer_distillation.cards.push_target import PushTarget, check_push
from layer_distillation.records.folders import check_writable
from layer_distillation.runs.exporting import check_export
from layer_distillation.step.flags import TrainingFlags, check_numbers, check_supported
from layer_distillation.step.stock_checks import check_stock_flags
from layer_distillation.tasks.answer_flags import LOGITS
from layer_distillation.tasks.arguments import BUILT_IN_TASK
from layer_distillation.tasks.transfer_checks import check_transfer_set

if TYPE_CHECKING:
    from layer_distillation.runs.arguments import RunArguments
    from layer_distillation.runs.command_line import RunFlags, RunTrainingFlags


def check_training(training: RunTrainingFlags) -> None:
    """What `DistillationTrainingArguments` refuses, as far as it does not depend on the machine; raises ValueError."""
    values, num_processes = vars(training), int(os.environ.get("WORLD_SIZE", "1"))
    check_numbers(values)
    training.check_loss()
    check_supported(values)
    check_stock_flags(values, num_processes)
    is_recomputed = bool(values["activation_checkpointing"] or values["gradient_checkpointing"])
    training.check_batches(values["gradient_accumulation_steps"], num_processes, is_recomputed)
    training.check_stages(training.num_train_epochs, values["max_steps"])


def check_arguments(arguments: RunFlags | RunArguments) -> None:
    """What several arguments together show, and the folders that they name; raises ValueError."""
    training, teacher = arguments.training, arguments.teacher
    if training.push_to_hub:
        check_push(make_push_target(training))
    check_answers(arguments)
    check_export(arguments.student)
    check_transfer_set(arguments.data, training.get_largest_weights())
    has_soft_labels = arguments.data.soft_label_columns is not None
    if not has_soft_labels and arguments.data.task_name != BUILT_IN_TASK and teacher.teacher_model_name_or_path is None:
        raise ValueError(
            "no teacher is named: give --teacher_model_name_or_path a folder or a Hub name (only the built-in task "
            "brings its own teacher)"
        )
    resume, folder = training.resume_from_checkpoint, Path(training.output_dir)
    check_writable(folder, "--output_dir")
    check_writable(Path(teacher.cache_dir).expanduser(), "--cache_dir")
    if resume is not None and not (Path(resume).is_dir() and Path(resume).resolve().parent == folder.resolve()):
        raise ValueError(f"--resume_from_checkpoint {resume} is no checkpoint of {folder}: leave it out to go on there")


def check_answers(arguments: RunFlags | RunArguments) -> None:
    """Raises ValueError where soft labels or named classes take the place of a trained teacher, and something that only
    such a one has is asked for."""
    data, teacher = arguments.data, arguments.teacher
    if not data.has_own_answers:
        return
    if data.soft_label_columns is not None:
        check_soft_labels(arguments)
    flag = "--soft_label_columns" if data.soft_label_columns is not None else "--zero_shot_labels"
    because = f"{flag}, whose teacher is no trained model"
    refuse_teacher_flags(arguments, because)
    if teacher.allow_untrained_teacher:
        raise ValueError(f"--allow_untrained_teacher True does not go with {because}: leave it out")


def refuse_teacher_flags(arguments: RunFlags | RunArguments, because: str) -> None:
    """Raises ValueError for what asks something of teachers that answer to the student's own tokens."""
    teacher = arguments.teacher
    unmeant = {
        "additional_teachers": teacher.additional_teachers,
        "teacher_seeds": teacher.teacher_seeds if len(teacher.seeds) > 1 else None,
        "teacher_outputs": teacher.teacher_outputs if teacher.teacher_outputs == "live" else None,
        "teacher_bf16": arguments.training.teacher_bf16 or None,
    }
    for name, value in unmeant.items():
        if value is not None:
            raise ValueError(f"--{name} {value} does not go with {because}: leave it out")


def check_soft_labels(arguments: RunFlags | RunArguments) -> None:
    """Raises ValueError where they are not the only teacher, there is no model to cut, or a term asks for what only
    logits say."""
    data, teacher, student = arguments.data, arguments.teacher, arguments.student
    if teacher.teacher_model_name_or_path is not None:
        raise ValueError(
            f"--teacher_model_name_or_path {teacher.teacher_model_name_or_path} beside --soft_label_columns: one "
            "teacher answers, leave one of them out (a model that the student is cut from is --student_source_model)"
        )
    if student.student_source_model is None and student.student_model_name_or_path is None:
        raise ValueError(
            f"--soft_label_columns {data.soft_label_columns} has no layers that a student could start from: give "
            "--student_source_model, a folder or a Hub name, such as distilbert-base-uncased"
        )
    if data.recombined_pairs is not None:
        raise ValueError(
            f"--recombined_pairs {data.recombined_pairs}: of such pairs --soft_label_columns says nothing, leave it out"
        )
    cosine = arguments.training.get_largest_weights()["logit_cosine"]
    if data.soft_label_kind != LOGITS and cosine > 0:
        raise ValueError(
            f"--logit_cosine_weight {cosine:g}: probabilities give logits up to a constant of the row, which a cosine "
            "depends on; leave it out, or give --soft_label_kind logits with logits in the columns"
        )


def make_push_target(training: TrainingFlags) -> PushTarget:
    """The user's name for it, else the folder's; without an owner the token's."""
    name = training.hub_model_id or Path(training.output_dir).resolve().name
    return PushTarget(name, training.hub_private_repo, training.hub_revision, training.hub_token)
