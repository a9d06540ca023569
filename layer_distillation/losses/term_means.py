"""What the terms of the loss were on average, for the log."""

from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class TermMeans:
    """Sums of the unweighted terms since the last log, on the device: reading one would make every step wait."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.num_steps: Counter[str] = Counter()  # in which a term counted
        self._counted: set[str] = set()

    def begin_step(self) -> None:
        self._counted.clear()

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + term.detach()
        self.num_steps.update(terms.keys() - self._counted)
        self._counted |= terms.keys()

    def pop_means(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """`<term>_loss` -> mean over its steps, `reduce` being the mean over processes; starts anew."""
        if not self.sums:  # no term counted
            return {}
        sums = reduce(torch.stack(list(self.sums.values()))).tolist()
        means = {f"{name}_loss": total / self.num_steps[name] for name, total in zip(self.sums, sums, strict=True)}
        self.sums, self.num_steps = {}, Counter()
        return means
