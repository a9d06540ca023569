"""DistillationTrainer: a `transformers.Trainer` that combines the task's loss with terms that imitate a teacher.

    trainer = DistillationTrainer(model=student, teacher=teacher, args=DistillationTrainingArguments(...), ...)

It changes four things: `compute_loss` (the terms of `losses/terms.py`), `get_batch_samples` (exact means under gradient
accumulation and several processes), evaluation (`trainer/evaluation.py`) and `log` (each term by itself). Without a
teacher it is plain fine-tuning with the same exact means. docs/PYTHON.md is its manual.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import EvalPrediction, PreTrainedModel
from transformers.trainer_utils import TrainOutput

from layer_distillation.embedding.modules import count_outputs
from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.batches import (
    ITEM_COLUMNS,
    ItemCounts,
    count_items,
    find_items,
    keep_rows,
    split_inputs,
)
from layer_distillation.losses.class_weights import resolve_class_weights
from layer_distillation.losses.extra_terms import list_compared, read_extra_terms
from layer_distillation.losses.flags import INTERMEDIATE_TERMS
from layer_distillation.losses.margins import check_group_batches, check_margins, count_group_rows
from layer_distillation.losses.plan import LossPlan, StageChange
from layer_distillation.losses.projections import Projections, make_projections
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
from layer_distillation.losses.vectors import check_vector_terms
from layer_distillation.outputs.compared import (
    BFLOAT16,
    FLOAT32,
    LiveTeacherOutputs,
    ModelOutputs,
    keep_inputs,
    make_mask,
    run_model,
)
from layer_distillation.outputs.ensemble_logits import check_same_labels
from layer_distillation.outputs.store import StoredOutputsCollator, TeacherStore
from layer_distillation.step.learning_rate import RuledRateTrainer
from layer_distillation.step.length_pools import GroupedSampler, PooledLengthSampler, make_pooled_sampler
from layer_distillation.step.restoring import RestoringTrainer
from layer_distillation.step.training_watch import LossWatch, NonFiniteLossError, StepWatch
from layer_distillation.step.weight_types import hold_weights_in
from layer_distillation.tasks.kinds.entry import VECTOR, TaskKind
from layer_distillation.tasks.kinds.table import find_model_kind
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.trainer import checks
from layer_distillation.trainer.evaluation import ExactEvaluationTrainer
from layer_distillation.trainer.wrappers import count_multiplied, wrap_for_training

__all__ = ["DistillationTrainer", "DistillationTrainingArguments", "NonFiniteLossError"]

logger = logging.getLogger(__name__)


class DistillationTrainer(ExactEvaluationTrainer, RestoringTrainer, RuledRateTrainer):
    """Trains `model` (the student) on `args`' weighted sum of terms; `eval_loss` is the task's loss alone.

    Args:
        teacher: a model with the student's labels and vocabulary, the store of its outputs for `train_dataset`, or None
            for plain fine-tuning. A model is put in eval mode and gets no gradients; it is part of neither the
            student, the optimizer nor any checkpoint. Of `further_teachers`, models too, the logits alone count.
            It computes in the type that its weights have; what is compared is compared in float32.
        model: brought into `args.student_dtype`, float32, in place, whatever type it was loaded in.
        projection_start: where the projections start that a student of another width is given (see
            `losses/projections.py`).
        task_kind: one of `TASK_KINDS` or its name, such as "multi-label"; by default that of the student's head and of
            its config's problem_type.
        extra_terms: the user's own terms, name -> (weight, function) (see `losses/extra_terms.py`).
        The rest is `transformers.Trainer`'s; docs/TRAINER_ARGUMENTS.md says of each argument what becomes of it.
        A column `teacher_logits` takes the live teacher's place; a label of -100 (regression: nan) is none.

    Raises:
        ValueError: what was given cannot be meant, or the weights ask for what teacher and student cannot give.
    """

    loss_is_scaled_for_ga = True  # compute_loss divides by the counts of the whole accumulated batch

    def __init__(
        self,
        model: PreTrainedModel | None = None,
        args: DistillationTrainingArguments | None = None,
        teacher: PreTrainedModel | TeacherStore | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        projection_start: Mapping[int, Tensor] | None = None,
        further_teachers: Sequence[PreTrainedModel] = (),
        extra_terms: Mapping[str, Sequence[Any]] | None = None,
        task_kind: TaskKind | str | None = None,
        **kwargs: Any,
    ) -> None:
        args = DistillationTrainingArguments("tmp_trainer") if args is None else args
        checks.check_call(args, teacher, further_teachers, kwargs)
        self.args = args = checks.choose_by_first(args, kwargs.get("eval_dataset"))
        self.teacher, self.further_teachers, self.projection_start = teacher, further_teachers, projection_start
        self.teacher_store = teacher if isinstance(teacher, TeacherStore) else None
        self.extra_terms = read_extra_terms(extra_terms, has_teacher=teacher is not None)
        self.loss_plan = LossPlan(args, has_teacher=teacher is not None)
        self._wanted_kind = checks.read_kind(task_kind)
        self.task_kind = self._wanted_kind or TEXT_CLASSIFICATION
        self.layer_matching: list[int] = []
        self.head_places = ("first", "first")
        self.teacher_outputs: LiveTeacherOutputs | None = None
        self.projections: Projections | None = None
        self.sampler: PooledLengthSampler | GroupedSampler | None = None
        self.group_rows = 1
        self._num_multiplied = 0
        self._training = ExitStack()
        self._term_means, self._loss_watch = TermMeans(), LossWatch(args.device)
        if model is not None:  # before anything is made, on the Hub say
            self._prepare_terms(model)
        self.args = args = checks.choose_by_kind(args, self.task_kind)
        super().__init__(model=model, args=args, compute_metrics=compute_metrics, **kwargs)
        if model is None:
            self._prepare_terms(self.model)
        checks.check_made(self)
        self._group_rows()
        self.class_weights = self._resolve_class_weights()
        self.add_callback(StepWatch(self))
        self.add_callback(StageChange(self.loss_plan))

    @property
    def term_weights(self) -> dict[str, float]:
        """Term name -> weight at the start, of the terms that are on at any time; as `args` is now."""
        own = {name: term.weight for name, term in self.extra_terms.items() if term.weight > 0}
        return select_term_weights(self.args, has_teacher=self.teacher is not None) | own

    def _resolve_class_weights(self) -> Tensor | None:
        rows = self.train_dataset
        return resolve_class_weights(self.args.class_weights, self.model.config, rows, self.args.device, self.task_kind)

    def _prepare_terms(self, student: PreTrainedModel) -> None:
        """Makes the models show what the terms compare, and decides where the teachers' outputs come from."""
        self.args.check()
        hold_weights_in(student, self.args.student_dtype)
        self._prepared = frozenset(self.term_weights)
        teachers = [] if self.teacher is None else [self.teacher, *self.further_teachers]
        self.task_kind = self._wanted_kind or find_model_kind(student)
        check_margins(self.task_kind, self.term_weights)
        outputs = self.task_kind.get_outputs(["a", "b"])
        check_vector_terms(self.args, outputs, count_outputs(student.config) if outputs == VECTOR else None)
        checks.check_configs(student.config, [teacher.config for teacher in teachers], self.task_kind)
        if not teachers:
            return
        compared = list_compared(self.term_weights, self.extra_terms)
        self.layer_matching, layers = match_layers(student, self.teacher, self.args, compared)
        self.head_places = tuple(place_head(model.config, self.task_kind) for model in (student, self.teacher))
        check_same_labels(self.teacher.config, [model.config for model in self.further_teachers])
        if kind := switch_on_outputs(student, compared):
            logger.info("attention term: %s of the attention %s", self.args.attention_loss, kind)
        if self.teacher_store is None:
            switch_on_outputs(self.teacher, compared)
            own_layers = self.teacher.to(self.args.device), *layers
            precision = BFLOAT16 if self.args.teacher_bf16 else FLOAT32
            self.teacher_outputs = LiveTeacherOutputs(*own_layers, self.further_teachers, precision)
        pairs = list_projected_pairs(student.config, self.teacher.config, compared, self.layer_matching)
        if self.projections is None or self.projections.layers != tuple(pairs):
            configs = student.config, self.teacher.config
            self.projections = make_projections(pairs, *configs, self.args.seed, self.projection_start)

    def imitates_layers(self) -> bool:
        return not self.term_weights.keys().isdisjoint(INTERMEDIATE_TERMS)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """The stock loop. It leaves the model that a reload of what is saved would give."""
        with ExitStack() as self._training:
            return super().train(*args, **kwargs)

    def _hp_search_setup(self, trial: Any) -> None:
        """The point of `train` at which the model is its own (`model_init`) and the arguments are (of a trial), and
        nothing holds parameters yet."""
        super()._hp_search_setup(trial)
        if self.model_init is not None:
            self.projections = None
        self._prepare_terms(self.model)
        self.class_weights = self._resolve_class_weights()
        self._num_multiplied = count_multiplied(self.model)
        wrap_for_training(self, self._training)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Stock's, of the plain model: used rows of an embedding are looked up and not multiplied."""
        return 6 * make_mask(inputs).numel() * self._num_multiplied

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
        self._group_rows()
        if self.group_rows > 1:
            check_group_batches(self.group_rows, self._train_batch_size)
        self.sampler = make_pooled_sampler(rows, self.args, step_rows, self.args.length_pool_batches, self.group_rows)
        return super()._get_train_sampler(train_dataset) if self.sampler is None else self.sampler

    def _group_rows(self) -> None:
        """What the margin term compares."""
        if self.train_dataset is not None and "margin" in self.term_weights:
            self.group_rows = count_group_rows(self.train_dataset)

    # ---- one training step -------------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: ItemCounts | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """The weighted sum of the terms, scaled so that all micro-batches of all processes add up to the whole
        batch's loss. `num_items_in_batch` comes from `get_batch_samples`; None means that `inputs` is the batch."""
        model_inputs, labels, stored = split_inputs(inputs)
        num_pairs, weights, mask = len(self.layer_matching), self._get_weights(), make_mask(model_inputs)
        compared = list_compared(weights, self.extra_terms)
        wanted = list_wanted_layers(compared, range(num_pairs), relation_layer=num_pairs - 1)
        student = run_model(
            model, keep_inputs(self.model, model_inputs), *wanted, has_projections=self.projections is not None
        )
        batch = ComparedBatch(
            student=student,
            teacher=self._get_teacher_outputs(model_inputs, stored, wanted) if weights.keys() - {"ce"} else None,
            labels=labels,
            attention_mask=mask,
            counts=num_items_in_batch
            or count_items([inputs], student.logits.device, self.class_weights, self.task_kind),
            temperature=self.loss_plan.get_temperature(self.state.global_step, self.state.max_steps),
            num_pairs=num_pairs,
            head_places=self.head_places,
            class_weights=self.class_weights,
            compute_own_loss=self.compute_loss_func,
            kind=self.task_kind,
            is_item=find_items(inputs, self.task_kind),
            group_rows=self.group_rows,
        )
        terms = compute_terms(weights, batch, self.args, self.extra_terms)
        # DDP averages gradients over processes, but the counts are already global: undo the average.
        scale = self.accelerator.num_processes if num_items_in_batch else 1
        terms = {name: term * (0 if inputs.get("is_duplicate") else scale) for name, term in terms.items()}
        loss = add_terms(terms, weights, student.logits)
        if model.training:
            self._remember_terms(terms, loss)
        return (loss, student.raw) if return_outputs else loss

    def _get_weights(self) -> dict[str, float]:
        """Those of this step. Terms that were turned on since are prepared; within a training that is too late."""
        weights = self.term_weights
        if new := weights.keys() - self._prepared:
            if self.is_in_train:
                raise ValueError(
                    f"{min(new)}_weight was set above 0 while training: set it before train(), or give it a schedule"
                )
            self._prepare_terms(self.model)
        return self.loss_plan.get_weights(weights, self.state.global_step, self.state.max_steps)

    def _get_teacher_outputs(
        self, model_inputs: Mapping[str, Tensor], stored: ModelOutputs | None, wanted: WantedLayers
    ) -> ModelOutputs | None:
        """The outputs that came with the batch, where they are all that the terms need; else the live teacher's."""
        if self.teacher is None or (stored is not None and stored.holds(*wanted)):
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
        self._loss_watch.begin_step()
        if self.accelerator.num_processes > 1 and self.accelerator.gradient_state.end_of_dataloader:
            # Counted here: after a resume within an epoch, accelerate 1.15 does not know its own remainder.
            rest = len(self.train_dataset) % (self._train_batch_size * self.accelerator.num_processes)
            if rest:
                batches[-1] = keep_rows(batches[-1], rest - self.accelerator.process_index * self._train_batch_size)
        counts = count_items(batches, device, self.class_weights, self.task_kind)
        totals = self.accelerator.reduce(torch.stack(list(counts.values())), reduction="sum")
        return batches, dict(zip(counts, totals.unbind(), strict=True))

    # ---- logging -----------------------------------------------------------------------------------------------

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = [*self._signature_columns, "labels", "example_index", "teacher_logits", *ITEM_COLUMNS]
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
        return not self.is_first_stage() and super()._determine_best_metric(metrics, trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.raise_if_not_finite()  # weights that are no numbers never replace a checkpoint
        super()._save_checkpoint(model, trial)

    def get_step_loss(self) -> float:
        """The loss of the last step, as far as this process has part in it."""
        return float(self._loss_watch.step_loss)

    def is_first_stage(self) -> bool:
        """Whether the last step trained intermediate terms alone."""
        return self.loss_plan.is_first_stage(self.state.global_step - 1, self.state.max_steps)

    def raise_if_not_finite(self) -> None:
        """Raises NonFiniteLossError if the loss, or a live teacher, of any step so far was nan or infinite."""
        self._loss_watch.raise_if_not_finite(self.learning_rate)
