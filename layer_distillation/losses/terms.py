"""The terms of the loss: which are on, what they need of teacher and student, and what each of them is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.architectures.traits import LAST_TOKEN_MODEL_TYPES, warn_about
from layer_distillation.embedding.modules import count_outputs, get_modules
from layer_distillation.losses import functions as losses
from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.losses.batches import ItemCounts, check_labels
from layer_distillation.losses.extra_terms import ExtraTerm, OwnLoss, compute_extra_term
from layer_distillation.losses.flags import PREDICTION_TERMS, STATE_TERMS, parse_sizes
from layer_distillation.losses.head_states import patient_loss, relational_loss
from layer_distillation.losses.layer_matching import check_final_norm, resolve_layer_matching
from layer_distillation.losses.margins import margin_loss
from layer_distillation.losses.output_losses import OUTPUT_LOSSES
from layer_distillation.losses.vectors import SIMILARITY_LOSSES, average_parts
from layer_distillation.outputs.attention_targets import (
    ATTENTION_TARGETS,
    SCORES,
    get_attention_target,
    switch_on_attentions,
)
from layer_distillation.outputs.compared import EMBEDDING_LAYER, ModelOutputs
from layer_distillation.outputs.ensemble_logits import average_logits, mix_logits
from layer_distillation.outputs.relation_targets import (
    check_relation_heads,
    get_relation_width,
    resolve_relation_layer,
    switch_on_relations,
)
from layer_distillation.outputs.store import TeacherStore
from layer_distillation.tasks.kinds.entry import LABELS, TaskKind
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from student_init import get_num_layers

# A query sees all keys of its row, so that its distribution is known from the mask alone.
LOCAL_MODEL_TYPES = frozenset({"modernbert"})
DISTRIBUTION_MODEL_TYPES = tuple(
    sorted(
        name
        for name, target in ATTENTION_TARGETS.items()
        if target == SCORES and name not in LAST_TOKEN_MODEL_TYPES | LOCAL_MODEL_TYPES
    )
)


def place_head(config: PreTrainedConfig, kind: TaskKind = TEXT_CLASSIFICATION) -> str:
    """Which of a row's states the head reads: a key of `head_states.STATE_PLACES`."""
    if kind.place_head is not None:
        return kind.place_head(config)
    if kind.is_per_token:
        return "items"
    if config.model_type in LAST_TOKEN_MODEL_TYPES:
        return "last"  # the first token of a decoder sees no other
    # ModernBERT and EuroBERT; "late" is the mean of what the head makes of every token.
    return "mean" if getattr(config, "classifier_pooling", None) in ("mean", "late") else "first"


def select_term_weights(args: DistillationTrainingArguments, has_teacher: bool) -> dict[str, float]:
    """Term name -> weight at the start for the terms that are on at any time; the others are never computed."""
    if not has_teacher:
        return {"ce": 1.0}
    return {name: getattr(args, f"{name}_weight") for name, weight in args.get_largest_weights().items() if weight > 0}


# ---- what the terms need -----------------------------------------------------------------------------------------


class WantedLayers(NamedTuple):
    """The layers of one model whose outputs are compared; among the hidden ones the embedding comes first."""

    hidden_layers: tuple[int, ...] = ()
    attention_layers: tuple[int, ...] = ()
    relation_layers: tuple[int, ...] = ()


def list_wanted_layers(terms: Mapping[str, float], layers: Sequence[int], relation_layer: int) -> WantedLayers:
    """What `terms` need of a model whose matched layers are `layers`."""
    embedding = (EMBEDDING_LAYER,) if "embedding" in terms else ()
    return WantedLayers(
        hidden_layers=embedding + (tuple(layers) if terms.keys() & STATE_TERMS else ()),
        attention_layers=tuple(layers) if "attention" in terms else (),
        relation_layers=(relation_layer,) if "relation" in terms else (),
    )


def switch_on_outputs(model: PreTrainedModel, terms: Mapping[str, float]) -> str | None:
    """Makes `model` show what the terms compare; returns the kind of attention matrices where they are among it."""
    kind = switch_on_attentions(model) if "attention" in terms else None
    if "relation" in terms:
        switch_on_relations(model, with_scores=kind is not None)
    return kind


