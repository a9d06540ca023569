"""Cuts a shallower student out of a teacher: which layers it starts from, and the model that results.

Entry: `choose_student_layers` and `check_layers_fit`, both before any weights are loaded, then `build_student`.
Teacher layers are numbered 0 ... n-1 from the input. A student that keeps every layer gives the teacher's logits bit
for bit; one that keeps some equals the teacher whose layer stack holds only these. What belongs to the encoder and not
to a layer (embeddings, final norm, the convolution that DeBERTa-v2 applies beside whichever layer comes first) stays
where it is. One exception, with a warning: a ModernBERT that does not start with its layer 0 (`fold_attention_norm`).
"""

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
from layer_distillation.layers.strategies import (
    LAYER_STRATEGIES,
    LAYER_STRATEGY_ALIASES,
    Layers,
    check_layer_list,
    choose_student_layers,
    parse_layer_list,
    resolve_strategy,
)

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


def build_student(
    teacher: PreTrainedModel,
    layers: Layers,
    strategy: str | None = None,
    teacher_name: str | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float32,
) -> PreTrainedModel:
    """A new model, in eval mode, of the teacher's class, device and attention implementation: whatever its head, which
    is copied (sequence or token classification, answer spans, choices, masked tokens, next sentence, or none at all).

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
