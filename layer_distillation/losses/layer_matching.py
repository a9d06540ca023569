"""Which teacher layer each student layer imitates. Where its weights come from is another axis: `layers`."""

import difflib
from collections.abc import Sequence

from layer_distillation.architectures.traits import FINAL_NORM_MODEL_TYPES
from layer_distillation.layers.strategies import (
    LAYER_STRATEGIES,
    LAYER_STRATEGY_ALIASES,
    SEARCHED_STRATEGY_NAMES,
    choose_student_layers,
    parse_layer_list,
)

BLOCK, BEST = "block", "best"
# What they name depends on the teacher or student at work on some rows: `runs/preparation.py`.
MATCHINGS_BY_DATA = (BEST, *SEARCHED_STRATEGY_NAMES)
NAMED_MATCHINGS = (BLOCK, *(name for name in (*LAYER_STRATEGIES, *LAYER_STRATEGY_ALIASES) if name != "scratch"))


def resolve_layer_matching(matching: str, teacher_num_layers: int, student_num_layers: int, seed: int = 0) -> list[int]:
    """The imitated teacher layer of every student layer, from the input.

    Args:
        matching: `block` (student layer j imitates the last layer of its share, floor((j + 1) n / k) - 1), the name of
            a layer strategy, or a list such as `1,3,5`.
        seed: of `random`.

    Raises:
        ValueError: an unknown name, or a list that is not one existing teacher layer per student layer; a name whose
            layers only data can tell, such as `best`, which `match_in_order` answers once the student is there.
    """
    if matching in MATCHINGS_BY_DATA:
        raise ValueError(
            f"--layer_matching {matching} needs models at work on some rows: resolve it first, and name the list that "
            "comes out, such as 1,3,5"
        )
    if matching == BLOCK:
        ends = [(layer + 1) * teacher_num_layers // student_num_layers for layer in range(student_num_layers)]
        return [max(end, 1) - 1 for end in ends]  # shares of a student that is the deeper one may hold no layer
    if matching in NAMED_MATCHINGS:
        try:
            return choose_student_layers(matching, teacher_num_layers, student_num_layers, seed=seed)
        except ValueError as error:
            raise ValueError(f"--layer_matching {matching}: {error}") from None
    check_matching(matching)
    layers = parse_layer_list(matching)
    if len(layers) != student_num_layers:
        raise ValueError(
            f"--layer_matching {matching} names {len(layers)} layers, and the student has {student_num_layers}: name "
            "one teacher layer per student layer"
        )
    outside = [layer for layer in layers if not 0 <= layer < teacher_num_layers]
    if outside:
        raise ValueError(
            f"--layer_matching {matching} names layer {outside[0]}, and the teacher has 0 to {teacher_num_layers - 1}"
        )
    return layers


def check_matching(matching: str) -> None:
    """Raises ValueError where it is neither a name nor a list, whatever the teacher."""
    if matching in (*NAMED_MATCHINGS, *MATCHINGS_BY_DATA):
        return
    if not matching[:1].isdigit():
        raise ValueError(
            f"--layer_matching {matching} names no teacher layers: {suggest_matching(matching)}choose one of "
            f"{', '.join([*NAMED_MATCHINGS, *MATCHINGS_BY_DATA])}, or list them, such as 1,3,5"
        )
    parse_layer_list(matching)


def suggest_matching(text: str) -> str:
    close = difflib.get_close_matches(text.lower(), [*NAMED_MATCHINGS, *MATCHINGS_BY_DATA], n=1)
    return f"did you mean {close[0]}? " if close else ""


def match_in_order(similarity: Sequence[Sequence[float]], ends_meet: bool = False) -> list[int]:
    """The teacher layer of every student layer for which the sum of their similarities is largest, in ascending order.

    In order, because each layer builds on the one below: to imitate an earlier layer than that one does would undo its
    work. Each teacher layer once, because two student layers with one target leave nothing to do for the second;
    only a student with more layers than its teacher repeats some. By dynamic programming, so that no other ascending
    list is better. Ties: the layers nearest the input.

    Args:
        similarity: one row per student layer, one column per teacher layer, such as linear CKA.
        ends_meet: match the two last layers, and no other layer with the teacher's last (`check_final_norm`).
    """
    num_student_layers, num_teacher_layers = len(similarity), len(similarity[0])
    if ends_meet:
        if num_student_layers > num_teacher_layers == 1:
            raise ValueError(
                f"--layer_matching best: the teacher's only layer can be matched with the last of the student's "
                f"{num_student_layers} layers alone, and nothing is left for the others: set the weights of hidden, "
                "pkd and rkd to 0"
            )
        rest = [row[:-1] for row in similarity[:-1]]
        return (match_in_order(rest) if rest else []) + [num_teacher_layers - 1]
    step = 1 if num_student_layers <= num_teacher_layers else 0
    best = {-step: (0.0, [])}  # last layer that is taken -> the largest sum so far, and its layers
    for row in similarity:
        grown: dict[int, tuple[float, list[int]]] = {}
        for layer, value in enumerate(row):
            ways = [(total, layers) for last, (total, layers) in best.items() if last + step <= layer]
            if ways:
                total, layers = max(ways, key=lambda way: way[0])
                grown[layer] = (total + value, [*layers, layer])
        best = grown
    return max(best.values(), key=lambda way: way[0])[1]


def check_final_norm(model_type: str, layers: list[int], teacher_num_layers: int) -> None:
    """Raises ValueError where hidden, pkd or rkd would compare a state behind the final norm with one before it."""
    is_last = [layer == teacher_num_layers - 1 for layer in layers]
    if model_type in FINAL_NORM_MODEL_TYPES and (not is_last[-1] or any(is_last[:-1])):
        raise ValueError(
            f"in {model_type} only the last layer's hidden state has passed the final norm: --layer_matching has to "
            f"match the student's last layer, and no other, with teacher layer {teacher_num_layers - 1}"
        )
