"""Which architectures no student can be cut from, and why: by the config, so before any weights are loaded.

docs/ARCHITECTURES.md holds the verdict on every one (`benchmarks/architectures.py` writes it, a slow test keeps it).
"""

import logging
from collections.abc import Callable

from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

CHOOSE_ANOTHER = "choose a teacher with one plain stack of layers, such as bert or deberta-v2"
SCALED_BY_DEPTH = "it scales what a layer adds by the number of layers, so that none is the same in a shallower model"
SHARED_BLOCKS = "some of its layers share one block of weights, and its config lists layers by kind"
PICTURES = "it reads pictures of pages beside their text"
REFUSED_ARCHITECTURES: dict[str, str | Callable[[PreTrainedConfig], str | None]] = {
    "albert": lambda config: explain_shared_weights(config),
    "canine": "it shortens the text inside, and has hidden states of two lengths and five more of them than layers",
    "esmc": SCALED_BY_DEPTH,
    "fnet": "it mixes all tokens, padding too, and takes no attention mask: its answers depend on the batch",
    "funnel": "its layers sit in blocks of shrinking length, so they cannot be dropped one by one",
    "gpt_neo": "its config counts the layers in nested blocks (attention_types), which cannot be cut one by one",
    "layoutlmv2": PICTURES,
    "layoutlmv3": PICTURES,
    "minicpm3": SCALED_BY_DEPTH,
    "mra": "its attention is a kernel for GPUs, without which transformers computes none, and says nothing",
    "perceiver": "its blocks share their weights, and read the text into states of a length of their own",
    "reformer": "its layers are reversible: their states run in two streams, of which it shows the mean",
    "zamba": SHARED_BLOCKS,
    "zamba2": SHARED_BLOCKS,
}


def check_architecture(config: PreTrainedConfig) -> None:
    """Raises ValueError where no student can be cut from a model of this config."""
    reason = REFUSED_ARCHITECTURES.get(config.model_type)
    if callable(reason):
        reason = reason(config)
    if reason is None and config.is_encoder_decoder:
        reason = "it has an encoder and a decoder, two stacks of layers"
    if reason is None and "text_config" in config.sub_configs:
        reason = "it is a model for text and pictures, whose layers are in parts with configs of their own"
    if reason is not None:
        raise ValueError(f"cannot cut a student from model type {config.model_type!r}: {reason}; {CHOOSE_ANOTHER}")


def explain_shared_weights(config: PreTrainedConfig) -> str | None:
    """Why an ALBERT cannot be cut; None where every layer has weights of its own."""
    groups, layers = config.num_hidden_groups, config.num_hidden_layers
    if groups == layers and config.inner_group_num == 1:
        return None
    if groups == layers:
        return f"each of its {layers} layers is a group of {config.inner_group_num} (inner_group_num)"
    if groups == 1:
        return "all its layers share one set of weights, so there is no layer to choose"
    return f"its {layers} layers share {groups} sets of weights (num_hidden_groups), so none can be chosen by itself"
