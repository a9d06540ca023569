"""An encoder that answers with one vector a text: its own class with a forward pass that pools.

The class is made of the encoder's (`PooledBertModel` of `BertModel`), so that all that works on the encoder works on
it: cutting layers, attention implementations, checkpoints. Its tensors have the encoder's names; dense layers of its
own stand in `sentence_dense`. Entry: `make_pooled_class`; `save_pooled` writes a folder of sentence-transformers.
"""

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from layer_distillation.embedding.folders import drop_paths, write_modules
from layer_distillation.embedding.modules import CONFIG_KEY, NORMALIZE, get_modules
from layer_distillation.embedding.pooling import pool_states

CLASS_PREFIX = "Pooled"
DENSE_NAME = "sentence_dense"


@dataclass
class PooledOutput(ModelOutput):
    """logits: (batch, width), the vectors; the rest as the encoder gives it."""

    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class SentenceDense(nn.Module):
    """A dense layer behind the pooling, in float32 as the pooled vectors are."""

    def __init__(self, in_features: int, out_features: int, bias: bool, activation: str, **_: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.activation = getattr(nn, activation)()

    def forward(self, vectors: Tensor) -> Tensor:
        bias = None if self.linear.bias is None else self.linear.bias.float()
        return self.activation(F.linear(vectors, self.linear.weight.float(), bias))  # they may be saved in half of it


@cache
def make_pooled_class(encoder_class: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The encoder's class, whose forward pass pools as `config.sentence_modules` says."""

    def __init__(self: PreTrainedModel, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        encoder_class.__init__(self, config, *args, **kwargs)
        modules = get_modules(config)
        if not modules.has_pooler:
            self.pooler = None
        elif self._modules.get("pooler") is not None:  # nothing reads it: DistributedDataParallel would wait for it
            self.pooler.requires_grad_(False)
        # Not a ModuleList: that is what a stack of layers is known by.
        if modules.dense:
            self.add_module(DENSE_NAME, nn.Sequential(*(SentenceDense(**step) for step in modules.dense)))

    @functools.wraps(encoder_class.forward)
    def forward(
        self: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any
    ) -> PooledOutput:
        inputs["return_dict"] = True
        outputs = encoder_class.forward(self, input_ids=input_ids, attention_mask=attention_mask, **inputs)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return PooledOutput(
            logits=compute_vectors(self, outputs.last_hidden_state, mask),
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )

    body = {"__init__": __init__, "forward": forward, "encoder_class": encoder_class, "__module__": __name__}
    return type(f"{CLASS_PREFIX}{encoder_class.__name__}", (encoder_class,), body)


def compute_vectors(model: PreTrainedModel, states: Tensor, mask: Tensor) -> Tensor:
    """(batch, tokens, hidden) -> (batch, width): pooled, then through what else the model's modules are."""
    modules = get_modules(model.config)
    vectors = pool_states(states, mask, modules.pooling)
    with torch.autocast(states.device.type, enabled=False):
        dense = iter(list_dense(model))
        for step in modules.steps:
            vectors = F.normalize(vectors, dim=-1) if step["name"] == NORMALIZE else next(dense)(vectors)
    return vectors


def list_dense(model: PreTrainedModel) -> Sequence[SentenceDense]:
    return list(model.get_submodule(DENSE_NAME)) if get_modules(model.config).dense else []


def is_pooled(model: PreTrainedModel) -> bool:
    return get_modules(model.config) is not None


# ---- what a user gets --------------------------------------------------------------------------------------------


def take_encoder(model: PreTrainedModel) -> PreTrainedModel:
    """The plain encoder, of its own class, which shares the model's weights."""
    encoder = copy.copy(model)
    encoder.__class__ = type(model).encoder_class
    encoder._modules = {name: module for name, module in model._modules.items() if name != DENSE_NAME}
    encoder.config = copy.deepcopy(model.config)
    delattr(encoder.config, CONFIG_KEY)
    return encoder


def save_pooled(model: PreTrainedModel, folder: Path) -> None:
    """A folder that `SentenceTransformer` loads, with this model's vectors, and `AutoModel`, as the encoder."""
    encoder, dense = take_encoder(model), list_dense(model)
    encoder.save_pretrained(folder)

    def write_dense(number: int, own: Path) -> None:
        tensors = {name: tensor.contiguous() for name, tensor in dense[number].state_dict().items()}
        save_file(tensors, own / "model.safetensors", metadata={"format": "pt"})

    write_modules(drop_paths(get_modules(model.config)), model.config, folder, write_dense)
