"""What is watched at every step: that the loss is a number, and that the sampler knows its epoch."""

from typing import Any, Protocol

from transformers import TrainerCallback, TrainerState, TrainingArguments

from length_pools import PooledLengthSampler


class NonFiniteLossError(RuntimeError):
    """The training loss became nan or infinite; the message names the step."""


class WatchedTrainer(Protocol):
    """What `StepWatch` needs of a trainer."""

    sampler: PooledLengthSampler | None

    def raise_if_not_finite(self) -> None: ...


class StepWatch(TrainerCallback):
    """Tells the sampler its epoch; on a CPU, where reading the loss costs nothing, ends a bad run at the very step."""

    def __init__(self, trainer: WatchedTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        # After a resume within an epoch, accelerate 1.15's set_epoch does not reach the sampler.
        if self.trainer.sampler is not None:
            self.trainer.sampler.set_epoch(int(state.epoch or 0))

    def on_step_end(self, args: TrainingArguments, *_: Any, **__: Any) -> None:
        if args.device.type == "cpu":
            self.trainer.raise_if_not_finite()
