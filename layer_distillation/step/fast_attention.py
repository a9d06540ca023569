"""Attention on a processor while a model trains: products in the model's own precision, dropout from few random bits.

torch has no fused attention with dropout for a processor. It goes by the plain formula there, in float32 even where the
model computes in bfloat16, and draws one Bernoulli variate per pair of tokens. Here scores are rounded to the model's
precision before the softmax, as in its eager attention: in bfloat16 an output is off by 0.4 to 1.2 %, by the size of
the scores, where the stock function's is off by 0.15 %. Entry: `attend_fast`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from layer_distillation.step.fast_dropout import VALUES, draw_kept

LEFT_TO_STOCK = ("position_bias", "cache", "softcap")
LOWEST = torch.finfo(torch.float32).min  # not -inf: a query that sees nothing must not become nan


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The stock function's output but for rounding and the drawn numbers; without dropout that function itself.

    Args:
        query, key, value: (batch, heads, tokens, head size).
        attention_mask: (batch, 1 or heads, tokens, tokens) of bool, true where a query sees a key; None: all of them.

    Returns:
        (batch, tokens, heads, head size), and None in place of the probabilities.
    """
    num_dropped = round(dropout * VALUES)
    is_plain = key.shape == query.shape and all(kwargs.get(name) is None for name in LEFT_TO_STOCK)
    sees_all = attention_mask is None and not (getattr(module, "is_causal", True) if is_causal is None else is_causal)
    is_masked = attention_mask is not None and attention_mask.dtype == torch.bool
    if query.device.type != "cpu" or not 0 < num_dropped < VALUES or not is_plain or not (sees_all or is_masked):
        options = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **kwargs}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scale = query.size(-1) ** -0.5 if scaling is None else scaling
    scores = (query * scale @ key.transpose(-1, -2)).float()
    if is_masked:
        scores = scores.masked_fill(~attention_mask, LOWEST)
    probabilities = scores.softmax(dim=-1).to(value.dtype)
    kept = probabilities * draw_kept(probabilities, num_dropped).to(value.dtype)
    output = kept @ value * (VALUES / (VALUES - num_dropped))
    return output.transpose(1, 2).contiguous(), None


@contextmanager
def attend_fast() -> Iterator[None]:
    """Inside, models that attend by "sdpa" do so by `attend`, unless the name stands for another function already."""
    if ALL_ATTENTION_FUNCTIONS["sdpa"] is not sdpa_attention_forward:
        yield
        return
    ALL_ATTENTION_FUNCTIONS["sdpa"] = attend
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = sdpa_attention_forward
