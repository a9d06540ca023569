"""DistillationTrainer: a `transformers.Trainer` that combines the task's loss with terms that imitate a teacher.

    trainer = DistillationTrainer(model=student, teacher=teacher, args=DistillationTrainingArguments(...), ...)

It changes four things: `compute_loss` (the terms of `loss_terms`), `get_batch_samples` (exact means under gradient
accumulation and several processes), `prediction_step` (an exact `eval_loss`) and `log` (each term by itself).
Without a teacher it is plain fine-tuning with the same exact means.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate.utils import DynamoBackend
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, PreTrainedModel
from transformers.trainer_utils import PredictionOutput, TrainOutput

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.batches import (
    ItemCounts,
    count_items,
    is_labelled,
    keep_rows,
    split_inputs,
    split_predictions,
)
from layer_distillation.losses.class_weights import resolve_class_weights
from layer_distillation.losses.plan import LossPlan, StageChange
from layer_distillation.losses.projections import Projections, attach_projections, make_projections
from layer_distillation.losses.term_means import TermMeans
from layer_distillation.losses.terms import (
    ComparedBatch,
    WantedLayers,
    add_terms,
    compute_terms,
    list_projected_pairs,
    list_wanted_layers,
    match_layers,
    place_head,
    select_term_weights,
    switch_on_outputs,
)
from layer_distillation.outputs.compared import LiveTeacherOutputs, ModelOutputs, keep_inputs, run_model
from layer_distillation.outputs.ensemble_logits import check_same_labels
from layer_distillation.outputs.store import StoredOutputsCollator, TeacherStore
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.step.fast_attention import attend_fast
from layer_distillation.step.fast_dropout import draw_dropout_fast
from layer_distillation.step.length_pools import LengthSortedSampler, PooledLengthSampler, make_pooled_sampler
from layer_distillation.step.restoring import RestoringTrainer
from layer_distillation.step.training_watch import LossWatch, NonFiniteLossError, StepWatch
from layer_distillation.step.trimmed_embedding import trim_embedding
from layer_distillation.step.weight_types import hold_weights_in
from layer_distillation.tasks.metrics import compute_task_loss, compute_teacher_agreement

__all__ = ["DistillationTrainer", "DistillationTrainingArguments", "NonFiniteLossError"]

logger = logging.getLogger(__name__)


class DistillationTrainer(RestoringTrainer):
    """Trains `model` (the student) on `args`' weighted sum of terms; `eval_loss` is the task's loss alone.

    Args:
        teacher: a model with the student's labels and vocabulary, the store of its outputs for `train_dataset`, or None
            for plain fine-tuning. A model is put in eval mode and gets no gradients; it is part of neither the
            student, the optimizer nor any checkpoint. Of `further_teachers`, models too, the logits alone count.
            It computes in the type that its weights have; what is compared is compared in float32.
        model: brought into `args.student_dtype`, float32, in place, whatever type it was loaded in.
        projection_start: where the projections start that a student of another width is given (see
            `losses/projections.py`).
        The rest is `transformers.Trainer`'s. `compute_metrics` sees the student's logits.
        A column `teacher_logits` takes the live teacher's place; a label of -100 (regression: nan) is none.

    Raises:
        ValueError: the weights ask for what teacher and student cannot give.
    """

    loss_is_scaled_for_ga = True  # compute_loss divides by the counts of the whole accumulated batch

    def __init__(
        self,
        model: PreTrainedModel,
        args: DistillationTrainingArguments,
        teacher: PreTrainedModel | TeacherStore | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        projection_start: Mapping[int, Tensor] | None = None,
        further_teachers: Sequence[PreTrainedModel] = (),
        **kwargs: Any,
    ) -> None:
        hold_weights_in(model, args.student_dtype)
        self.term_weights = select_term_weights(args, has_teacher=teacher is not None)
        self.loss_plan = LossPlan(args, has_teacher=teacher is not None)
        self.compute_student_metrics = compute_metrics
        self.layer_matching: list[int] = []
        self.head_places = ("first", "first")
        self.teacher_outputs: LiveTeacherOutputs | None = None
        self.teacher_store: TeacherStore | None = None
        self.projections: Projections | None = None
        self.sampler: PooledLengthSampler | None = None
        self._term_means = TermMeans()
        self._loss_watch = LossWatch(args.device)
        if further_teachers and teacher is None:
            raise ValueError("further_teachers without a teacher: give the first of them as teacher")
        if teacher is not None:
            self.layer_matching, layers = match_layers(model, teacher, args, self.term_weights)
            self.head_places = place_head(model.config), place_head(teacher.config)
            check_same_labels(teacher.config, [model.config for model in further_teachers])
            self._prepare_teachers(model, [teacher, *further_teachers], layers)
            pairs = list_projected_pairs(model.config, teacher.config, self.term_weights, self.layer_matching)
            self.projections = make_projections(pairs, model.config, teacher.config, args.seed, projection_start)
        super().__init__(model=model, args=args, compute_metrics=self._compute_eval_metrics, **kwargs)
        if self.teacher_store is not None and self.train_dataset is not None:
            self.teacher_store.check_rows(self.train_dataset)
        self.class_weights = resolve_class_weights(
            args.class_weights, self.model.config, self.train_dataset, args.device
        )
        self.add_callback(StepWatch(self))
        self.add_callback(StageChange(self.loss_plan))

    def _prepare_teachers(
        self, student: PreTrainedModel, teachers: Sequence[PreTrainedModel | TeacherStore], layers: WantedLayers
    ) -> None:
        """Makes the models show what is compared, and decides where the teachers' outputs come from."""
        if kind := switch_on_outputs(student, self.term_weights):
            logger.info("attention term: %s of the attention %s", self.loss_plan.args.attention_loss, kind)
        if isinstance(teachers[0], TeacherStore):
            if len(teachers) > 1:
                raise ValueError("further_teachers beside a store: append stores of their logits to its further_stores")
            self.teacher_store = teachers[0]
            return
        switch_on_outputs(teachers[0], self.term_weights)
        self.teacher_outputs = LiveTeacherOutputs(teachers[0].to(self.loss_plan.args.device), *layers, teachers[1:])

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """The stock loop; where that changes nothing but its cost, only the embeddings of used tokens are trained,
        dropout draws fewer random numbers, and attention with it computes in the student's precision."""
        names = {"no": "fp32", "bf16": "bf16 (--bf16 false: fp32)"}
        logger.info("computing in %s", names.get(self.accelerator.mixed_precision, self.accelerator.mixed_precision))
        is_compiled = self.accelerator.state.dynamo_plugin.backend != DynamoBackend.NO  # which draws in its own way
        dropout, attention = (nullcontext(),) * 2 if is_compiled else (draw_dropout_fast(self.model), attend_fast())
        projections = attach_projections(self.model, self.projections, self.optimizer)
        with trim_embedding(self) as is_trimmed, projections, dropout, attention:
            output = super().train(*args, **kwargs)
        if is_trimmed or self.projections is not None:
            self.optimizer = self.lr_scheduler = None  # they hold parameters that are no part of the model any more
        return output

    def get_train_dataloader(self) -> DataLoader:
        """The stock loader; from a store, its collator adds the teacher's outputs (of the training rows only)."""
        if self.teacher_store is None:
            return super().get_train_dataloader()
        collate = self.data_collator
        self.data_collator = StoredOutputsCollator(collate, self.teacher_store)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collate

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        rows = self.train_dataset if train_dataset is None else train_dataset
        step_rows = self._train_batch_size * self.accelerator.num_processes * self.args.gradient_accumulation_steps
        self.sampler = make_pooled_sampler(rows, self.args, step_rows, self.args.length_pool_batches)
        return super()._get_train_sampler(train_dataset) if self.sampler is None else self.sampler

    # ---- one training step -------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: ItemCounts | None = None,
    ) -> Tensor | tuple[Tensor, ModelOutputs]:
        """The weighted sum of the terms, scaled so that all micro-batches of all processes add up to the whole
        batch's loss. `num_items_in_batch` comes from `get_batch_samples`; None means that `inputs` is the batch."""
        model_inputs, labels, stored = split_inputs(inputs)
        num_pairs = len(self.layer_matching)
        weights = self.loss_plan.get_weights(self.term_weights, self.state.global_step, self.state.max_steps)
        wanted = list_wanted_layers(weights, range(num_pairs), relation_layer=num_pairs - 1)
        student = run_model(
            model, keep_inputs(self.model, model_inputs), *wanted, has_projections=self.projections is not None
        )
        batch = ComparedBatch(
            student=student,
            teacher=self._get_teacher_outputs(model_inputs, stored, wanted) if weights.keys() - {"ce"} else None,
            labels=labels,
            attention_mask=model_inputs["attention_mask"],
            counts=num_items_in_batch or count_items([inputs], labels.device, self.class_weights),
            temperature=self.loss_plan.get_temperature(self.state.global_step, self.state.max_steps),
            num_pairs=num_pairs,
            head_places=self.head_places,
            class_weights=self.class_weights,
        )
        terms = compute_terms(weights, batch, self.args)
        # DDP averages gradients over processes, but the counts are already global: undo the average.
        scale = self.accelerator.num_processes if num_items_in_batch else 1
        terms = {name: term * (0 if inputs.get("is_duplicate") else scale) for name, term in terms.items()}
        loss = add_terms(terms, weights, student.logits)
        if model.training:
            self._remember_terms(terms, loss)
        return (loss, student) if return_outputs else loss

    def _get_teacher_outputs(
        self, model_inputs: Mapping[str, Tensor], stored: ModelOutputs | None, wanted: WantedLayers
    ) -> ModelOutputs:
        """The outputs that came with the batch, where they are all that the terms need; else the live teacher's."""
        if stored is not None and stored.holds(*wanted):
            return stored
        outputs = self.teacher_outputs.get_batch(model_inputs, wanted)
        self._loss_watch.watch_teacher(outputs.logits, self.state.global_step + 1)
        return outputs

    # ---- exact means over accumulated and distributed batches --------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], ItemCounts]:
        """The micro-batches of one optimizer step, and their item counts summed over all processes.

        Accelerate fills the last round of an epoch with rows from its start, so that every process has a full batch:
        those duplicates are taken out again, and the epoch is the same on one process and on several.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._term_means.begin_step()
        if self.accelerator.num_processes > 1 and self.accelerator.gradient_state.end_of_dataloader:
            # Counted here: after a resume within an epoch, accelerate 1.15 does not know its own remainder.
            rest = len(self.train_dataset) % (self._train_batch_size * self.accelerator.num_processes)
            if rest:
                batches[-1] = keep_rows(batches[-1], rest - self.accelerator.process_index * self._train_batch_size)
        counts = count_items(batches, device, self.class_weights)
        totals = self.accelerator.reduce(torch.stack(list(counts.values())), reduction="sum")
        return batches, dict(zip(counts, totals.unbind(), strict=True))

    # ---- evaluation --------------------------------------------------------------------------------------------

    def _get_eval_sampler(self, eval_dataset: Dataset) -> Sampler | None:
        if not isinstance(eval_dataset, Dataset) or "input_ids" not in eval_dataset.column_names:
            return super()._get_eval_sampler(eval_dataset)
        return LengthSortedSampler(measure_lengths(eval_dataset))

    def predict(self, test_dataset: Dataset, *args: Any, **kwargs: Any) -> PredictionOutput:
        """The stock prediction; logits and labels come in the order of the rows."""
        output = super().predict(test_dataset, *args, **kwargs)
        sampler = self._get_eval_sampler(test_dataset)
        return sampler.restore_order(output) if isinstance(sampler, LengthSortedSampler) else output

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor | tuple[Tensor, Tensor], Tensor | None]:
        """Logits of student and teacher, and no loss: the stock loop would average per-batch means, counting a short
        last batch as a full one and, under several processes, multiplying by their number (transformers 5.23).
        `_compute_eval_metrics` computes it from the gathered logits, every row once."""
        model_inputs, labels, stored = split_inputs(self._prepare_inputs(inputs))
        with torch.no_grad():
            student_logits = run_model(model, keep_inputs(self.model, model_inputs)).logits.float()
            if stored is not None:
                return None, (student_logits, stored.logits.float()), labels
            if self.teacher_outputs is None:
                return None, student_logits, labels
            return None, (student_logits, self.teacher_outputs.get_logits(model_inputs).float()), labels

    def _compute_eval_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """`loss` (the task's), the task's metrics, and the student's closeness to the teacher."""
        student_logits, teacher_logits = split_predictions(prediction.predictions)
        if not np.isfinite(student_logits).all():
            raise NonFiniteLossError(f"the student's logits became nan or infinite by step {self.state.global_step}")
        metrics: dict[str, float] = {}
        if is_labelled(torch.as_tensor(prediction.label_ids)).any():  # a test set may come without labels
            metrics["loss"] = compute_task_loss(student_logits, prediction.label_ids)
            if self.compute_student_metrics is not None:
                metrics |= self.compute_student_metrics(EvalPrediction(student_logits, prediction.label_ids))
        if teacher_logits is not None:
            metrics |= compute_teacher_agreement(student_logits, teacher_logits)
        return metrics

    # ---- logging -----------------------------------------------------------------------------------------------

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = [*self._signature_columns, "example_index", "teacher_logits"]
        if self.teacher_outputs is not None:
            columns += self.teacher_outputs.list_inputs()
        self._signature_columns = list(dict.fromkeys(columns))

    def _remember_terms(self, terms: Mapping[str, Tensor], loss: Tensor) -> None:
        self._term_means.add(terms)
        self._loss_watch.watch_loss(loss, self.state.global_step + 1)

    def forget_steps(self) -> None:
        """Nothing was trained so far."""
        self._term_means, self._loss_watch = TermMeans(), LossWatch(self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds `<term>_loss`, the mean of each unweighted term since the last log, and what a schedule changes."""
        self.raise_if_not_finite()
        if "loss" in logs:
            logs |= self._term_means.pop_means(lambda sums: self.accelerator.reduce(sums, reduction="mean"))
            logs |= self.loss_plan.describe(self.state.global_step, self.state.max_steps)
        super().log(logs, start_time)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """No student of a first stage, in which nothing trained its head, is the best one."""
        is_first = self.loss_plan.is_first_stage(self.state.global_step - 1, self.state.max_steps)
        return not is_first and super()._determine_best_metric(metrics, trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.raise_if_not_finite()  # weights that are no numbers never replace a checkpoint
        super()._save_checkpoint(model, trial)

    def raise_if_not_finite(self) -> None:
        """Raises NonFiniteLossError if the loss, or a live teacher, of any step so far was nan or infinite."""
        self._loss_watch.raise_if_not_finite(self.args.learning_rate)
