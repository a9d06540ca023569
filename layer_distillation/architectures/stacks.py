"""Where a model's layers are, how many its config counts, and whether a layer is the same at another place."""

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from layer_distillation.architectures.refusals import CHOOSE_ANOTHER, check_architecture

# What may differ between a teacher layer and the student layer that it became: its place, and switches of training.
FREE_ATTRIBUTES = {"layer_idx", "layer_id", "training", "gradient_checkpointing", "p"}
FREE_ATTRIBUTES |= {"seed"}  # of the blocks that a BigBird layer draws in training
MAX_SHOWN = 3


def find_layer_stack(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The name and the module of the one ModuleList with as many entries as the config has layers."""
    num_layers = get_num_layers(model.config)
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    stacks = [(name, module) for name, module in lists if len(module) == num_layers]
    if len(stacks) != 1:
        raise ValueError(
            f"got {type(model).__name__} (model type {model.config.model_type!r}) with "
            f"{[name for name, _ in stacks] or 'no list'} of {num_layers} layers, need exactly one such ModuleList; "
            f"{CHOOSE_ANOTHER}"
        )
    return stacks[0]


def get_num_layers(config: PreTrainedConfig) -> int:
    """The config's number of layers, whatever it calls it. Raises ValueError where students cannot be cut from it."""
    check_architecture(config)
    try:
        return config.num_hidden_layers
    except AttributeError:
        raise ValueError(f"model type {config.model_type!r} has no num_hidden_layers; {CHOOSE_ANOTHER}") from None


def check_same_kind(teacher_layer: nn.Module, student_layer: nn.Module, label: str) -> None:
    """Raises ValueError if the class built the student's layer unlike its source: then the cut would not be exact."""
    teacher_traits, student_traits = describe_layer(teacher_layer), describe_layer(student_layer)
    if teacher_traits != student_traits:
        differing = sorted({name for name, _ in teacher_traits.items() ^ student_traits.items()})
        shown = ", ".join(differing[:MAX_SHOWN]) + (" and more" if len(differing) > MAX_SHOWN else "")
        raise ValueError(
            f"{label}: the architecture builds the layer otherwise at its new place ({shown} differ); "
            "keep this layer at its own place, or choose another teacher"
        )


def describe_layer(layer: nn.Module) -> dict[str, object]:
    """Each submodule's class, and its plain attributes (window, scale, attention type, ...), by dotted name."""
    traits: dict[str, object] = {}
    for name, module in layer.named_modules():
        traits[f"{name}.class"] = type(module)
        for key, value in vars(module).items():
            if isinstance(value, (bool, int, float, str)) and not key.startswith("_") and key not in FREE_ATTRIBUTES:
                traits[f"{name}.{key}"] = value
    return traits
