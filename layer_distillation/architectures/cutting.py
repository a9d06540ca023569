"""A config with other layers, and the tensors that a student takes over from its teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.architectures.refusals import CHOOSE_ANOTHER

# By name, never by length: a list of another meaning may happen to have n entries.
PER_LAYER_CONFIG_LISTS = ("layer_types", "mlp_layer_types", "attention_window", "no_rope_layers")
# Outside the stack, and yet of its layers: the end of the name, and the axis that counts layers before anything else.
PER_LAYER_TENSORS = {"contact_head.regression.weight": 1}  # ESM: (1, layers x heads)


def cut_config(config: PreTrainedConfig, layers: Sequence[int | None]) -> PreTrainedConfig:
    """A copy of the config with one entry per student layer in each per-layer list; fresh layers take their place's."""
    # Through the dict that is saved: the student built now is then the student that a reload builds.
    values = config.to_dict()
    values[config.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = len(layers)
    if config.model_type == "albert":  # one group for every layer, or `check_architecture` had refused it
        values["num_hidden_groups"] = len(layers)
    sources = [index % config.num_hidden_layers if source is None else source for index, source in enumerate(layers)]
    for name in PER_LAYER_CONFIG_LISTS:
        if isinstance(values.get(name), list):
            values[name] = [values[name][source] for source in sources]
    return type(config).from_dict(values)


def copy_tensors(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    stack_name: str,
    layers: Sequence[int | None],
    dtype: torch.dtype | None = None,
) -> None:
    """Copies every parameter and buffer, the unsaved buffers too, into the student in place.

    Args:
        dtype: of the parameters; a buffer is never made less precise. None: each tensor keeps its own.

    Raises:
        ValueError: the teacher has modules of its own, or a tensor outside of its layers that goes by their number.
    """
    teacher_tensors, student_tensors = collect_tensors(teacher), collect_tensors(student)
    parameters = dict(student.named_parameters(remove_duplicate=False)).keys()
    # Parameters only: a ModernBERT keeps rotary buffers for just the attention types among its layers.
    one_sided = dict(teacher.named_parameters()).keys() ^ dict(student.named_parameters()).keys()
    unmatched = sorted(name for name in one_sided if not name.startswith(f"{stack_name}."))
    if unmatched:
        raise ValueError(
            f"the teacher is not the {type(teacher).__name__} that its config builds: only one of both has "
            f"{unmatched}; reload it with from_pretrained, without adapters or modules of your own"
        )
    for name, student_tensor in student_tensors.items():
        source_name = map_tensor_name(name, stack_name, layers)
        if source_name is not None:
            source = teacher_tensors[source_name].detach()
            kept = keep_layers(name, source, student_tensor.detach(), layers)
            wanted = choose_dtype(kept, dtype, is_parameter=name in parameters)
            # .data: takes this dtype, and leaves ties and requires_grad as the student's class made them.
            student_tensor.data = kept.to(wanted, copy=True)


def check_shapes(
    teacher: PreTrainedModel, student: PreTrainedModel, stack_name: str, layers: Sequence[int | None]
) -> None:
    """Raises ValueError where `copy_tensors` would for a tensor's shape; both models may be without weights."""
    teacher_tensors = collect_tensors(teacher)
    for name, tensor in collect_tensors(student).items():
        source_name = map_tensor_name(name, stack_name, layers)
        if source_name in teacher_tensors:
            keep_layers(name, teacher_tensors[source_name], tensor, layers)


def choose_dtype(tensor: Tensor, dtype: torch.dtype | None, is_parameter: bool) -> torch.dtype:
    """What a copy of the tensor is held in; positions and masks are whole numbers and stay it."""
    if dtype is None or not tensor.is_floating_point():
        return tensor.dtype
    return dtype if is_parameter else torch.promote_types(tensor.dtype, dtype)


def keep_layers(name: str, source: Tensor, drawn: Tensor, layers: Sequence[int | None]) -> Tensor:
    """The source as it is or, where it counts layers, what of it belongs to the student's; a fresh layer keeps `drawn`.

    Raises:
        ValueError: its shape is another in a model of so many layers, and it is not known here how it counts them.
    """
    axis = next((axis for end, axis in PER_LAYER_TENSORS.items() if name.endswith(end)), None)
    if axis is not None:
        size = drawn.shape[axis] // len(layers)  # of one layer
        own = drawn.to(source.dtype).split(size, dim=axis)
        blocks = source.split(size, dim=axis)
        return torch.cat([own[i] if layer is None else blocks[layer] for i, layer in enumerate(layers)], dim=axis)
    if source.shape != drawn.shape:
        raise ValueError(
            f"{name} is {tuple(source.shape)} in the teacher and {tuple(drawn.shape)} in a student of {len(layers)} "
            f"layers, and it is not known which part belongs to which layer; {CHOOSE_ANOTHER}"
        )
    return source


def map_tensor_name(name: str, stack_name: str, layers: Sequence[int | None]) -> str | None:
    """The teacher's name of the tensor that a student's tensor is copied from; None inside a fresh layer."""
    if not name.startswith(f"{stack_name}."):
        return name
    index, rest = name.removeprefix(f"{stack_name}.").split(".", 1)
    source = layers[int(index)]
    return None if source is None else f"{stack_name}.{source}.{rest}"


def collect_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])
