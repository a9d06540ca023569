"""Layer strategies: name -> pure choice of the teacher layers that a student starts from.

Teacher layers are numbered 0 ... n-1 from the input. A new strategy is one entry of `LAYER_STRATEGIES`.

Entry: `choose_student_layers`, by a named strategy or as listed.
"""

import difflib
import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

# One entry per student layer: the teacher layer that it starts from, None where it starts afresh.
Layers = Sequence[int | None]


def choose_student_layers(
    strategy: str | None,
    teacher_num_layers: int,
    student_num_layers: int | None = None,
    student_layers: Sequence[int] | None = None,
    seed: int = 0,
) -> list[int | None]:
    """The teacher layer of each student layer, by a named strategy or as listed: exactly one of both must be given.

    `student_num_layers` defaults to half of the teacher's, rounded down, at least 1. Raises ValueError on a user error.
    """
    if teacher_num_layers < 1:
        raise ValueError(f"the teacher has {teacher_num_layers} layers, need at least 1; choose another teacher")
    if strategy is not None and student_layers is not None:
        raise ValueError(
            f"got both layer_strategy {strategy!r} and student_layers {student_layers}, need one; leave the other out"
        )
    if student_layers is not None:
        check_layer_list(student_layers, teacher_num_layers)
        if student_num_layers not in (None, len(student_layers)):
            raise ValueError(
                f"got student_num_layers {student_num_layers} and {len(student_layers)} student_layers "
                f"{student_layers}; give student_num_layers {len(student_layers)} or leave it out"
            )
        return list(student_layers)
    choose = LAYER_STRATEGIES[resolve_strategy(strategy)]
    if student_num_layers is None:
        student_num_layers = max(1, teacher_num_layers // 2)
    check_count("student_num_layers", student_num_layers, 1, teacher_num_layers)
    try:
        return choose(teacher_num_layers, student_num_layers, seed)
    except ValueError as error:
        fitting = ", ".join(list_fitting_strategies(teacher_num_layers, student_num_layers))
        raise ValueError(f"{error}; ask for fewer layers, or choose a strategy that has as many: {fitting}") from None


def list_fitting_strategies(teacher_num_layers: int, student_num_layers: int) -> list[str]:
    """The strategies that have so many layers for such a teacher, by asking each."""
    fitting = []
    for name, choose in LAYER_STRATEGIES.items():
        with suppress(ValueError):
            choose(teacher_num_layers, student_num_layers, 0)
            fitting.append(name)
    return fitting


def resolve_strategy(strategy: str | None) -> str:
    """The name in LAYER_STRATEGIES that a name or an alias stands for."""
    names = [*LAYER_STRATEGIES, *LAYER_STRATEGY_ALIASES]
    if strategy not in names:
        close = difflib.get_close_matches(str(strategy).lower(), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"got layer_strategy {strategy!r}, {hint}valid: {', '.join(names)}; or give student_layers")
    return LAYER_STRATEGY_ALIASES.get(strategy, strategy)


def parse_layer_list(text: str) -> list[int]:
    """Turns "11,1,3" into [11, 1, 3]."""
    if not re.fullmatch(r"\s*-?\d{1,9}\s*(,\s*-?\d{1,9}\s*)*", text, re.ASCII):  # int() reads 1_0 as 10
        raise ValueError(f"got student_layers {text!r}, need whole numbers with commas, such as 0,2,4")
    return [int(part) for part in text.split(",")]


def check_layer_list(student_layers: Sequence[int], teacher_num_layers: int) -> None:
    """Any order and repeats are allowed."""
    if len(student_layers) == 0:
        raise ValueError("got an empty student_layers, need at least one teacher layer, such as 0,2,4")
    for layer in student_layers:
        check_count("an entry of student_layers", layer, 0, teacher_num_layers - 1)


def check_count(label: str, value: int, lowest: int, highest: int) -> None:
    """True is an int in Python and 2.0 equals 2, but neither was meant as a number of layers."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole:
        raise ValueError(f"{label} is {value!r}, need a whole number, such as {lowest}; change it to one")
    if not lowest <= value <= highest:
        raise ValueError(f"{label} is {value}, need {lowest} to {highest} for this teacher; change it to one of these")


def pick_evenly(strategy: str, layers: Sequence[int], count: int) -> list[int | None]:
    """`count` of the layers, the first and the last among them; a lone one is the first, which knows the embeddings."""
    if count > len(layers):
        raise ValueError(
            f"student_num_layers is {count}, but strategy {strategy!r} has at most {len(layers)} layers "
            "for this teacher"
        )
    # index * (len - 1) / (count - 1), rounded half up in whole numbers: floats would round halves unevenly.
    gaps = max(1, count - 1)
    return [layers[(2 * index * (len(layers) - 1) + gaps) // (2 * gaps)] for index in range(count)]


# name -> layers to start from, given the teacher's n layers, the student's k <= n, and a seed
LAYER_STRATEGIES: dict[str, Callable[[int, int, int], list[int | None]]] = {
    "top": lambda n, k, seed: list(range(k)),  # nearest the input
    "bottom": lambda n, k, seed: list(range(n - k, n)),  # nearest the output
    "odd": lambda n, k, seed: pick_evenly("odd", range(1, n, 2), k),
    "even": lambda n, k, seed: pick_evenly("even", range(0, n, 2), k),
    "spread": lambda n, k, seed: pick_evenly("spread", range(n), k),  # both ends kept
    "ends": lambda n, k, seed: [*range(k - k // 2), *range(n - k // 2, n)],  # the middle dropped
    "random": lambda n, k, seed: sorted(random.Random(seed).sample(range(n), k)),  # the null distribution
    "scratch": lambda n, k, seed: [None] * k,  # fresh layers, everything else copied
}
LAYER_STRATEGY_ALIASES = {"first": "top", "last": "bottom"}
# Chosen by looking at the teacher at work on some rows: `students/layer_search.py` says how.
SEARCHED_STRATEGY_NAMES = ("influence", "cka", "greedy", "beam")
FIXED_STRATEGIES = tuple(name for name in LAYER_STRATEGIES if name not in ("random", "scratch"))


def show_strategy(name: str) -> str:
    """For people's eyes: `top (first)`, as half of the literature means the other end by `top`. What follows a comma in
    the name of an arm stays; names in records, folders and flags are without."""
    strategy, comma, rest = name.partition(",")
    aliases = [alias for alias, real in LAYER_STRATEGY_ALIASES.items() if real == strategy]
    return f"{strategy} ({aliases[0]}){comma}{rest}" if aliases else name
