"""Cuts a shallower student out of a teacher: which layers it starts from, and the model that results.

Entry: `choose_student_layers` and `check_layers_fit`, both before any weights are loaded, then `build_student`.
Teacher layers are numbered 0 ... n-1 from the input. A student that keeps every layer gives the teacher's logits bit
for bit; one that keeps some equals the teacher whose layer stack holds only these. What belongs to the encoder and not
to a layer (embeddings, final norm, the convolution that DeBERTa-v2 applies beside whichever layer comes first) stays
where it is. One exception, with a warning: a ModernBERT that does not start with its layer 0 (`fold_attention_norm`).
"""

import difflib
import logging
import random
import re
from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

# One entry per student layer: the teacher layer that it starts from, None where it starts afresh.
Layers = Sequence[int | None]

CHOOSE_ANOTHER = "choose a teacher with one plain stack of layers, such as bert or deberta-v2"
REFUSED_ARCHITECTURES = {
    "albert": "all its layers share one set of weights, so there is no layer to choose",
    "funnel": "its layers sit in blocks of shrinking length, so they cannot be dropped one by one",
    "gpt_neo": "its config counts the layers in nested blocks (attention_types), which cannot be cut one by one",
}
# By name, never by length: a list of another meaning may happen to have n entries.
PER_LAYER_CONFIG_LISTS = ("layer_types", "mlp_layer_types", "attention_window", "no_rope_layers")
# What may differ between a teacher layer and the student layer that it became: its place, and switches of training.
FREE_ATTRIBUTES = {"layer_idx", "layer_id", "training", "gradient_checkpointing", "p"}


def build_student(
    teacher: PreTrainedModel,
    layers: Layers,
    strategy: str | None = None,
    teacher_name: str | None = None,
    seed: int = 0,
) -> PreTrainedModel:
    """A new model, in eval mode, of the teacher's class, dtype, device and attention implementation.

    Fresh layers are drawn from `seed`, all else is copied; teacher and global random state stay as they were.
    `strategy` and `teacher_name` are only recorded, in `config.distillation`. Raises ValueError if it cannot be cut.
    """
    check_layers_fit(teacher.config, layers)
    stack_name, teacher_stack = find_layer_stack(teacher)
    config = cut_config(teacher.config, layers)
    teacher_name = teacher.name_or_path if teacher_name is None else teacher_name
    config.distillation = {"teacher": teacher_name, "strategy": strategy, "student_layers": list(layers)}
    student = initialise_student(teacher, config, seed)
    folded = needs_fold(config, layers)
    for index, (student_layer, source) in enumerate(zip(student.get_submodule(stack_name), layers, strict=True)):
        if source is not None and not (folded and index == 0):
            check_same_kind(teacher_stack[source], student_layer, f"{config.model_type} layer {source} -> {index}")
    copy_tensors(teacher, student, stack_name, layers)
    if folded:
        fold_attention_norm(teacher, teacher_stack[layers[0]], student.get_submodule(f"{stack_name}.0"))
    return student.eval()


