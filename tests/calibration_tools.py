"""What the tests of layers chosen by data look at."""

import torch
from torch import nn
from transformers import PreTrainedModel

from conftest import make_rows, pad_rows


def make_batches(num_batches: int = 3, length: int | None = None) -> list[dict[str, torch.Tensor]]:
    """Padded model inputs of 8 rows each, of lengths 3 to 12."""
    batches = [pad_rows(make_rows(8, seed=seed), length) for seed in range(num_batches)]
    return [{name: batch[name] for name in ("input_ids", "attention_mask")} for batch in batches]


def make_idle(teacher: PreTrainedModel, layer: int) -> PreTrainedModel:
    """The teacher with a layer that hands on what it gets: both its blocks add nothing, its norms have no effect."""
    block = teacher.bert.encoder.layer[layer]
    for projection in (block.attention.output.dense, block.output.dense):
        nn.init.zeros_(projection.weight)
        nn.init.zeros_(projection.bias)
    return teacher
