"""The logits of a model by its class alone, and whether two models' are the same but for rounding.

What checks a saved or restored student looks at these: training may have put autocast around its `forward`.
"""

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

# Of the largest logit. float32: another attention kernel, another machine; the others: their last bits, over layers.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def read_logits(outputs: ModelOutput) -> Tensor:
    """A head's output; of one for answer spans start and end as the two outputs of every token: (batch, tokens, 2)."""
    if "start_logits" in outputs:
        return torch.stack([outputs["start_logits"], outputs["end_logits"]], dim=-1)
    return outputs["logits"]


@torch.no_grad()
def compute_plain_logits(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """(batch, ...), float32 and on the CPU, in eval mode, of those inputs that the model takes; its mode stays."""
    names = inspect.signature(type(model).forward).parameters
    taken = {name: tensor.to(model.device) for name, tensor in inputs.items() if name in names}
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(model.device.type, enabled=False):
            return read_logits(type(model).forward(model, **taken, return_dict=True)).float().cpu()
    finally:
        model.train(was_training)


def describe_difference(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> str | None:
    """None where both are the same but for what computing in `dtype` explains; else how far apart they are."""
    if found.shape != wanted.shape:
        return f"are {list(found.shape)} where {list(wanted.shape)} were expected"
    largest, tolerance = wanted.abs().max().item(), TOLERANCES.get(dtype, TOLERANCES[torch.float32])
    difference = (found - wanted).abs().max().item()
    if difference <= tolerance * max(largest, 1.0):  # false for nan
        return None
    return f"differ by {difference:.3g} where the largest is {largest:.3g} (rounding explains {tolerance:g} of that)"