def match_layers(
    student: PreTrainedModel,
    teacher: PreTrainedModel | TeacherStore,
    args: DistillationTrainingArguments,
    weights: Mapping[str, float],
) -> tuple[list[int], WantedLayers]:
    """The imitated teacher layer of every student layer, and the teacher layers that the terms compare.

    Raises:
        ValueError: the terms ask for what teacher (or its store) and student cannot give.
    """
    warn_about(teacher.config.model_type)
    check_teacher_fits(student.config, teacher.config, weights)
    check_architecture_fits([student.config, teacher.config], args, weights)
    num_layers = get_num_layers(teacher.config)
    matching = resolve_layer_matching(args.layer_matching, num_layers, get_num_layers(student.config), args.seed)
    if weights.keys() & STATE_TERMS:
        check_final_norm(teacher.config.model_type, matching, num_layers)
    check_patient_layers(len(matching), args, weights)
    relation_layer = resolve_relation_layer(args.relation_layer, num_layers)
    if isinstance(teacher, TeacherStore):
        check_store_fits(teacher, matching, weights, relation_layer)
    return matching, list_wanted_layers(weights, matching, relation_layer)


def list_projected_pairs(
    student: PreTrainedConfig, teacher: PreTrainedConfig, terms: Mapping[str, float], layer_matching: Sequence[int]
) -> dict[int, int]:
    """Student layer -> teacher layer whose states `terms` compare, where their widths differ and have to be alike."""
    if student.hidden_size == teacher.hidden_size:
        return {}
    compared = terms.keys() - {"rkd"}  # it compares distances, which no projection is to stretch
    layers = list_wanted_layers(dict.fromkeys(compared, 1.0), range(len(layer_matching)), 0).hidden_layers
    return {layer: EMBEDDING_LAYER if layer == EMBEDDING_LAYER else layer_matching[layer] for layer in layers}


def check_teacher_fits(student: PreTrainedConfig, teacher: PreTrainedConfig, weights: Mapping[str, float]) -> None:
    """Raises ValueError where the two cannot be compared. Widths may differ: `losses/projections.py`."""
    widths = count_outputs(student), count_outputs(teacher)
    if get_modules(student) is not None and widths[0] != widths[1]:
        raise ValueError(
            f"the student's vectors have {widths[0]} dimensions and the teacher's {widths[1]}: give it a dense layer "
            "to the teacher's width"
        )
    if student.num_labels != teacher.num_labels:
        raise ValueError(
            f"the logits of student and teacher cannot be compared: num_labels is {student.num_labels} in the student "
            f"and {teacher.num_labels} in the teacher; give both the task's labels"
        )
    check_attentions_fit(student, teacher, weights)
    if student.num_labels == 1 and "logit_cosine" in weights:
        raise ValueError("logit_cosine_weight > 0 on a regression task: one output has no direction; set it to 0")


def check_attentions_fit(student: PreTrainedConfig, teacher: PreTrainedConfig, weights: Mapping[str, float]) -> None:
    """Raises ValueError where attention matrices are wanted, and those of the two are not of one kind and number."""
    if "attention" not in weights:
        return
    heads = [(config.num_attention_heads, get_attention_target(config.model_type)) for config in (student, teacher)]
    if heads[0] != heads[1]:
        raise ValueError(
            f"the attention matrices of student and teacher cannot be compared: {heads[0][0]} heads of {heads[0][1]} "
            f"in the student and {heads[1][0]} of {heads[1][1]} in the teacher; set --attention_weight 0, or take "
            "--relation_weight, for which numbers of heads may differ"
        )


def check_patient_layers(num_layers: int, args: DistillationTrainingArguments, weights: Mapping[str, float]) -> None:
    """Raises ValueError where a student of so many layers has none for the pkd term."""
    if "pkd" in weights and not args.pkd_last_layer and num_layers == 1:
        raise ValueError(
            "--pkd_last_layer false leaves --pkd_weight nothing to compare in a student of one layer: leave that flag "
            "out, or set --pkd_weight 0"
        )


