"""Which lines of Python make the processor wait for a GPU, and how often.

    with count_waits(device) as waits:
        trainer.train()
    waits.most_common()  # [("distill_trainer.py:123", 8), ...]

On a GPU CUDA itself says where. On a processor nothing waits, but the operations that would are the same: those that
read a value, or whose result has a size that depends on values. So a test finds them where there is no GPU; copies
from the processor's memory, which wait too, are seen by CUDA alone.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

WAITING_NAMES = frozenset({"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "bincount"})
INDEXING_NAMES = frozenset({"index", "index_put", "index_put_"})  # by a mask: its True places are counted first
TORCH = str(Path(torch.__file__).parent)


@contextmanager
def count_waits(device: torch.device) -> Iterator[Counter[str]]:
    """How often each place, `file.py:line` of the innermost frame outside of torch, waited."""
    with WaitCounter() if device.type == "cpu" else CudaWaitCounter() as counter:
        yield counter.places


def list_per_step(waits: Counter[str], num_steps: int) -> dict[str, float]:
    """Those places that wait at every step, or more often: waits per step."""
    return {place: count / num_steps for place, count in waits.most_common() if count >= num_steps}


class WaitCounter(TorchDispatchMode):
    """Sees every operation, of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operation: Any, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if makes_wait(operation.overloadpacket.__name__, args):
            self.places[find_place()] += 1
        return operation(*args, **(kwargs or {}))


def makes_wait(name: str, args: Sequence[Any]) -> bool:
    if name not in INDEXING_NAMES:
        return name in WAITING_NAMES
    return any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])


class CudaWaitCounter:
    """Counts CUDA's own warnings; whatever shows warnings otherwise gets the others."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()

    def __enter__(self) -> "CudaWaitCounter":
        self._mode, self._show = torch.cuda.get_sync_debug_mode(), warnings.showwarning
        self._filters = warnings.catch_warnings()
        self._filters.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._note
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *_: object) -> None:
        torch.cuda.set_sync_debug_mode(self._mode)
        self._filters.__exit__(*_)

    def _note(self, message: Any, *args: Any, **kwargs: Any) -> None:
        if "synchronizing" in str(message):
            self.places[find_place()] += 1
        else:
            self._show(message, *args, **kwargs)


def find_place() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((TORCH, __file__, warnings.__file__)):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return f"{path.name}:{frame.f_lineno}"
