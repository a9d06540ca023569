"""Weights and temperature of one training: constant, by schedules, in two stages."""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerState, TrainingArguments

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.flags import INTERMEDIATE_TERMS, PREDICTION_TERMS, TERM_NAMES
from layer_distillation.losses.schedules import Schedule, count_first_stage_steps, evaluate_schedule


class LossPlan:
    """Weights and temperature at every step: functions of the step alone, so that a resumed run and every process
    agree. Without a teacher nothing changes."""

    def __init__(self, args: DistillationTrainingArguments, has_teacher: bool) -> None:
        self.args = args
        self.has_teacher = has_teacher

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        """Read anew at every step, as all that the arguments say is: they may be set between two trainings."""
        return self.args.parsed_schedules if self.has_teacher else {}

    @property
    def has_stages(self) -> bool:
        return self.has_teacher and self.args.intermediate_epochs > 0

    def get_weights(self, start_weights: Mapping[str, float], step: int, max_steps: int) -> dict[str, float]:
        """Term name -> weight after `step` of `max_steps` steps, of the terms that count there."""
        weights = {
            name: self._evaluate(f"{name}_weight", weight, step, max_steps) for name, weight in start_weights.items()
        }
        silent = {*TERM_NAMES} - {*self._list_counting(step, max_steps)}  # a user's own terms count in every stage
        return {name: weight for name, weight in weights.items() if weight > 0 and name not in silent}

    def get_temperature(self, step: int, max_steps: int) -> float:
        return self._evaluate("temperature", self.args.temperature, step, max_steps)

    def is_first_stage(self, step: int, max_steps: int) -> bool:
        """Whether the step after `step` others trains intermediate terms alone."""
        last = count_first_stage_steps(self.args.intermediate_epochs, self.args.num_train_epochs, max_steps)
        return self.has_stages and step < last

    def ends_first_stage(self, step: int, max_steps: int) -> bool:
        """Whether `step` steps are all of the first stage."""
        return self.is_first_stage(step - 1, max_steps) and not self.is_first_stage(step, max_steps)

    def describe(self, step: int, max_steps: int) -> dict[str, float]:
        """What changes, at this step, for the log."""
        values = {name: self._evaluate(name, getattr(self.args, name), step, max_steps) for name in self.schedules}
        return values | ({"stage": 1 if self.is_first_stage(step - 1, max_steps) else 2} if self.has_stages else {})

    def _list_counting(self, step: int, max_steps: int) -> tuple[str, ...]:
        """The terms of the stage that the step after `step` others is in."""
        if self.is_first_stage(step, max_steps):
            return INTERMEDIATE_TERMS
        return PREDICTION_TERMS if self.has_stages and self.args.second_stage == "prediction" else TERM_NAMES

    def _evaluate(self, name: str, start: float, step: int, max_steps: int) -> float:
        return evaluate_schedule(self.schedules, name, start, step / max_steps if max_steps > 0 else 0.0)


class StageChange(TrainerCallback):
    """The second stage begins with a new optimizer, as a training of its own does: Adam's moments of the first stage's
    gradients would hold back steps on the second's, which are of other terms. Before the checkpoint of that step."""

    def __init__(self, plan: LossPlan) -> None:
        self.plan = plan

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: Any,
        optimizer: Optimizer | None = None,
        **kwargs: Any,
    ) -> None:
        if self.plan.ends_first_stage(state.global_step, state.max_steps):
            optimizer.state.clear()