def initialise_student(teacher: PreTrainedModel, config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """A freshly initialised model by the architecture's own rules, on the teacher's device; a seed gives one model."""
    # Drawn on the CPU, so that a seed means the same weights on every machine. `torch.manual_seed` would reseed the
    # GPUs too, and fork_rng is told to save none of these.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        # What AutoModel.from_config calls, without having to know which Auto class the teacher came from.
        student = type(teacher)._from_config(
            config, dtype=teacher.dtype, attn_implementation=teacher.config._attn_implementation
        )
    return student.to(teacher.device)


def copy_tensors(teacher: PreTrainedModel, student: PreTrainedModel, stack_name: str, layers: Layers) -> None:
    """Copies every parameter and buffer, the unsaved buffers too, each in its own dtype, into the student in place."""
    teacher_tensors, student_tensors = collect_tensors(teacher), collect_tensors(student)
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
            # .data: takes the teacher's dtype, and leaves ties and requires_grad as the student's class made them.
            student_tensor.data = teacher_tensors[source_name].detach().clone()


@torch.no_grad()
def fold_attention_norm(teacher: PreTrainedModel, source_layer: nn.Module, student_layer: nn.Module) -> None:
    """Moves a ModernBERT layer's attention norm into its Wqkv, for the student's first layer, which has no such norm.

    The norm is gain * (x - mean(x)) / deviation(x) + bias. Gain, centring and bias fold exactly. The deviation is one
    number per token; no stock ModernBERT can divide by it there, so an average stands in: over the vocabulary, as the
    input is an embedding. Exact where the embedding norm's gains are equal; the warning says how far off elsewhere.
    """
    norm, attention, embeddings = source_layer.attn_norm, source_layer.attn, teacher.base_model.embeddings
    embedded = embeddings.norm(embeddings.tok_embeddings.weight).double()
    inverse_deviation = (embedded.var(dim=-1, correction=0) + norm.eps).rsqrt()
    gained = attention.Wqkv.weight.double() * norm.weight.double()
    centred = gained - gained.mean(dim=-1, keepdim=True)
    student_layer.attn.Wqkv.weight.copy_(centred * inverse_deviation.mean())
    if norm.bias is not None:
        student_layer.attn.Wqkv.bias.add_((attention.Wqkv.weight.double() @ norm.bias.double()).to(norm.bias.dtype))
    logger.warning(
        "ModernBERT's first layer has no attention norm: that of teacher layer %d, now first, was folded into weights, "
        "all but a scale per token, off by %.1f%% (deviation over the vocabulary); for an exact cut keep layer 0 first",
        source_layer.layer_idx,
        100 * (inverse_deviation.std(correction=0) / inverse_deviation.mean()).item(),
    )


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
    if reason := REFUSED_ARCHITECTURES.get(config.model_type):
        raise ValueError(f"cannot cut a student from model type {config.model_type!r}: {reason}; {CHOOSE_ANOTHER}")
    try:
        return config.num_hidden_layers
    except AttributeError:
        raise ValueError(f"model type {config.model_type!r} has no num_hidden_layers; {CHOOSE_ANOTHER}") from None


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


def check_layers_fit(config: PreTrainedConfig, layers: Layers) -> None:
    """Raises ValueError where the architecture cannot hold these layers at these places, judged from the config."""
    check_layer_list([0 if source is None else source for source in layers], get_num_layers(config))
    if config.model_type == "modernbert" and 0 in layers[1:]:
        raise ValueError(
            f"got layers {list(layers)}, but ModernBERT's layer 0 alone has no attention norm and a saved student has "
            "one in every later layer; put layer 0 first, once, or leave it out"
        )
    if needs_fold(config, layers) and config.norm_bias and not config.attention_bias:
        raise ValueError(
            f"got layers {list(layers)} of a ModernBERT with norm_bias but no attention_bias: its first layer cannot "
            "take over the attention norm's bias; keep layer 0 first"
        )


def check_same_kind(teacher_layer: nn.Module, student_layer: nn.Module, label: str) -> None:
    """Raises ValueError if the class built the student's layer unlike its source: then the cut would not be exact."""
    teacher_traits, student_traits = describe_layer(teacher_layer), describe_layer(student_layer)
    if teacher_traits != student_traits:
        differing = sorted({name for name, _ in teacher_traits.items() ^ student_traits.items()})
        raise ValueError(
            f"{label}: the architecture builds the layer otherwise at its new place ({', '.join(differing)} differ); "
            "keep this layer at its own place, or choose another teacher"
        )


def cut_config(config: PreTrainedConfig, layers: Layers) -> PreTrainedConfig:
    """A copy of the config with one entry per student layer in each per-layer list; fresh layers take their place's."""
    # Through the dict that is saved: the student built now is then the student that a reload builds.
    values = config.to_dict()
    values[config.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = len(layers)
    sources = [index % config.num_hidden_layers if source is None else source for index, source in enumerate(layers)]
    for name in PER_LAYER_CONFIG_LISTS:
        if isinstance(values.get(name), list):
            values[name] = [values[name][source] for source in sources]
    return type(config).from_dict(values)


def needs_fold(config: PreTrainedConfig, layers: Layers) -> bool:
    """Whether a later ModernBERT layer comes first, where the class builds no attention norm."""
    return config.model_type == "modernbert" and layers[0] not in (None, 0)


def map_tensor_name(name: str, stack_name: str, layers: Layers) -> str | None:
    """The teacher's name of the tensor that a student's tensor is copied from; None inside a fresh layer."""
    if not name.startswith(f"{stack_name}."):
        return name
    index, rest = name.removeprefix(f"{stack_name}.").split(".", 1)
    source = layers[int(index)]
    return None if source is None else f"{stack_name}.{source}.{rest}"


def collect_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])


def describe_layer(layer: nn.Module) -> dict[str, object]:
    """Each submodule's class, and its plain attributes (window, scale, attention type, ...), by dotted name."""
    traits: dict[str, object] = {}
    for name, module in layer.named_modules():
        traits[f"{name}.class"] = type(module)
        for key, value in vars(module).items():
            if isinstance(value, (bool, int, float, str)) and not key.startswith("_") and key not in FREE_ATTRIBUTES:
                traits[f"{name}.{key}"] = value
    return traits


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
