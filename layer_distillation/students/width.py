"""A narrower student: some of a model's hidden dimensions, attention heads and feed-forward units.

Entry: `resolve_widths`, from the config alone, then `select_units` and `narrow_student`. Every weight of the student is
a slice of its source's: which rows and columns stay is one list of hidden dimensions for the whole model, and one of
heads and one of units for every layer. Exact where what is left out has no weight: feed-forward units and heads whose
outgoing weights are 0. Not exact for hidden dimensions, as a norm over fewer of them has another mean and deviation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.layers.strategies import Layers
from layer_distillation.students.width_names import UNITS_CONFIG_NAMES, WIDTH_NAMES, get_width_names
from student_init import collect_tensors, find_layer_stack, get_num_layers, initialise_student, map_tensor_name

HIDDEN, QUERIES, KEYS, UNITS, POOLED, HEADS = "hidden", "queries", "keys", "units", "pooled", "heads"


# ---- sizes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Widths:
    """Hidden dimensions; feed-forward units and attention heads of a layer."""

    hidden: int
    units: int
    heads: int


def get_widths(config: PreTrainedConfig) -> Widths:
    """The config's own sizes; raises ValueError where a narrower student of its architecture is not possible here."""
    if config.model_type not in WIDTH_NAMES:
        raise ValueError(
            f"a narrower student of model type {config.model_type!r} is not possible: it is not known here which of "
            f"its weights are whose; leave the student's sizes out, or take one of {', '.join(sorted(WIDTH_NAMES))}"
        )
    units = getattr(config, UNITS_CONFIG_NAMES.get(config.model_type, "intermediate_size"))
    return Widths(config.hidden_size, units, config.num_attention_heads)


def get_head_size(config: PreTrainedConfig) -> int:
    if get_width_names(config).has_own_head_size:
        return config.head_dim
    return config.hidden_size // config.num_attention_heads


def resolve_widths(config: PreTrainedConfig, hidden: int | None, units: int | None, heads: int | None) -> Widths:
    """The sizes of a student of a teacher with this config; None: the teacher's, or what goes with the others.

    Raises:
        ValueError: no slices of the teacher's weights make such a student.
    """
    own = get_widths(config)
    head_size, is_free = get_head_size(config), get_width_names(config).has_own_head_size
    hidden, units = hidden or own.hidden, units or own.units
    if heads is None:
        heads = own.heads if is_free or hidden % head_size else hidden // head_size
    asked = {"student_hidden_size": hidden, "student_intermediate_size": units, "student_attention_heads": heads}
    for (name, size), largest in zip(asked.items(), (own.hidden, own.units, own.heads), strict=True):
        if size > largest:
            raise ValueError(f"--{name} is {size}, and the teacher has {largest}: give at most that, or leave it out")
    if is_free:
        check_head_groups(heads, config)
    elif hidden % heads or hidden // heads > head_size:
        raise ValueError(
            f"--student_hidden_size {hidden} with --student_attention_heads {heads} has heads of {hidden / heads:g}, "
            f"as a {config.model_type} has heads of hidden size / heads, and the teacher's are {head_size} wide: give "
            f"a divisor of {hidden} from {-(-hidden // head_size)} to {own.heads} for the heads, or another hidden size"
        )
    if (
        config.model_type == "electra"
        and config.embedding_size not in (own.hidden,)
        and hidden == config.embedding_size
    ):
        raise ValueError(
            f"--student_hidden_size {hidden} is an electra's embedding_size, where it has no projection from one to "
            f"the other and the teacher has: give another size, such as {hidden + heads}"
        )
    return Widths(hidden, units, heads)


def check_head_groups(heads: int, config: PreTrainedConfig) -> None:
    """Raises ValueError where heads that share their keys and values would be torn apart."""
    group = config.num_attention_heads // config.num_key_value_heads
    if heads % group:
        raise ValueError(
            f"--student_attention_heads is {heads}, and in this teacher {group} heads share their keys and values: "
            f"give a multiple of {group}"
        )


def narrow_config(config: PreTrainedConfig, widths: Widths) -> PreTrainedConfig:
    """A copy of the config with these sizes."""
    values, names = config.to_dict(), config.attribute_map
    values[names.get("hidden_size", "hidden_size")] = widths.hidden
    values[names.get("num_attention_heads", "num_attention_heads")] = widths.heads
    values[UNITS_CONFIG_NAMES.get(config.model_type, "intermediate_size")] = widths.units
    if get_width_names(config).has_own_head_size:
        values["num_key_value_heads"] = widths.heads * config.num_key_value_heads // config.num_attention_heads
    if config.model_type == "electra" and config.embedding_size == config.hidden_size:
        values["embedding_size"] = widths.hidden
    return type(config).from_dict(values)


# ---- what is kept ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Importance:
    """How much depends on what: (hidden,), (layers, heads), (layers, units), (hidden,) between encoder and labels."""

    hidden: Tensor
    heads: Tensor
    units: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class HiddenBasis:
    """Directions of the hidden states to keep, (hidden, student's hidden), and by name the parameters of the norms,
    (student's hidden,), that go with them."""

    directions: Tensor
    norms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Selection:
    """What stays of each kind of axis: indices, or for `hidden` directions (hidden, student's hidden). By teacher
    layer, where it is a list."""

    hidden: Tensor
    pooled: Tensor
    heads: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]
    units: list[Tensor]
    norms: Mapping[str, Tensor]


