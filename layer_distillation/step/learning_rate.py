"""The peak learning rate where the user names none: by the number of steps, the student's width and what it imitates.

AdamW moves each weight by about the learning rate a step, whatever the size of the gradients: a training of few steps
needs a high one to come anywhere, one of many steps a low one to come to rest. Where the student imitates the teacher's
layers, the best rate falls slowly with the steps; with logits or labels alone it falls fast, as high ones overfit. Both
rules are fitted to grids on SICK, MRPC and SST-2 with 24 to 1,875 steps (docs/RESULTS.md). That a wider model takes a
lower rate, in proportion, is the rule of Yang et al. 2022 (arXiv:2203.03466, table 3: Adam, hidden weights), and was
not measured here.

Entry: `choose_learning_rate`; `RuledRateTrainer` takes it for a learning rate of None.
"""

import logging
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

logger = logging.getLogger(__name__)

# Of one step, at the width that was measured, and the power of the steps that it is divided by.
WITH_LAYERS, WITHOUT = (8e-4, 0.25), (1.5e-3, 0.5)
MEASURED_WIDTH, LARGEST = 384, 1e-3


def choose_learning_rate(num_steps: int, width: int, imitates_layers: bool) -> float:
    """The peak of AdamW's learning rate for so many optimizer steps of a student with `width` hidden dimensions."""
    rate, power = WITH_LAYERS if imitates_layers else WITHOUT
    return min(rate / num_steps**power * MEASURED_WIDTH / width, LARGEST)


class RuledRateTrainer(Trainer):
    """The stock Trainer, but for `args.learning_rate` None: then each training has the rate of the rule.

    `learning_rate` is that of the last training, or None before the first.
    """

    learning_rate: float | None = None

    def set_initial_training_values(self, args: TrainingArguments, dataloader: DataLoader) -> tuple[Any, ...]:
        """The point at which the number of steps is known, and nothing is made yet that needs the rate."""
        values = super().set_initial_training_values(args, dataloader)
        self.settle_learning_rate(values[-1])
        return values

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """For loops of the user's own; `train` does not call it."""
        self.settle_learning_rate(num_training_steps)
        super().create_optimizer_and_scheduler(num_training_steps)

    def imitates_layers(self) -> bool:
        """Whether a term compares more than logits."""
        return False

    def settle_learning_rate(self, num_steps: int) -> None:
        self.learning_rate = self.args.learning_rate
        if self.learning_rate is None:
            width = self.model.config.hidden_size
            self.learning_rate = choose_learning_rate(num_steps, width, self.imitates_layers())
            logger.info(
                "learning rate %.2g, by %d steps and %d dimensions (--learning_rate names another)",
                *(self.learning_rate, num_steps, width),
            )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Stock's, which reads the rate out of the arguments; those stay as the user gave them.

        Raises:
            ValueError: the rate is to be chosen, and the number of steps is not known before `train`.
        """
        asked = self.args.learning_rate
        if asked is None and self.learning_rate is None:
            raise ValueError("learning_rate is None, to be chosen by the number of steps: name one before train()")
        self.args.learning_rate = self.learning_rate if asked is None else asked
        try:
            return super().create_optimizer(model)
        finally:
            self.args.learning_rate = asked
