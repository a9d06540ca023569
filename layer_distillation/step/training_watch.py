"""What is watched at every step: that the losses are numbers, and that the sampler knows its epoch."""

from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerState, TrainingArguments

from layer_distillation.step.length_pools import PooledLengthSampler


class NonFiniteLossError(RuntimeError):
    """Something that is trained on became nan or infinite; the message names the step."""


class LossWatch:
    """The first step whose loss, and the first whose teacher, was no number; kept on the device, because reading it
    would make every step wait. `step_loss` is that of the last step, summed over its batches."""

    def __init__(self, device: torch.device) -> None:
        self._bad_loss_step = torch.tensor(-1, device=device)
        self._bad_teacher_step = torch.tensor(-1, device=device)
        self.step_loss = torch.tensor(0.0, device=device)

    def begin_step(self) -> None:
        self.step_loss = torch.zeros_like(self.step_loss)

    def watch_loss(self, loss: Tensor, step: int) -> None:
        self._bad_loss_step = keep_first_bad(self._bad_loss_step, loss, step)
        self.step_loss = self.step_loss + loss.detach()

    def watch_teacher(self, logits: Tensor, step: int) -> None:
        self._bad_teacher_step = keep_first_bad(self._bad_teacher_step, logits, step)

    def raise_if_not_finite(self, learning_rate: float) -> None:
        """Raises NonFiniteLossError if the teacher's logits or the loss of any step so far were nan or infinite."""
        teacher_step, loss_step = int(self._bad_teacher_step), int(self._bad_loss_step)
        if teacher_step >= 0:
            raise NonFiniteLossError(
                f"the teacher's logits are nan or infinite for rows of step {teacher_step}; nothing was saved after "
                "it: check the teacher's weights"
            )
        if loss_step >= 0:
            raise NonFiniteLossError(
                f"the training loss became nan or infinite at step {loss_step}; nothing was saved after it: lower "
                f"--learning_rate (now {learning_rate}), lengthen --warmup_steps, or train without --fp16"
            )


def keep_first_bad(first: Tensor, values: Tensor, step: int) -> Tensor:
    """`first`, or the step where `first` is none yet and a value is not finite."""
    is_first_bad = (first < 0) & ~torch.isfinite(values.detach()).all()
    return first.masked_fill(is_first_bad, step)  # `torch.where` would copy the number to a GPU, and wait


class WatchedTrainer(Protocol):
    """What `StepWatch` needs of a trainer."""

    sampler: PooledLengthSampler | None

    def raise_if_not_finite(self) -> None: ...

    def forget_steps(self) -> None: ...


class StepWatch(TrainerCallback):
    """Tells the sampler its epoch; on a CPU, where reading the loss costs nothing, ends a bad run at the very step."""

    def __init__(self, trainer: WatchedTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.trainer.forget_steps()  # of an attempt that --auto_find_batch_size gave up

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        # After a resume within an epoch, accelerate 1.15's set_epoch does not reach the sampler.
        if self.trainer.sampler is not None:
            self.trainer.sampler.set_epoch(int(state.epoch or 0))

    def on_step_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        if args.device.type == "cpu":
            self.trainer.raise_if_not_finite()
