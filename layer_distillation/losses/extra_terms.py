"""A user's own terms of the loss: `extra_terms={"contrast": (0.5, function)}` of the trainer.

    def function(batch: ComparedBatch) -> Tensor: ...

A function gets one micro-batch, and returns the mean of its term over that batch's rows, unweighted, as a scalar. The
trainer weights it by the batch's share of all rows, so that accumulation and processes add up to the mean over all of
them. A term that compares rows with each other compares those of one micro-batch on one process. A third entry names
the built-in terms whose states it reads: (0.5, function, ("hidden",)). It counts in every stage, with or without a
teacher, and is logged as `contrast_loss`.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from layer_distillation.losses.flags import INTERMEDIATE_TERMS, TERM_NAMES

if TYPE_CHECKING:
    from layer_distillation.losses.terms import ComparedBatch

OwnLoss = Callable[..., Tensor]  # (model outputs, labels, num_items_in_batch), as `compute_loss_func` of the Trainer
TAKEN_NAMES = ("train", "eval", "test")  # <name>_loss is the Trainer's own


class ExtraTerm(NamedTuple):
    """Its weight, how it is computed, and the terms whose compared states it reads too."""

    weight: float
    function: "Callable[[ComparedBatch], Tensor]"
    needs: Collection[str] = ()


def read_extra_terms(given: Mapping[str, Sequence[Any]] | None, has_teacher: bool) -> dict[str, ExtraTerm]:
    """What the user gave, checked; raises ValueError for a name, a weight or a form that cannot be meant."""
    terms: dict[str, ExtraTerm] = {}
    for name, entry in (given or {}).items():
        check_name(name)
        if not isinstance(entry, (tuple, list)) or len(entry) not in (2, 3) or not callable(entry[1]):
            raise ValueError(f"extra_terms[{name!r}] is {entry!r}: give (weight, function), such as (0.5, contrast)")
        term = ExtraTerm(*entry)
        check_weight(name, term.weight)
        check_needs(name, term.needs, has_teacher)
        terms[name] = term
    return terms


def check_name(name: str) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"extra_terms names {name!r}: take a word, it is logged as <name>_loss")
    if name in (*TERM_NAMES, *TAKEN_NAMES):
        raise ValueError(f"extra_terms names {name!r}, and {name}_loss is logged already: take another name")


def check_weight(name: str, weight: Any) -> None:
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not is_number or not 0 <= weight < math.inf:
        raise ValueError(f"the weight of extra_terms[{name!r}] is {weight!r}: a weight is a number, at least 0")


def check_needs(name: str, needs: Any, has_teacher: bool) -> None:
    unknown = [need for need in needs if need not in INTERMEDIATE_TERMS] if isinstance(needs, (tuple, list)) else needs
    if unknown:
        raise ValueError(
            f"extra_terms[{name!r}] is to read {unknown!r}: name terms whose states it compares, a tuple of "
            f"{', '.join(INTERMEDIATE_TERMS)}"
        )
    if needs and not has_teacher:
        raise ValueError(f"extra_terms[{name!r}] reads states that are matched with a teacher's: give a teacher")


def list_compared(weights: Mapping[str, float], terms: Mapping[str, ExtraTerm]) -> dict[str, float]:
    """The terms that are on, and those whose states the user's own read."""
    needed = {need: 1.0 for name in terms.keys() & weights.keys() for need in terms[name].needs}
    return {**needed, **weights}


def compute_extra_term(name: str, term: ExtraTerm, batch: "ComparedBatch") -> Tensor:
    """This micro-batch's share of the mean over all rows; raises ValueError where the function gives no scalar."""
    value = term.function(batch)
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(
            f"extra_terms[{name!r}] returned {got}: return a tensor without dimensions, the mean over the batch's rows"
        )
    return value.float() * (len(batch.student.logits) / batch.counts["rows"])
