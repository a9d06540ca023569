"""Attention masks made without reading them, where that would make a GPU wait.

Stock makes none where a batch has no padding, and to know that it reads the batch's mask, in every forward pass
(transformers 5.23, `_ignore_bidirectional_mask_sdpa`): the processor then waits until the GPU has done all that was
asked of it so far. Here every batch with a mask is given one; what attention computes is the same. Entry:
`make_masks_unread`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask, sdpa_mask


def make_unread(stock: Callable, *args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """The stock function's mask, also where it would find that none is needed; None where the batch says so itself."""
    if attention_mask is not None:
        kwargs |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return stock(*args, attention_mask=attention_mask, **kwargs)


UNREAD = {stock: partial(make_unread, stock) for stock in (sdpa_mask, eager_mask)}


@contextmanager
def make_masks_unread(device: torch.device) -> Iterator[None]:
    """Inside, every attention whose masks the two stock functions make gets unread ones. A processor reads its own
    memory: there attention without a mask is worth the look."""
    stock = {name: make for name, make in ALL_MASK_ATTENTION_FUNCTIONS.items() if make in UNREAD}
    stock = {} if device.type == "cpu" else stock
    ALL_MASK_ATTENTION_FUNCTIONS.update({name: UNREAD[make] for name, make in stock.items()})
    try:
        yield
    finally:
        ALL_MASK_ATTENTION_FUNCTIONS.update(stock)
