"""In which type a student's weights are held: float32 while it trains, unless the user says otherwise.

transformers 5 loads a checkpoint in its stored type. A weight in bfloat16 has 8 bits: an update below 1/256 of it is
rounded away, and the student hardly moves (MiniLM, 600 rows, one epoch: 0.1 % of the norms' gains, accuracy 0.685 for
0.753). Computing in bfloat16 (`--bf16`) is another thing: there the weights stay float32. Entry: `hold_weights_in`.
"""

import logging

import torch
from torch import nn

logger = logging.getLogger(__name__)

WEIGHT_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def hold_weights_in(model: nn.Module, name: str) -> None:
    """Brings every floating weight of `model`, in place, into the type of this name, and says so where that is new."""
    dtype = WEIGHT_TYPES[name]
    others = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()} - {dtype}
    if not others:
        return
    logger.info("the student's weights are held in %s now (they were in %s)", dtype, ", ".join(map(str, others)))
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    for buffer in model.buffers():
        if buffer.is_floating_point():  # never less precise: rotary frequencies are float32 in a bfloat16 model too
            buffer.data = buffer.data.to(torch.promote_types(buffer.dtype, dtype))