def select_units(
    config: PreTrainedConfig, widths: Widths, importance: Importance | None = None, basis: HiddenBasis | None = None
) -> Selection:
    """What stays of a model with this config: the most important of each kind, without `importance` the first.

    Of a head that becomes smaller its first dimensions stay.
    """
    own, num_layers, head_size = get_widths(config), get_num_layers(config), get_head_size(config)
    names = get_width_names(config)
    if importance is None:
        first = [-torch.arange(count, dtype=torch.float64) for count in (own.hidden, own.heads, own.units)]
        importance = Importance(first[0], first[1].repeat(num_layers, 1), first[2].repeat(num_layers, 1), first[0])
    by_head = importance.heads
    if names.biases_by_head is not None:  # one table for all layers: the same heads in each
        by_head = by_head.mean(dim=0).repeat(num_layers, 1)
    groups = config.num_key_value_heads if names.has_own_head_size else own.heads
    kept_groups = [
        keep_largest(scores.unflatten(0, (groups, -1)).sum(dim=1), widths.heads * groups // own.heads)
        for scores in by_head
    ]
    heads = [spread_indices(kept, own.heads // groups, own.heads // groups) for kept in kept_groups]
    new_head_size = head_size if names.has_own_head_size else widths.hidden // widths.heads
    return Selection(
        hidden=keep_largest(importance.hidden, widths.hidden) if basis is None else basis.directions,
        pooled=keep_largest(importance.pooled, widths.hidden),
        heads=heads,
        queries=[spread_indices(kept, head_size, new_head_size) for kept in heads],
        keys=[spread_indices(kept, head_size, new_head_size) for kept in kept_groups],
        units=[keep_largest(scores, widths.units) for scores in importance.units],
        norms={} if basis is None else basis.norms,
    )


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """Indices, ascending, of the `count` largest of (n,); of equal ones the first."""
    return scores.sort(descending=True, stable=True).indices[:count].sort().values


def spread_indices(blocks: Tensor, block_size: int, kept_size: int) -> Tensor:
    """Of each of these blocks of `block_size` entries the indices of its first `kept_size`."""
    return (blocks[:, None] * block_size + torch.arange(kept_size)).flatten()


# ---- the student -------------------------------------------------------------------------------------------------


def narrow_student(
    wide: PreTrainedModel, layers: Layers, widths: Widths, selection: Selection, seed: int = 0
) -> PreTrainedModel:
    """A new model, in eval mode, of some of the weights of `wide`, a student as wide as the teacher.

    Args:
        layers: the teacher layer that each of its layers came from, as `selection` counts them; a fresh one is drawn
            anew, from `seed`, at its new width.

    Raises:
        ValueError: the architecture builds the narrower model of other parts.
    """
    student = initialise_student(wide, narrow_config(wide.config, widths), seed)
    stack_name, _ = find_layer_stack(wide)
    wide_tensors, student_tensors = collect_tensors(wide), collect_tensors(student)
    for name, student_tensor in student_tensors.items():
        source_name = map_tensor_name(name, stack_name, layers)
        if source_name is None:
            continue
        kept = wide_tensors[name].detach()
        layer = find_layer_number(source_name, stack_name)
        for axis, kind in enumerate(label_axes(name, stack_name, wide.config, kept.shape, student_tensor.shape)):
            if kind is not None:
                chosen = getattr(selection, kind)
                kept = keep_axis(kept, axis, chosen if isinstance(chosen, Tensor) else chosen[layer or 0])
        kept = selection.norms.get(source_name, kept)
        if kept.shape != student_tensor.shape:
            raise ValueError(
                f"{name} is {tuple(kept.shape)} when it is cut and {tuple(student_tensor.shape)} in a narrower "
                f"{wide.config.model_type}: leave the student's sizes out"
            )
        student_tensor.data = kept.to(wide.device, wide_tensors[name].dtype).clone()
    return student.eval()


def label_axes(
    name: str, stack_name: str, config: PreTrainedConfig, wide_shape: torch.Size, narrow_shape: torch.Size
) -> Sequence[str | None]:
    """What each axis of a weight counts, None where it stays whole."""
    names, module = get_width_names(config), name.rpartition(".")[0]
    kinds = {names.biases_by_head: (None, HEADS)}
    if names.pooled is not None:
        kinds |= {names.pooled[0]: (POOLED, HIDDEN), names.pooled[1]: (None, POOLED)}
    if module.startswith(f"{stack_name}."):
        module = module.removeprefix(f"{stack_name}.").partition(".")[2]
        kinds = {names.queries: (QUERIES, HIDDEN), names.attention_output: (HIDDEN, QUERIES)}
        kinds |= dict.fromkeys(names.keys_values, (KEYS, HIDDEN)) | {names.units_output: (HIDDEN, UNITS)}
        kinds |= dict.fromkeys(names.units_input, (UNITS, HIDDEN))
    if module in kinds:
        return kinds[module][: len(wide_shape)]
    # Elsewhere whatever is as long as the hidden states, and shrinks with them.
    sizes = zip(wide_shape, narrow_shape, strict=True)
    return [HIDDEN if old == config.hidden_size and old != new else None for old, new in sizes]


def find_layer_number(name: str, stack_name: str) -> int | None:
    """Of a tensor inside a layer, the layer's number."""
    inside = name.startswith(f"{stack_name}.")
    return int(name.removeprefix(f"{stack_name}.").partition(".")[0]) if inside else None


def keep_axis(tensor: Tensor, axis: int, chosen: Tensor) -> Tensor:
    """The chosen entries of an axis or, where these are directions (old, new), the coordinates along them."""
    chosen = chosen.to(tensor.device)
    if not chosen.is_floating_point():
        return tensor.index_select(axis, chosen)
    return torch.tensordot(tensor.to(chosen.dtype), chosen, dims=([axis], [0])).movedim(-1, axis)
