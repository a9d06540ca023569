"""Layer-wise decay of the learning rate: the nearer to the input, where an encoder is most general, the lower.

Entry: `LayerDecayTrainer`; `count_decays` says how often the rate of each parameter is multiplied by the decay.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from distill_trainer import DistillationTrainer
from layer_distillation.architectures.stacks import find_layer_stack

ABOVE_THE_LAYERS = {"pooler", "final_layer_norm"}  # which nomic_bert, gte and opt register before them


class LayerDecayTrainer(DistillationTrainer):
    """Head, pooler and final norm learn at the full rate, each layer at `layer_decay` times that of the one above it,
    the embeddings one step below the first layer."""

    def __init__(self, layer_decay: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer_decay = layer_decay

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The stock one, its groups split by depth: which parameters have weight decay stays the Trainer's choice."""
        if self.optimizer is None:
            super().create_optimizer(model)
            split_groups(self.optimizer, self.model, self.layer_decay)
        return self.optimizer


def split_groups(optimizer: torch.optim.Optimizer, model: PreTrainedModel, layer_decay: float) -> None:
    """Splits each group of a new optimizer by depth, in place; the head's come first, whose rate is what is logged."""
    decays = count_decays(model)
    by_parameter = {parameter: decays[name] for name, parameter in model.named_parameters()}
    groups: dict[tuple[int, int], dict[str, Any]] = {}
    for index, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            exponent = by_parameter[parameter]
            own = group | {"lr": group["lr"] * layer_decay**exponent, "params": []}
            groups.setdefault((exponent, index), own)["params"].append(parameter)
    optimizer.param_groups[:] = [groups[key] for key in sorted(groups)]


def count_decays(model: PreTrainedModel) -> dict[str, int]:
    """Name of every parameter -> 0 for the head, 1 for the last layer, n for the first of n, n + 1 for the embeddings.

    Outside the backbone, the module that holds the layers, all is head. In it, embeddings (tables of relative positions
    too, which serve all layers) and what is registered before the layers count as embeddings, the rest as head. Held
    against all architectures of transformers 5.23 that can be cut.

    Raises:
        ValueError: the model has no single stack of layers.
    """
    stack_name, stack = find_layer_stack(model)
    backbone, prefix = stack_name.split(".")[0] + ".", stack_name + "."
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    in_tables = {parameter for table in tables for parameter in table.parameters(recurse=False)}
    decays, is_reached = {}, False
    for name, parameter in model.named_parameters():
        if name.startswith(prefix):
            is_reached = True
            decays[name] = len(stack) - int(name.removeprefix(prefix).split(".")[0])
        else:
            is_first = not is_reached and ABOVE_THE_LAYERS.isdisjoint(name.split("."))
            is_below = name.startswith(backbone) and (parameter in in_tables or is_first)
            decays[name] = len(stack) + 1 if is_below else 0
    return decays
