"""Cuts a shallower student out of a teacher: which layers it starts from, and the model that results.

Entry: `choose_student_layers` and `check_layers_fit`, both before any weights are loaded, then `build_student`.
Teacher layers are numbered 0 ... n-1 from the input. A student that keeps every layer gives the teacher's logits bit
for bit; one that keeps some equals the teacher whose layer stack holds only these. What belongs to the encoder and not
to a layer (embeddings, final norm, the convolution that DeBERTa-v2 applies beside whichever layer comes first) stays
where it is. One exception, with a warning: a ModernBERT that does not start with its layer 0 (`fold_attention_norm`).
"""

import difflib
import random
import re
from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.architectures.cutting import (
    check_shapes,
    collect_tensors,
    copy_tensors,
    cut_config,
    map_tensor_name,
)
from layer_distillation.architectures.modernbert import check_first_layer, fold_attention_norm, needs_fold
from layer_distillation.architectures.stacks import check_same_kind, find_layer_stack, get_num_layers

__all__ = [
    "LAYER_STRATEGIES",
    "LAYER_STRATEGY_ALIASES",
    "Layers",
    "build_student",
    "check_layers_fit",
    "check_skeleton",
    "choose_student_layers",
    "collect_tensors",
    "find_layer_stack",
    "get_num_layers",
    "initialise_student",
    "map_tensor_name",
    "parse_layer_list",
    "resolve_strategy",
]

# One entry per student layer: the teacher layer that it starts from, None where it starts afresh.
Layers = Sequence[int | None]


def build_student(
    teacher: PreTrainedModel,
    layers: Layers,
    strategy: str | None = None,
    teacher_name: str | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float32,
) -> PreTrainedModel:
    """A new model, in eval mode, of the teacher's class, device and attention implementation.

    Fresh layers are drawn from `seed`, all else is copied; teacher and global random state stay as they were.
    `strategy` and `teacher_name` are only recorded, in `config.distillation`. Raises ValueError if it cannot be cut.

    Args:
        dtype: of the weights. float32 holds a teacher of half precision exactly, and small updates, which bfloat16
            rounds away: to train in another type is a decision. None: as the teacher has each.
    """
    check_layers_fit(teacher.config, layers)
    stack_name, teacher_stack = find_layer_stack(teacher)
    config = cut_config(teacher.config, layers)
    teacher_name = teacher.name_or_path if teacher_name is None else teacher_name
    config.distillation = {"teacher": teacher_name, "strategy": strategy, "student_layers": list(layers)}
    student = initialise_student(teacher, config, seed, dtype)
    if config.model_type == "big_bird":  # which changes it at its first short batch, in its layers and not its config
        student.base_model.set_attention_type(teacher.base_model.attention_type)
    check_layers_match(teacher_stack, student.get_submodule(stack_name), config, layers)
    copy_tensors(teacher, student, stack_name, layers, dtype)
    if needs_fold(config, layers):
        fold_attention_norm(teacher, teacher_stack[layers[0]], student.get_submodule(f"{stack_name}.0"))
    return student.eval()


def initialise_student(
    teacher: PreTrainedModel, config: PreTrainedConfig, seed: int, dtype: torch.dtype | None = None
) -> PreTrainedModel:
    """A freshly initialised model by the architecture's own rules, on the teacher's device and, without `dtype`, in its
    type; a seed gives one model."""
    # Drawn on the CPU, so that a seed means the same weights on every machine. `torch.manual_seed` would reseed the
    # GPUs too, and fork_rng is told to save none of these.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        # What AutoModel.from_config calls, without having to know which Auto class the teacher came from.
        student = type(teacher)._from_config(
            config, dtype=dtype or teacher.dtype, attn_implementation=teacher.config._attn_implementation
        )
    return student.to(teacher.device)


