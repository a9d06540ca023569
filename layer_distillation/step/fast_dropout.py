"""Dropout on a processor from 16 random bits per element: the same distribution, a seventh of its random numbers' cost.

torch draws one variate of a Bernoulli distribution per element, which is a seventh of a step of a small BERT in bf16.
One random 64-bit integer decides for four elements here. Entry: `draw_dropout_fast`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

VALUES = 2**16  # of 16 bits; the probability is rounded to so many parts of one, which moves it by at most 1 / 131072
ELEMENTS_PER_DRAW = 4


class FastDropout(nn.Dropout):
    """`nn.Dropout` with another source of randomness: torch's default generator still, but fewer draws from it."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape -> the same; elements are zero with probability p, the others divided by 1 - p."""
        num_dropped = round(self.p * VALUES)
        if not self.training or self.inplace or input.device.type != "cpu" or not 0 < num_dropped < VALUES:
            return super().forward(input)
        return input * draw_noise(input, num_dropped)


def draw_noise(like: Tensor, num_dropped: int) -> Tensor:
    """A factor per element: 0 with probability `num_dropped` / 65536, else what keeps the mean."""
    return draw_kept(like, num_dropped).to(like.dtype).mul_(VALUES / (VALUES - num_dropped))


def draw_kept(like: Tensor, num_dropped: int) -> Tensor:
    """A bool per element, false with probability `num_dropped` / 65536. Its bits are whole random integers, every one
    of the 2^64 as likely as any other."""
    draws = torch.empty(-(-like.numel() // ELEMENTS_PER_DRAW), dtype=torch.int64, device=like.device)
    draws.random_(-(2**63), None)
    values = draws.view(torch.int16)[: like.numel()].view(like.shape)
    return values >= num_dropped - VALUES // 2


@contextmanager
def draw_dropout_fast(model: nn.Module) -> Iterator[None]:
    """Inside, the model's plain dropouts are fast ones; it has its own afterwards. Names and weights stay as they are.

    Dropout of attention probabilities is inside the attention function: `step/fast_attention.py`.
    """
    plain = [module for module in model.modules() if type(module) is nn.Dropout]
    for module in plain:
        module.__class__ = FastDropout
    try:
        yield
    finally:
        for module in plain:
            module.__class__ = nn.Dropout
