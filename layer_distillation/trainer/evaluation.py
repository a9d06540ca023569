"""A Trainer whose evaluations are exact, and in the order of the data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, Trainer
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer_utils import BestRun, EvalLoopOutput, denumpify_detensorize

from layer_distillation.losses.batches import find_items, split_inputs
from layer_distillation.outputs.compared import LiveTeacherOutputs, keep_inputs, run_model
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.step.length_pools import LengthSortedSampler
from layer_distillation.step.training_watch import NonFiniteLossError
from layer_distillation.tasks.kinds.entry import TaskKind
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.trainer.evaluated_rows import (
    ITEMS,
    STUDENT,
    TEACHER,
    DistillationOutput,
    EvaluatedRows,
    add_prefix,
    compute_objective_alone,
    compute_own_loss,
    find_row_order,
    gather_rows,
    replaced_callables,
    score_rows,
)
from layer_distillation.trainer.wrappers import unwrap_autocast


class ExactEvaluationTrainer(Trainer):
    """Runs the longest rows first and scores all rows at once, each once; the user's functions and whoever predicts get
    them in the data set's order. `prediction_step` needs `teacher_outputs`, None without a live teacher."""

    teacher_outputs: LiveTeacherOutputs | None = None
    task_kind: TaskKind = TEXT_CLASSIFICATION
    _evaluated: EvaluatedRows | None = None

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        if not isinstance(eval_dataset, Dataset) or "input_ids" not in eval_dataset.column_names:
            return super()._get_eval_sampler(eval_dataset)
        return LengthSortedSampler(measure_lengths(eval_dataset))

    def predict(self, *args: Any, **kwargs: Any) -> DistillationOutput:
        """The stock prediction of the student; the teacher's logits are beside it."""
        output = DistillationOutput(*super().predict(*args, **kwargs))
        if self._evaluated is not None:
            output.teacher_logits, output.is_item = self._evaluated.teacher_logits, self._evaluated.is_item
        self._evaluated = None
        return output

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The stock loop, whose mean of batch means counts a short last batch as a full one and, under several
        processes, multiplies by their number (transformers 5.23): here all rows are scored at once, each once, in the
        data set's order. Outside of a training the model computes in the precision of its weights."""
        is_loss_only = self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        if not self.is_in_train:
            self._compute_in_weights_precision()
        taken: list[EvalPrediction] = []
        with replaced_callables(self, taken), self._without_idle_deepspeed():
            output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        if output.predictions is None:  # no row
            return output
        inputs = taken[0].inputs if taken else None
        rows = gather_rows(output, inputs, find_row_order(dataloader), self.task_kind)
        self._evaluated = rows if description == "Prediction" else None
        scores = self._score(rows, None if is_loss_only else self.compute_metrics)
        shown = (None, None) if is_loss_only else (rows.predictions, rows.labels)
        return EvalLoopOutput(
            *shown, metrics=add_prefix(scores, metric_key_prefix) | output.metrics, num_samples=output.num_samples
        )

    @contextmanager
    def _without_idle_deepspeed(self) -> Iterator[None]:
        """Before a training there is no engine, and the stock loop (transformers 5.23) makes one that only ZeRO 3 can
        evaluate with: below it, where each process has the whole model, the plain model is evaluated instead."""
        is_idle = self.is_deepspeed_enabled and self.deepspeed is None and not is_deepspeed_zero3_enabled()
        self.is_deepspeed_enabled = self.is_deepspeed_enabled and not is_idle
        try:
            yield
        finally:
            if is_idle:
                self.is_deepspeed_enabled = True
                self.accelerator._models.clear()  # the training prepares it anew

    def _compute_in_weights_precision(self) -> None:
        """Prepares the model for an evaluation as the stock loop does, but without autocast."""
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            return
        if not self.accelerator._models:
            self.accelerator.prepare_model(self.model, evaluation_mode=True)
        unwrap_autocast(self.model)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, dict[str, Tensor], Tensor | None]:
        """Logits of student and teacher, and no loss: `evaluation_loop` computes it from all of them."""
        inputs = self._prepare_inputs(inputs)
        model_inputs, labels, stored = split_inputs(inputs)
        with torch.no_grad():
            logits = {STUDENT: run_model(model, keep_inputs(self.model, model_inputs)).logits.float()}
            if stored is not None:
                logits[TEACHER] = stored.logits.float()
            elif self.teacher_outputs is not None:
                logits[TEACHER] = self.teacher_outputs.get_logits(model_inputs).float()
        if (is_item := find_items(inputs, self.task_kind)) is not None:
            logits[ITEMS] = is_item.long()
        return None, logits, labels

    def _score(self, rows: EvaluatedRows, compute_metrics: Callable | None) -> dict[str, float]:
        if not np.isfinite(rows.student_logits).all():
            raise NonFiniteLossError(f"the student's logits became nan or infinite by step {self.state.global_step}")
        own_loss = self.compute_loss_func and partial(compute_own_loss, self.compute_loss_func, self.args.device)
        return denumpify_detensorize(score_rows(rows, compute_metrics, self.args.include_for_metrics, own_loss))

    def hyperparameter_search(
        self, hp_space: Callable | None = None, compute_objective: Callable | None = None, *args: Any, **kwargs: Any
    ) -> BestRun | list[BestRun]:
        """The stock search; by default its objective knows nothing of the closeness to the teacher."""
        return super().hyperparameter_search(hp_space, compute_objective or compute_objective_alone, *args, **kwargs)
