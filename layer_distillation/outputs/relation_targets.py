"""The queries, keys and values of one layer, which the relation term compares.

Every architecture names its projections differently, and some fuse them; what passes through transformers' attention
interface is the same everywhere. An attention function of ours takes it there, behind the rotary positions where there
are any, and calls the stock one: no output changes. Entry: `switch_on_relations`, then `record_relations`.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import eager_mask, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from layer_distillation.outputs.attention_targets import ATTENTION_TARGETS, SCORES, compute_attention_with_scores

RELATION_MODEL_TYPES = tuple(sorted(name for name, target in ATTENTION_TARGETS.items() if target == SCORES))
OWN_HEAD_SIZE = frozenset({"eurobert", "llama", "qwen3"})  # all heads together may be wider than the hidden states


@dataclass
class RelationRecorder:
    """What one forward pass left: layer -> (batch, 3, tokens, width). Every layer calls the attention function once."""

    wanted_layers: Collection[int]
    num_calls: int = 0
    states: dict[int, Tensor] = field(default_factory=dict)

    def record(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Counts a layer, and keeps its states (batch, heads, tokens, head_size) if they are wanted."""
        if self.num_calls in self.wanted_layers:
            self.states[self.num_calls] = join_heads(query, key, value)
        self.num_calls += 1


_recorder: ContextVar[RelationRecorder | None] = ContextVar("relation_recorder", default=None)


@contextmanager
def record_relations(layers: Collection[int]) -> Iterator[RelationRecorder]:
    """Keeps the queries, keys and values of these layers of the one forward pass inside."""
    token = _recorder.set(RelationRecorder(layers))
    try:
        yield _recorder.get()
    finally:
        _recorder.reset(token)


def join_heads(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(batch, heads, tokens, head_size) three times -> (batch, 3, tokens, heads * head_size)."""
    groups = query.size(1) // key.size(1)  # grouped-query attention: several query heads share one key head
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    return torch.stack([query, key, value], dim=1).transpose(2, 3).flatten(3)


def attend_recording(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: object
) -> tuple[Tensor, Tensor | None]:
    """What the name "sdpa" stands for."""
    if recorder := _recorder.get():
        recorder.record(query, key, value)
    return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **kwargs)


def attend_recording_scores(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: object
) -> tuple[Tensor, Tensor]:
    """Attention that returns its scores, where the attention term is on too."""
    if recorder := _recorder.get():
        recorder.record(query, key, value)
    return compute_attention_with_scores(module, query, key, value, attention_mask, **kwargs)


RECORDING, RECORDING_SCORES = "attention_with_relations", "attention_with_scores_and_relations"
AttentionInterface.register(RECORDING, attend_recording)
AttentionMaskInterface.register(RECORDING, sdpa_mask)
AttentionInterface.register(RECORDING_SCORES, attend_recording_scores)
AttentionMaskInterface.register(RECORDING_SCORES, eager_mask)


def switch_on_relations(model: PreTrainedModel, with_scores: bool) -> None:
    """Lets `record_relations` see the model's attention; `with_scores`: its attention scores are wanted too."""
    model.set_attn_implementation(RECORDING_SCORES if with_scores else RECORDING)


def get_relation_width(config: PreTrainedConfig) -> int:
    """Width of all query heads together.

    Raises:
        ValueError: the architecture's attention does not pass through transformers' attention interface.
    """
    if config.model_type not in RELATION_MODEL_TYPES:
        raise ValueError(
            f"relation_weight > 0 needs queries, keys and values, and {config.model_type} does not show them: set "
            f"--relation_weight 0, or use one of {', '.join(RELATION_MODEL_TYPES)}"
        )
    return config.num_attention_heads * config.head_dim if config.model_type in OWN_HEAD_SIZE else config.hidden_size


def resolve_relation_layer(relation_layer: int | None, teacher_num_layers: int) -> int:
    """The teacher layer whose relations are imitated; raises ValueError if it has no such layer."""
    layer = teacher_num_layers - 1 if relation_layer is None else relation_layer
    if not 0 <= layer < teacher_num_layers:
        raise ValueError(f"--relation_layer is {layer}: the teacher has the layers 0 to {teacher_num_layers - 1}")
    return layer


def check_relation_heads(relation_heads: int, widths: Sequence[int]) -> None:
    """Raises ValueError unless the widths can all be cut into so many relation heads."""
    common = math.gcd(*widths)
    if relation_heads < 1 or common % relation_heads:
        valid = [str(heads) for heads in range(1, common + 1) if common % heads == 0]
        raise ValueError(
            f"--relation_heads is {relation_heads} and has to divide the width "
            f"{' and '.join(str(width) for width in dict.fromkeys(widths))}: take one of {', '.join(valid)}"
        )