def check_architecture_fits(
    configs: Sequence[PreTrainedConfig], args: DistillationTrainingArguments, weights: Mapping[str, float]
) -> None:
    """Raises ValueError where a model of one of these configs cannot give what a term compares."""
    for model_type in {config.model_type for config in configs}:
        if "attention" in weights and args.attention_loss == "kl" and model_type not in DISTRIBUTION_MODEL_TYPES:
            raise ValueError(
                f"--attention_loss kl needs scores of all keys, which {model_type} does not give: take mse, or one of "
                f"{', '.join(DISTRIBUTION_MODEL_TYPES)}"
            )
    if "relation" in weights:
        check_relation_heads(args.relation_heads, [get_relation_width(config) for config in configs])


def check_store_fits(
    store: TeacherStore, layer_matching: list[int], weights: Mapping[str, float], relation_layer: int = 0
) -> None:
    """Raises ValueError where the store lacks what the terms need."""
    wanted = list_wanted_layers(weights, layer_matching, relation_layer)
    held = (
        ("hidden states", store.spec.hidden_layers),
        ("attention matrices", store.spec.attention_layers),
        ("relations", store.spec.relation_layers),
    )
    for (what, layers), wanted_layers in zip(held, wanted, strict=True):
        if wanted_layers and layers != wanted_layers:
            raise ValueError(
                f"the store holds {what} of teacher layers {list(layers)}, and the student is to imitate "
                f"{list(wanted_layers)}: fill a store for these"
            )


