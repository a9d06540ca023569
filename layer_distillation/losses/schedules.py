"""Values of the loss that change while it trains: `--schedules hidden_weight=cosine:0,pkd_weight=cosine:0`.

A schedule leads from the value of the flag itself to the end it names. It is a pure function of the share of steps
that are done, so that a resumed run and every process go through the same values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda progress: progress,
    "cosine": lambda progress: (1 - math.cos(math.pi * progress)) / 2,
}


class Schedule(NamedTuple):
    """How a value changes, a key of `SHAPES`, and the value that it tends to."""

    shape: str
    end: float


@lru_cache  # it is asked for at every step; nobody changes what it gives
def parse_schedules(text: str, names: tuple[str, ...]) -> Mapping[str, Schedule]:
    """`name=shape:end` pairs, separated by commas, by name; what is not named stays constant.

    Raises:
        ValueError: an entry of another form, a name that is not one of `names` or is there twice, an end below 0.
    """
    schedules: dict[str, Schedule] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = entry.partition("=")
        shape, _, end = rest.partition(":")
        if name not in names or name in schedules:
            raise ValueError(f"--schedules names {name!r}: name each of {', '.join(names)} at most once")
        if shape not in SHAPES:
            raise ValueError(f"--schedules has {entry!r}: write {name}=SHAPE:END, SHAPE one of {', '.join(SHAPES)}")
        schedules[name] = Schedule(shape, parse_end(entry, end))
    return MappingProxyType(schedules)


def format_schedules(given: str | Mapping[str, Sequence]) -> str:
    """What a user gives from Python, {"hidden_weight": ("cosine", 0.0)}, as the text that stands for it."""
    if not isinstance(given, Mapping):
        return given
    entries = []
    for name, schedule in given.items():
        if not isinstance(schedule, (tuple, list)) or len(schedule) != 2:
            raise ValueError(f'schedules has {name!r}: {schedule!r}: give a shape and an end, such as ("cosine", 0.0)')
        entries.append(f"{name}={schedule[0]}:{schedule[1]}")
    return ",".join(entries)


def format_layers(given: str | Sequence[int]) -> str:
    """A list of layers from Python, [1, 3, 5], as the text that stands for it."""
    if isinstance(given, str):
        return given
    if not isinstance(given, (tuple, list)) or not all(type(layer) is int for layer in given) or not given:
        raise ValueError(f"layer_matching is {given!r}: give a name, or a list of layers such as [1, 3, 5]")
    return ",".join(map(str, given))


def parse_end(entry: str, end: str) -> float:
    """The end of a schedule; raises ValueError unless it is a finite number that is at least 0."""
    try:
        value = float(end)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"--schedules has {entry!r}: its end has to be a number, at least 0")
    return value


def evaluate_schedule(schedules: Mapping[str, Schedule], name: str, start: float, progress: float) -> float:
    """The value of `name` after the share `progress` (0 to 1) of all steps; `start` where it has no schedule."""
    if name not in schedules:
        return start
    shape, end = schedules[name]
    return start + (end - start) * SHAPES[shape](progress)


def count_first_stage_steps(intermediate_epochs: float, num_train_epochs: float, max_steps: int) -> int:
    """Optimizer steps of the first of two stages: neither is without a step unless there is but one. 0: one stage."""
    if intermediate_epochs == 0:
        return 0
    return max(0, min(max(1, round(max_steps * intermediate_epochs / num_train_epochs)), max_steps - 1))
