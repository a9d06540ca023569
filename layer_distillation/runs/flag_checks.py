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
from layer_distillation.tasks.arguments import BUILT_IN_TASK, check_transfer_set

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
    check_export(arguments.student)
    check_transfer_set(arguments.data, training.get_largest_weights())
    if arguments.data.task_name != BUILT_IN_TASK and teacher.teacher_model_name_or_path is None:
        raise ValueError(
            "no teacher is named: give --teacher_model_name_or_path a folder or a Hub name (only the built-in task "
            "brings its own teacher)"
        )
    resume, folder = training.resume_from_checkpoint, Path(training.output_dir)
    check_writable(folder, "--output_dir")
    check_writable(Path(teacher.cache_dir).expanduser(), "--cache_dir")
    if resume is not None and not (Path(resume).is_dir() and Path(resume).resolve().parent == folder.resolve()):
        raise ValueError(f"--resume_from_checkpoint {resume} is no checkpoint of {folder}: leave it out to go on there")


def make_push_target(training: TrainingFlags) -> PushTarget:
    """The user's name for it, else the folder's; without an owner the token's."""
    name = training.hub_model_id or Path(training.output_dir).resolve().name
    return PushTarget(name, training.hub_private_repo, training.hub_revision, training.hub_token)
