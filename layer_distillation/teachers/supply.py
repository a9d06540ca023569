"""Where a run's teacher outputs come from: the logits of evaluated rows always from a store, the training rows' from a
store or from the live teacher, whichever the arguments and the sizes say."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import PreTrainedModel

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.flags import STATE_TERMS
from layer_distillation.losses.terms import (
    WantedLayers,
    check_architecture_fits,
    list_wanted_layers,
    select_term_weights,
    switch_on_outputs,
)
from layer_distillation.outputs.compared import BFLOAT16, FLOAT32
from layer_distillation.outputs.relation_targets import resolve_relation_layer
from layer_distillation.outputs.store import StoreSpec, TeacherStore, make_spec
from layer_distillation.records.folders import find_existing
from layer_distillation.tasks.collators import choose_collator
from layer_distillation.tasks.kinds.table import find_model_kind
from layer_distillation.tasks.loading import TaskData
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.loading import Teacher
from layer_distillation.teachers.store_filling import HalfPrecisionError, locate_stores, open_or_fill
from student_init import get_num_layers

logger = logging.getLogger(__name__)

GIGABYTE = 1e9
RESERVED_MODELS = 7  # two checkpoints of a student, each with Adam's two moments, and the student that is kept


class TeacherSupply:
    """One teacher's outputs for the splits of one run."""

    def __init__(self, teacher: Teacher, arguments: TeacherArguments, training: DistillationTrainingArguments) -> None:
        self.teacher = teacher
        self.arguments = arguments
        self.training = training

    def get_evaluation_logits(self, data: TaskData) -> dict[str, np.ndarray]:
        """Split -> logits (rows, classes) for every split but train; each costs the teacher one pass ever."""
        splits = {split: rows for split, rows in data.list_splits() if split != "train"}
        return {split: self.open_logits(rows).get_all_logits() for split, rows in splits.items()}

    def open_logits(self, rows: Dataset) -> TeacherStore:
        """The store of the rows' logits alone."""
        return self._open_store(self._make_spec(rows), rows)

    def choose_training_source(
        self, rows: Dataset, hidden_layers: Sequence[int] = (), attention_layers: Sequence[int] = ()
    ) -> PreTrainedModel | TeacherStore:
        """The store of the training rows' outputs or, where that is wanted or does not fit, the teacher itself.

        Args:
            hidden_layers, attention_layers: the matched teacher layers, where a term compares them.

        Raises:
            ValueError: --teacher_outputs stored, and a store cannot serve; the teacher lacks what a term compares.
        """
        config, terms = self.teacher.model.config, select_term_weights(self.training, has_teacher=True)
        check_architecture_fits([config], self.training, terms)
        relation_layer = resolve_relation_layer(self.training.relation_layer, get_num_layers(config))
        layers = WantedLayers(
            hidden_layers=list_wanted_layers(terms, hidden_layers, relation_layer).hidden_layers,
            attention_layers=tuple(attention_layers),
            relation_layers=list_wanted_layers(terms, (), relation_layer).relation_layers,
        )
        spec = self._make_spec(rows, layers, BFLOAT16 if self.training.teacher_bf16 else FLOAT32)
        reason = explain_live(spec, self.arguments, self._count_reserved_bytes())
        [reason] = broadcast_object_list([reason])  # disks look otherwise to each process, at each moment
        if reason is None and not names_layers(terms, hidden_layers, attention_layers):
            reason = "the layers to imitate are not known here"
        if reason is None:
            switch_on_outputs(self.teacher.model, terms)
            was_there = (locate_stores(self.arguments) / spec.name).exists()
            try:
                store = self._open_store(spec, rows)
                logger.info("teacher outputs: stored, %s", self._describe(store, was_there))
                return store
            except HalfPrecisionError as error:
                reason = str(error)
            except OSError as error:
                reason = f"the store cannot be written: {error}"
        if self.arguments.teacher_outputs == "stored":
            raise ValueError(f"--teacher_outputs stored cannot be: {reason}; take --teacher_outputs auto or live")
        logger.info("teacher outputs: live (%s)", reason)
        return self.teacher.model

    def _count_reserved_bytes(self) -> int:
        """What a store has to leave free for checkpoints: none on another disk, or where a store is asked for."""
        folders = (locate_stores(self.arguments), Path(self.training.output_dir))
        disks = {find_existing(folder.absolute()).stat().st_dev for folder in folders}
        if len(disks) > 1 or self.arguments.teacher_outputs == "stored":
            return 0
        return RESERVED_MODELS * count_model_bytes(self.teacher.model)

    def _describe(self, store: TeacherStore, was_there: bool) -> str:
        """Its size, and what a live teacher, which takes at least a pass per epoch, would cost more."""
        passes = count_epochs(self.training, store.spec.num_rows) - (0 if was_there else 1)
        size = format_bytes(store.spec.count_bytes())
        return (
            f"{size} in {store.folder}, {'found there' if was_there else 'made now'}; its pass took "
            f"{store.fill_seconds:.0f} s, so that this run saves about {max(passes, 0) * store.fill_seconds:.0f} s"
        )

    def _make_spec(
        self,
        rows: Dataset,
        layers: WantedLayers = WantedLayers(),  # noqa: B008 - immutable
        precision: str = FLOAT32,
    ) -> StoreSpec:
        options = {"is_per_token": find_model_kind(self.teacher.model).is_per_token, "precision": precision}
        return make_spec(self.teacher.model.config, self.teacher.fingerprint, rows, *layers, **options)

    def _open_store(self, spec: StoreSpec, rows: Dataset) -> TeacherStore:
        collate = choose_collator(rows, self.teacher.tokenizer)
        return open_or_fill(
            locate_stores(self.arguments), spec, self.teacher.model, rows, collate, self.training.device
        )


def names_layers(terms: Mapping[str, float], hidden_layers: Sequence[int], attention_layers: Sequence[int]) -> bool:
    """Whether the matched layers are there for every term that compares them."""
    needs_hidden, needs_attention = bool(terms.keys() & STATE_TERMS), "attention" in terms
    return (bool(hidden_layers) or not needs_hidden) and (bool(attention_layers) or not needs_attention)


def explain_live(spec: StoreSpec, arguments: TeacherArguments, reserved_bytes: int) -> str | None:
    """Why the teacher has to run live, or None where a store serves.

    Args:
        reserved_bytes: what a new store leaves free, for the run's checkpoints.
    """
    size, limit = spec.count_bytes(), arguments.teacher_store_max_gb * GIGABYTE
    folder = locate_stores(arguments) / spec.name
    free = shutil.disk_usage(find_existing(folder)).free
    if arguments.teacher_outputs == "live":
        return "--teacher_outputs live"
    if size > limit:
        return (
            f"a store would take {format_bytes(size)}, over --teacher_store_max_gb {arguments.teacher_store_max_gb:g}"
        )
    if size + reserved_bytes > free and not folder.exists():
        kept = f", of which {format_bytes(reserved_bytes)} are left for checkpoints" if reserved_bytes else ""
        return (
            f"a store would take {format_bytes(size)}, and {format_bytes(free)} are free in {arguments.cache_dir}{kept}"
        )
    return None


def count_model_bytes(model: PreTrainedModel) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def count_epochs(training: DistillationTrainingArguments, num_rows: int) -> float:
    """Epochs that the training takes, by --max_steps where that is given."""
    if training.max_steps <= 0:
        return training.num_train_epochs
    rows_per_step = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return training.max_steps * rows_per_step / num_rows


def format_bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