# ---- the terms ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComparedBatch:
    """One micro-batch: labels (batch,) or None, attention_mask (batch, tokens), the item counts of the whole batch."""

    student: ModelOutputs
    teacher: ModelOutputs | None
    labels: Tensor | None
    attention_mask: Tensor
    counts: ItemCounts
    temperature: float
    num_pairs: int
    head_places: tuple[str, str] = ("first", "first")  # the states that the heads of student and teacher read
    class_weights: Tensor | None = None  # (classes,), which the count of labelled items has in it
    compute_own_loss: OwnLoss | None = None  # in the place of the cross-entropy
    kind: TaskKind = TEXT_CLASSIFICATION
    is_item: Tensor | None = None  # (batch, tokens) of bool, where the items are; None: the rows are
    group_rows: int = 1  # rows of one query, which the margin term compares

    @property
    def outputs(self) -> str:
        """What the logits are: of a kind that may have one number, that where they have one."""
        num_outputs = self.student.logits.size(-1)
        return self.kind.get_outputs(None if num_outputs == 1 else [""] * num_outputs)

    @property
    def student_items(self) -> Tensor:
        """The student's logits of the items: (items, outputs)."""
        return self.kind.take_items(self.student.logits, self.is_item)

    @property
    def teacher_items(self) -> Tensor:
        """(items, outputs), or of several teachers (items, teachers, outputs)."""
        logits = self.teacher.logits
        if logits.dim() == self.student.logits.dim():
            return self.kind.take_items(logits, self.is_item)
        return torch.stack([self.kind.take_items(own, self.is_item) for own in logits.unbind(dim=1)], dim=1)

    @property
    def head_mask(self) -> Tensor:
        """(batch, tokens): the states that the heads read, where these are the items', else the real tokens."""
        return self.attention_mask if self.is_item is None else self.is_item

    def get_pairs(self, with_last: bool = True) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Hidden states of the matched layers, of student and teacher; the embedding's lie before them."""
        wanted = slice(-self.num_pairs, None if with_last else -1)
        return self.student.hidden_states[wanted], self.teacher.hidden_states[wanted]

    def get_unprojected_pairs(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The same, but each in its own width."""
        own = self.student.unprojected_states or self.student.hidden_states
        return own[-self.num_pairs :], self.teacher.hidden_states[-self.num_pairs :]


def compute_terms(
    weights: Mapping[str, float],
    batch: ComparedBatch,
    args: DistillationTrainingArguments,
    extra_terms: Mapping[str, ExtraTerm] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Each wanted term, unweighted, as this micro-batch's share of the mean over the whole batch.

    Args:
        weights: of the terms that count at this step, a user's own with them.
    """
    student, teacher, mask, counts = batch.student, batch.teacher, batch.attention_mask, batch.counts
    tokens, items, states = counts["tokens"], counts["items"], counts["head_states"]
    terms: dict[str, Callable[[], Tensor]] = {
        "ce": lambda: compute_task_term(batch),
        "kl": lambda: compute_logit_term(batch, args),
        "logit_cosine": lambda: compute_parts(
            batch, average_logits(batch.teacher_items), args, lambda *both: losses.logit_cosine_loss(*both, items)
        ),
        "margin": lambda: margin_loss(
            batch.student_items, average_logits(batch.teacher_items), batch.group_rows, counts["rows"]
        ),
        "similarity": lambda: compute_similarity_term(batch, args),
        "hidden": lambda: losses.hidden_state_loss(*batch.get_pairs(), mask, args.hidden_loss, tokens),
        "attention": lambda: losses.attention_loss(
            student.attentions, teacher.attentions, mask, tokens, args.attention_loss
        ),
        "pkd": lambda: patient_loss(*batch.get_pairs(args.pkd_last_layer), batch.head_mask, states, batch.head_places),
        "rkd": lambda: relational_loss(*batch.get_unprojected_pairs(), batch.head_mask, batch.head_places),
        "embedding": lambda: losses.embedding_loss(student.hidden_states[0], teacher.hidden_states[0], mask, tokens),
        "relation": lambda: losses.relation_loss(
            student.relations[0], teacher.relations[0], mask, args.relation_heads, tokens
        ),
    }
    return {
        name: compute_extra_term(name, extra_terms[name], batch) if name in extra_terms else terms[name]()
        for name in weights
    }


def compute_task_term(batch: ComparedBatch) -> Tensor:
    """The user's own loss, or that of the task's outputs; raises ValueError for labels of another form."""
    items = batch.student_items
    labels = None if batch.labels is None else batch.kind.take_labels(batch.labels, batch.is_item)
    check_labels(labels, items, batch.outputs)
    num_items = batch.counts["labelled_rows"]
    num_items = num_items.masked_fill(num_items <= 0, 1)  # a batch may hold no label at all
    if batch.compute_own_loss is not None:
        return batch.compute_own_loss(batch.student.raw, batch.labels, num_items_in_batch=num_items)
    return OUTPUT_LOSSES[batch.outputs].task(items, labels, num_items, batch.class_weights)


def compute_logit_term(batch: ComparedBatch, args: DistillationTrainingArguments) -> Tensor:
    teacher_items = mix_logits(batch.teacher_items, batch.temperature, is_binary=batch.outputs == LABELS)
    measure = OUTPUT_LOSSES[batch.outputs].divergence
    options = batch.temperature, batch.counts["items"]
    return compute_parts(batch, teacher_items, args, lambda *both: measure(*both, *options))


def compute_parts(
    batch: ComparedBatch,
    teacher_items: Tensor,
    args: DistillationTrainingArguments,
    measure: Callable[[Tensor, Tensor], Tensor],
    is_teacher_whole: bool = False,
) -> Tensor:
    """A loss of the items; of vectors the mean over their parts that `matryoshka_dims` names."""
    sizes = parse_sizes(args.matryoshka_dims)
    if not sizes:
        return measure(batch.student_items, teacher_items)
    return average_parts(measure, batch.student_items, teacher_items, sizes, is_teacher_whole)


def compute_similarity_term(batch: ComparedBatch, args: DistillationTrainingArguments) -> Tensor:
    compare = SIMILARITY_LOSSES[args.similarity_loss]
    return compute_parts(
        batch,
        average_logits(batch.teacher_items),
        args,
        lambda student, teacher: compare(student, teacher, batch.temperature),
        is_teacher_whole=True,
    )


def add_terms(terms: Mapping[str, Tensor], weights: Mapping[str, float], logits: Tensor) -> Tensor:
    """The weighted sum."""
    loss = sum(weights[name] * term for name, term in terms.items())
    if terms.keys() & PREDICTION_TERMS:
        return loss
    # DistributedDataParallel waits for a gradient of all that the outputs depend on, the head too.
    return loss + 0.0 * logits.float().sum()
