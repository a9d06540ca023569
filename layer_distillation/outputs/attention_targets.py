"""What an architecture can give to an attention loss, and how to switch it on.

TinyBERT compares attention matrices before the softmax. Stock models return them after it, and after dropout. Models
that run through transformers' attention interface can take an attention function of ours that returns the scores; the
others give probabilities (`attn_implementation="eager"`; in training after the attention dropout).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

SCORES = "scores"
PROBABILITIES = "probabilities"
ATTENTION_TARGETS = {
    "bert": SCORES,
    "camembert": SCORES,
    "distilbert": SCORES,
    "electra": SCORES,
    "ernie": SCORES,
    "eurobert": SCORES,
    "gpt2": SCORES,
    "llama": SCORES,
    "modernbert": SCORES,
    "nomic_bert": SCORES,
    "qwen3": SCORES,
    "roberta": SCORES,
    "xlm-roberta": SCORES,
    "deberta": PROBABILITIES,
    "deberta-v2": PROBABILITIES,
    "mpnet": PROBABILITIES,
    "roformer": PROBABILITIES,
}


def compute_attention_with_scores(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """Plain attention, as the stock eager functions compute it, which returns its scores instead of probabilities.

    Args:
        query: (batch, heads, tokens, head_size); key, value: the same with as many heads or a divisor of them.
        attention_mask: additive, (batch, 1, tokens, tokens), or None.

    Returns:
        The output (batch, tokens, heads, head_size) and the scores (batch, heads, tokens, tokens) before mask and
        softmax; 0 where the mask lets nothing through, so that teacher and student agree there.
    """
    if scaling is None:
        scaling = query.size(-1) ** -0.5
    groups = query.size(1) // key.size(1)  # grouped-query attention: several query heads share one key head
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(-1, -2) * scaling
    masked_scores = scores if attention_mask is None else scores + attention_mask
    probabilities = masked_scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    probabilities = F.dropout(probabilities, p=dropout, training=module.training)
    output = (probabilities @ value).transpose(1, 2).contiguous()
    if attention_mask is not None:
        scores = scores.masked_fill(attention_mask < 0, 0.0)
    return output, scores


SCORES_IMPLEMENTATION = "attention_with_scores"
AttentionInterface.register(SCORES_IMPLEMENTATION, compute_attention_with_scores)
AttentionMaskInterface.register(SCORES_IMPLEMENTATION, eager_mask)


def get_attention_target(model_type: str) -> str:
    """`scores` or `probabilities`.

    Raises:
        ValueError: the architecture returns no attention matrices that could be compared.
    """
    if model_type not in ATTENTION_TARGETS:
        raise ValueError(
            f"attention_weight > 0 needs attention matrices, and {model_type} gives none that can be compared: set "
            f"--attention_weight 0, or use one of {', '.join(sorted(ATTENTION_TARGETS))}"
        )
    return ATTENTION_TARGETS[model_type]


def switch_on_attentions(model: PreTrainedModel) -> str:
    """Makes `model` return its attention matrices; returns which kind (`scores` or `probabilities`)."""
    target = get_attention_target(model.config.model_type)
    model.set_attn_implementation(SCORES_IMPLEMENTATION if target == SCORES else "eager")
    return target
