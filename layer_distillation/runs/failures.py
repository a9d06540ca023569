"""What a failure of the machine means for the user: a disk, the memory, another process of the run.

Entry: `describe_failure`. What it does not know is a mistake of ours, which keeps its traceback.
"""

import errno
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate.utils.memory import should_reduce_batch_size

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.records.folders import find_existing
from layer_distillation.runs.reload_check import UnusableStudentError
from layer_distillation.step.restoring import RestoreError
from layer_distillation.step.training_watch import NonFiniteLossError
from layer_distillation.teachers.supply import format_bytes

REASON_CHARACTERS = 160
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
# safetensors 0.8 and tokenizers 0.23 raise no OSError for a file that cannot be written, and torch 2.13 not even the
# reason: it counts bytes that are not there.
UNWRITTEN = re.compile(
    r"\(os error \d+\)|PytorchStreamWriter|inline_container.*(unexpected pos|strerror)|iostream error"
)
LOST_PROCESS = re.compile(r"gloo|nccl|connection (closed|reset) by peer", re.IGNORECASE)
# accelerate 1.15 and transformers 5.23 say so in their own words where --auto_find_batch_size came to its end.
NO_BATCH_FITS = re.compile(r"No executable batch size found|Evaluation hit an out-of-memory error")


def describe_failure(error: Exception, training: DistillationTrainingArguments, cache_dir: str) -> str | None:
    """One line: what happened, and what to change or that the same command goes on. None: a mistake of ours."""
    if isinstance(error, NonFiniteLossError | RestoreError | UnusableStudentError):
        return str(error)
    if isinstance(error, pickle.UnpicklingError):  # torch.load(weights_only=True) met more than tensors and numbers
        return (
            f"a checkpoint in {training.output_dir} holds what no run writes into one, and none of that was loaded: "
            "remove that checkpoint, and the same command goes on from the one before"
        )
    if is_out_of_memory(error):
        return f"out of memory ({shorten(error)}): {advise_on_memory(training)}"
    if is_unwritten(error):
        free = describe_free_space([Path(training.output_dir), Path(cache_dir).expanduser()])
        return f"a file could not be written ({tell_reason(error)}); {free}: mend that, and the same command goes on"
    if isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and LOST_PROCESS.search(str(error))
    ):
        return (
            f"another process of this run ended, and so does this one ({shorten(error)}): that one's own line, or the "
            "launcher's report, says why; the same command goes on from the last checkpoint"
        )
    return f"{shorten(error)}: once that is mended, the same command goes on" if isinstance(error, OSError) else None


def is_out_of_memory(error: Exception) -> bool:
    is_named = isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)
    return is_named or (isinstance(error, RuntimeError) and NO_BATCH_FITS.search(str(error)) is not None)


def is_unwritten(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in UNWRITABLE
    return UNWRITTEN.search(str(error)) is not None


def tell_reason(error: Exception) -> str:
    """Why a file could not be written, as far as its writer says."""
    is_known = isinstance(error, OSError) or "os error" in str(error) or "strerror" in str(error)
    return shorten(error) if is_known else "torch says no reason, mostly the disk is full"


def advise_on_memory(training: DistillationTrainingArguments) -> str:
    """The flags that help, those that leave the result as it is first."""
    rows, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    half = max(rows // 2, 1)
    return (
        f"take --per_device_train_batch_size {half} --gradient_accumulation_steps {steps * rows // half} for the same "
        f"student (now {rows} and {steps}), or --auto_find_batch_size true; --activation_checkpointing true, a smaller "
        f"--max_length, --per_device_eval_batch_size (now {training.per_device_eval_batch_size}) or, for the teacher's "
        "own training, --teacher_train_batch_size help too. Other flags are another run: give another --output_dir"
    )


def describe_free_space(folders: Sequence[Path]) -> str:
    """What is left on the disks of some folders, which may not exist yet."""
    disks = [os.statvfs(find_existing(folder)) for folder in folders]
    parts = [
        f"{format_bytes(disk.f_bavail * disk.f_frsize)} free in {folder}"
        for folder, disk in zip(folders, disks, strict=True)
    ]
    return ", ".join(parts)


def shorten(error: Exception) -> str:
    """The error's own words on one line, none of them its end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= REASON_CHARACTERS else f"{text[:REASON_CHARACTERS]}..."
