"""Token states to one vector a text: pure functions, in float32 whatever the precision of the model.

They are those of sentence-transformers' Pooling, so that vectors are equal; padding may be on either side. Entry:
`pool_states`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SMALLEST_COUNT = 1e-9


def pool_mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over each row's real tokens."""
    return sum_real(states, mask) / count_real(mask)


def pool_by_root(states: Tensor, mask: Tensor) -> Tensor:
    """Their sum over the root of their number."""
    return sum_real(states, mask) / count_real(mask).sqrt()


def pool_first(states: Tensor, mask: Tensor) -> Tensor:
    """The first real token's, [CLS] in most encoders."""
    return pick_tokens(states, mask.long().argmax(dim=1))


def pool_last(states: Tensor, mask: Tensor) -> Tensor:
    """The last real token's, the only one of a decoder that has seen the whole text."""
    return pick_tokens(states, mask.size(1) - 1 - mask.long().flip(1).argmax(dim=1))


def pool_weighted(states: Tensor, mask: Tensor) -> Tensor:
    """The mean, the n-th real token of a row counting n times."""
    return pool_mean(states, mask.long().cumsum(dim=1) * mask)


def pool_largest(states: Tensor, mask: Tensor) -> Tensor:
    """Of every dimension its largest value over the real tokens."""
    return states.masked_fill(~mask.bool()[..., None], -torch.inf).amax(dim=1)


def sum_real(states: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("bth,bt->bh", states, weights.to(states.dtype))


def count_real(weights: Tensor) -> Tensor:
    return weights.sum(dim=1, keepdim=True).float().clamp(min=SMALLEST_COUNT)


def pick_tokens(states: Tensor, places: Tensor) -> Tensor:
    return states[torch.arange(places.size(0), device=places.device), places]


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": pool_mean,
    "cls": pool_first,
    "lasttoken": pool_last,
    "weightedmean": pool_weighted,
    "max": pool_largest,
    "mean_sqrt_len_tokens": pool_by_root,
}


def pool_states(states: Tensor, mask: Tensor, pooling: Sequence[str]) -> Tensor:
    """(batch, tokens, hidden) and (batch, tokens) -> (batch, hidden), of several ways joined one after the other."""
    with torch.autocast(states.device.type, enabled=False):
        return torch.cat([POOLINGS[name](states.float(), mask) for name in pooling], dim=-1)
