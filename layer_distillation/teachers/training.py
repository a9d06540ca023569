"""Fine-tunes a teacher once, whatever is killed or runs beside it: under a lock, resumable, renamed into place last."""

import dataclasses
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.records.checkpoints import find_checkpoint
from layer_distillation.records.process_locks import hold_lock_together
from layer_distillation.step.progress import tell_story
from layer_distillation.tasks.loading import TaskData
from layer_distillation.teachers.arguments import NO_LAYER_DECAY
from layer_distillation.teachers.layer_decay import LayerDecayTrainer

logger = logging.getLogger(__name__)


def fine_tune_once(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    arguments: DistillationTrainingArguments,
    compute_metrics: Callable,
    layer_decay: float = NO_LAYER_DECAY,
) -> None:
    """Leaves the fine-tuned teacher in `folder`, unless it is there; resumes what an earlier run left half done.

    One run trains while the others wait for its lock, which ends with the process that holds it.
    """
    state = PartialState()
    with hold_lock_together(folder.with_suffix(".lock")):
        if not folder.exists():
            fine_tune(folder, model, tokenizer, data, arguments, compute_metrics, layer_decay)
        else:
            logger.info("found the fine-tuned teacher in %s", folder)
        if state.is_main_process:  # after the teacher was kept, also where a kill came between the two
            shutil.rmtree(folder.with_suffix(".unfinished"), ignore_errors=True)
        state.wait_for_everyone()


def fine_tune(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    arguments: DistillationTrainingArguments,
    compute_metrics: Callable,
    layer_decay: float,
) -> None:
    """Trains the whole model on the task's loss, and moves the best epoch to `folder`."""
    work_folder = folder.with_suffix(".unfinished")
    logger.info("the teacher's head is untrained: it is fine-tuned once, and kept in %s", folder)
    arguments = dataclasses.replace(arguments, output_dir=str(work_folder))
    trainer = make_trainer(model, tokenizer, data, arguments, compute_metrics, layer_decay)
    tell_story(trainer, "fine-tuning the teacher", data.metric_names[0])
    trainer.train(resume_from_checkpoint=find_checkpoint(work_folder))
    if trainer.is_world_process_zero():
        keep_teacher(trainer.model, tokenizer, folder)


def make_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    arguments: DistillationTrainingArguments,
    compute_metrics: Callable,
    layer_decay: float,
) -> DistillationTrainer:
    """Of a fine-tuning on the task's loss alone."""
    parts = {
        "model": model,
        "args": arguments,
        "train_dataset": data.train,
        "eval_dataset": data.first_validation,
        "processing_class": tokenizer,
        "compute_metrics": compute_metrics,
        "task_kind": data.kind,
        "data_collator": data.make_collator(tokenizer, arguments),
    }
    if layer_decay == NO_LAYER_DECAY:
        return DistillationTrainer(**parts)
    return LayerDecayTrainer(layer_decay, **parts)


def keep_teacher(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the model beside `folder` and renames it last: it is whole or not there."""
    export_folder = folder.with_suffix(".exported")
    shutil.rmtree(export_folder, ignore_errors=True)
    model.save_pretrained(export_folder)
    tokenizer.save_pretrained(export_folder)
    export_folder.rename(folder)