def choose_student_layers(
    strategy: str | None,
    teacher_num_layers: int,
    student_num_layers: int | None = None,
    student_layers: Sequence[int] | None = None,
    seed: int = 0,
) -> list[int | None]:
    """The teacher layer of each student layer, by a named strategy or as listed: exactly one of both must be given.

    `student_num_layers` defaults to half of the teacher's, rounded down, at least 1. Raises ValueError on a user error.
    """
    if teacher_num_layers < 1:
        raise ValueError(f"the teacher has {teacher_num_layers} layers, need at least 1; choose another teacher")
    if strategy is not None and student_layers is not None:
        raise ValueError(
            f"got both layer_strategy {strategy!r} and student_layers {student_layers}, need one; leave the other out"
        )
    if student_layers is not None:
        check_layer_list(student_layers, teacher_num_layers)
        if student_num_layers not in (None, len(student_layers)):
            raise ValueError(
                f"got student_num_layers {student_num_layers} and {len(student_layers)} student_layers "
                f"{student_layers}; give student_num_layers {len(student_layers)} or leave it out"
            )
        return list(student_layers)
    choose = LAYER_STRATEGIES[resolve_strategy(strategy)]
    if student_num_layers is None:
        student_num_layers = max(1, teacher_num_layers // 2)
    check_count("student_num_layers", student_num_layers, 1, teacher_num_layers)
    return choose(teacher_num_layers, student_num_layers, seed)


def resolve_strategy(strategy: str | None) -> str:
    """The name in LAYER_STRATEGIES that a name or an alias stands for."""
    names = [*LAYER_STRATEGIES, *LAYER_STRATEGY_ALIASES]
    if strategy not in names:
        close = difflib.get_close_matches(str(strategy).lower(), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"got layer_strategy {strategy!r}, {hint}valid: {', '.join(names)}; or give student_layers")
    return LAYER_STRATEGY_ALIASES.get(strategy, strategy)


def parse_layer_list(text: str) -> list[int]:
    """Turns "11,1,3" into [11, 1, 3]."""
    if not re.fullmatch(r"\s*-?\d{1,9}\s*(,\s*-?\d{1,9}\s*)*", text, re.ASCII):  # int() reads 1_0 as 10
        raise ValueError(f"got student_layers {text!r}, need whole numbers with commas, such as 0,2,4")
    return [int(part) for part in text.split(",")]


def check_layer_list(student_layers: Sequence[int], teacher_num_layers: int) -> None:
    """Any order and repeats are allowed."""
    if len(student_layers) == 0:
        raise ValueError("got an empty student_layers, need at least one teacher layer, such as 0,2,4")
    for layer in student_layers:
        check_count("an entry of student_layers", layer, 0, teacher_num_layers - 1)


def check_count(label: str, value: int, lowest: int, highest: int) -> None:
    """True is an int in Python and 2.0 equals 2, but neither was meant as a number of layers."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole:
        raise ValueError(f"{label} is {value!r}, need a whole number, such as {lowest}; change it to one")
    if not lowest <= value <= highest:
        raise ValueError(f"{label} is {value}, need {lowest} to {highest} for this teacher; change it to one of these")


def check_skeleton(skeleton: PreTrainedModel, layers: Layers) -> None:
    """Raises ValueError where `build_student` would for a teacher of this shape, which may be without any weights."""
    stack_name, stack = find_layer_stack(skeleton)
    config = cut_config(skeleton.config, layers)
    with torch.device("meta"):
        student = type(skeleton)._from_config(config)
    check_layers_match(stack, student.get_submodule(stack_name), config, layers)
    check_shapes(skeleton, student, stack_name, layers)


def check_layers_match(
    teacher_stack: nn.ModuleList, student_stack: nn.ModuleList, config: PreTrainedConfig, layers: Layers
) -> None:
    """Raises ValueError where a layer is built otherwise at its new place."""
    for index, (student_layer, source) in enumerate(zip(student_stack, layers, strict=True)):
        if source is not None and not (index == 0 and needs_fold(config, layers)):
            check_same_kind(teacher_stack[source], student_layer, f"{config.model_type} layer {source} -> {index}")


def check_layers_fit(config: PreTrainedConfig, layers: Layers) -> None:
    """Raises ValueError where the architecture cannot hold these layers at these places, judged from the config."""
    check_layer_list([0 if source is None else source for source in layers], get_num_layers(config))
    check_first_layer(config, layers)


def pick_evenly(strategy: str, layers: Sequence[int], count: int) -> list[int | None]:
    """`count` of the layers, the first and the last among them; a lone one is the first, which knows the embeddings."""
    if count > len(layers):
        raise ValueError(
            f"student_num_layers is {count}, but strategy {strategy!r} has at most {len(layers)} layers for this "
            "teacher; ask for fewer layers, or use strategy 'spread'"
        )
    # index * (len - 1) / (count - 1), rounded half up in whole numbers: floats would round halves unevenly.
    gaps = max(1, count - 1)
    return [layers[(2 * index * (len(layers) - 1) + gaps) // (2 * gaps)] for index in range(count)]


# name -> layers to start from, given the teacher's n layers, the student's k <= n, and a seed
LAYER_STRATEGIES: dict[str, Callable[[int, int, int], list[int | None]]] = {
    "top": lambda n, k, seed: list(range(k)),  # nearest the input
    "bottom": lambda n, k, seed: list(range(n - k, n)),  # nearest the output
    "odd": lambda n, k, seed: pick_evenly("odd", range(1, n, 2), k),
    "even": lambda n, k, seed: pick_evenly("even", range(0, n, 2), k),
    "spread": lambda n, k, seed: pick_evenly("spread", range(n), k),  # both ends kept
    "ends": lambda n, k, seed: [*range(k - k // 2), *range(n - k // 2, n)],  # the middle dropped
    "random": lambda n, k, seed: sorted(random.Random(seed).sample(range(n), k)),  # the null distribution
    "scratch": lambda n, k, seed: [None] * k,  # fresh layers, everything else copied
}
LAYER_STRATEGY_ALIASES = {"first": "top", "last": "bottom"}
