"""ModernBERT's first layer, which alone has no attention norm: what may stand there, and how another layer gets there.

Entry: `check_first_layer` and `needs_fold` by the config, `fold_attention_norm` with the weights.
"""

import logging
from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)


def needs_fold(config: PreTrainedConfig, layers: Sequence[int | None]) -> bool:
    """Whether a later ModernBERT layer comes first, where the class builds no attention norm."""
    return config.model_type == "modernbert" and layers[0] not in (None, 0)


def check_first_layer(config: PreTrainedConfig, layers: Sequence[int | None]) -> None:
    """Raises ValueError where layer 0 comes later, or a norm's bias has nowhere to go."""
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
