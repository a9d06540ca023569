"""Decides what kind of label a task has, and makes class indices or numbers of them.

The kind is decided the same way for CSV, JSON, Parquet and the Hub:
- a ClassLabel column, strings and booleans are classes;
- whole numbers are classes, whether 0, 1, 2 or any others;
- text that starts with a zero ("01"), or that a file quotes though it is no plain whole number ("1.0"), is a name and
  stays it: codes of classes. Strings of JSON, Parquet and the Hub count as quoted; a CSV is looked at;
- numbers with a fraction are regression targets;
- floats that are whole in every split ("1.0", "0.0": what pandas writes for integers once a value is missing) are
  classes where there are at most 20 different ones, else regression targets.
`--label_kind` overrides it: with classes, any text is a name as it is written. A row without a label has None, nan,
-100 or nothing but blanks there.

Entry: `encode_labels`.
"""

import logging
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.columns import check_column, parse_number, shorten

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit

logger = logging.getLogger(__name__)

IGNORED_LABEL = -100
MAX_WHOLE_FLOAT_CLASSES = 20
MAX_TARGET = 3.4e38  # what float32, in which losses are computed, can hold
MAX_SHOWN = 5
LEADING_ZERO = re.compile(r"[+-]?0\d")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

CLASS_NAMES, BOOLEANS, WHOLE_NUMBERS, NUMBERS = "class names", "booleans", "whole numbers", "numbers"


def encode_labels(
    splits: dict[str, "RawSplit"], label_column: str, requested_kind: str | None
) -> tuple[list[str] | None, dict[str, list[int] | list[float]]]:
    """Class names, None for a regression, and each split's labels: class indices or -100, or floats or nan.

    Args:
        splits: "train" and the evaluation splits; of them only "test" may lack the column, or labels.
        requested_kind: one of LABEL_KINDS, or None to decide by the values.
    """
    labels = {name: list_labels(name, split, label_column) for name, split in splits.items()}
    for name, split in splits.items():
        check_unlabelled_rows(name, split, label_column, labels[name])
    given_names = splits["train"].class_names.get(label_column)
    if given_names and requested_kind != "numbers":
        kind = CLASS_NAMES
    elif requested_kind != "numbers" and (codes := find_codes(labels, splits, label_column, requested_kind)):
        logger.info(
            "labels that are text and stay it, no numbers: %s (--label_kind numbers: numbers)", show_some(codes)
        )
        kind = CLASS_NAMES
    else:
        kind = decide_label_kind(labels, label_column, splits["train"].origin, requested_kind)
    typed = {name: type_labels(labels[name], kind, split, splits["train"].origin) for name, split in splits.items()}
    check_same_labels(typed, splits, kind)
    if kind == NUMBERS:
        return None, {name: [math.nan if value is None else value for value in typed[name]] for name in splits}
    values = given_names or ([False, True] if kind == BOOLEANS else sorted(distinct(typed["train"])))
    index_of = {value: index for index, value in enumerate(values)} | {None: IGNORED_LABEL}
    return [str(value) for value in values], {name: [index_of[value] for value in typed[name]] for name in splits}


def list_labels(name: str, split: "RawSplit", label_column: str) -> list[Any]:
    """The labels as written, stripped; None for a row without one. The test split's -1 throughout, GLUE's way, too."""
    if name == "test" and label_column not in split.columns:
        return [None] * len(next(iter(split.columns.values())))
    values = split.columns[check_column(split, label_column, "--label_column")]
    class_names = split.class_names.get(label_column)
    if class_names:
        return [name_class(value, class_names, split.origin, row) for row, value in enumerate(values, start=1)]
    labels = [clean_label(value) for value in values]
    return [None] * len(labels) if name == "test" and set(map(parse_number, labels)) == {-1} else labels


def name_class(value: Any, class_names: list[str], origin: str, row: int) -> str | None:
    """datasets encodes "no label" as -1 in a ClassLabel column."""
    if value is None:
        return None
    if not isinstance(value, int) or value >= len(class_names):
        raise ValueError(
            f"{origin}, data row {row} has the class {shorten(value)}, and the data name {len(class_names)} classes, "
            "from 0 on: correct it, or write the labels as names."
        )
    return class_names[value] if value >= 0 else None


def clean_label(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        raise ValueError(f"A label is {shorten(value)}: one class or number per row is needed; change --label_column.")
    label = value.strip() if isinstance(value, str) else value
    is_missing = label is None or label == "" or label != label or parse_number(label) == IGNORED_LABEL
    return None if is_missing else label


def find_codes(
    labels: dict[str, list[Any]], splits: dict[str, "RawSplit"], label_column: str, requested_kind: str | None
) -> set[str]:
    """The labels that are numbers by their looks, and names as they are written: "01", and what is quoted or asked for
    and would be another text once it was a number."""
    codes = set()
    for name, split in splits.items():
        is_text = requested_kind == "classes" or label_column not in split.bare_columns
        for label in distinct(labels[name]):
            number = parse_number(label) if isinstance(label, str) else None
            is_plain = isinstance(number, int) and str(number) == label
            if number is not None and not is_plain and (is_text or LEADING_ZERO.match(label)):
                codes.add(label)
    return codes


def check_unlabelled_rows(name: str, split: "RawSplit", label_column: str, labels: list[Any]) -> None:
    unlabelled = [row for row, label in enumerate(labels, start=1) if label is None]
    if name == "train" and len(unlabelled) == len(labels):
        raise ValueError(f"{split.origin} has no labelled row: fill {label_column!r} in, or change --label_column.")
    if name not in ("train", "test") and unlabelled:
        raise ValueError(
            f"{split.origin}: {len(unlabelled)} of {len(labels)} rows have no label in {label_column!r}, the first is "
            f"data row {unlabelled[0]}: only training and test rows may lack one; drop them or label them."
        )


def decide_label_kind(labels: dict[str, list[Any]], label_column: str, origin: str, requested_kind: str | None) -> str:
    """What the training labels are; see the module's docstring for the rule."""
    train = distinct(labels["train"])
    types = {type(value) for value in train}
    numbers = {parse_number(value) for value in train}
    if None in numbers and (requested_kind == "numbers" or types not in ({str}, {bool})):
        raise ValueError(
            f"{origin}: {label_column!r} holds {' and '.join(sorted(kind.__name__ for kind in types))} labels "
            f"({show_some(train)}): write all as finite numbers, or all as class names without --label_kind numbers."
        )
    if None in numbers:
        check_decimal_commas(train, label_column, origin, requested_kind)
        return CLASS_NAMES if types == {str} else BOOLEANS
    if len({issubclass(kind, str) for kind in types}) > 1:
        raise ValueError(f"{origin}: {label_column!r} mixes strings and numbers ({show_some(train)}): write one kind.")
    if requested_kind == "classes" and not all(float(number).is_integer() for number in numbers):
        raise ValueError(
            f"{origin}: {label_column!r} holds numbers with a fraction ({show_some(train)}), which name no classes: "
            "write them as text, or leave out --label_kind classes."
        )
    if requested_kind is not None:
        return NUMBERS if requested_kind == "numbers" else WHOLE_NUMBERS
    if all(isinstance(number, int) for number in numbers):
        return WHOLE_NUMBERS
    everywhere = {parse_number(value) for values in labels.values() for value in distinct(values)}
    is_whole = all(number is not None and float(number).is_integer() for number in everywhere)
    return WHOLE_NUMBERS if is_whole and len(numbers) <= MAX_WHOLE_FLOAT_CLASSES else NUMBERS


def check_decimal_commas(train: set[Any], label_column: str, origin: str, requested_kind: str | None) -> None:
    """Raises ValueError for 0,5 and 1,5, which would be two names."""
    texts = [label for label in train if isinstance(label, str)]
    with_comma = [label for label in texts if DECIMAL_COMMA.fullmatch(label)]
    if (
        requested_kind is None
        and with_comma
        and all(DECIMAL_COMMA.fullmatch(label) or parse_number(label) is not None for label in texts)
    ):
        raise ValueError(
            f"{origin}: {label_column!r} holds numbers with a comma ({show_some(with_comma)}): write 0.5 for 0,5, or "
            "give --label_kind classes if they are names."
        )


def type_labels(labels: list[Any], kind: str, split: "RawSplit", train_origin: str) -> list[Any]:
    typed = [None if label is None else read_label(label, kind) for label in labels]
    for row, (label, value) in enumerate(zip(labels, typed, strict=True), start=1):
        if label is not None and value is None:
            raise ValueError(
                f"{split.origin}, data row {row} has the label {shorten(label)}, but the labels of {train_origin} are "
                f"{kind}: write both the same way, or set --label_kind."
            )
        if kind == NUMBERS and value is not None and abs(value) > MAX_TARGET:
            raise ValueError(
                f"{split.origin}, data row {row} has the label {shorten(label)}, too large for float32: scale the "
                "labels down, or set --label_kind classes."
            )
    return typed


def check_same_labels(typed: dict[str, list[Any]], splits: dict[str, "RawSplit"], kind: str) -> None:
    """At least two labels in train and, of classes, none elsewhere that train lacks."""
    known = distinct(typed["train"])
    if len(known) < 2:
        raise ValueError(
            f"{splits['train'].origin} has the single label {show_some(known)}: nothing can be learnt from it; "
            "give rows of two labels at least."
        )
    for name, values in typed.items():
        unknown = distinct(values) - known
        if unknown and kind != NUMBERS:
            raise ValueError(
                f"{splits[name].origin} has labels that {splits['train'].origin} lacks: {show_some(unknown)} (known: "
                f"{show_some(known)}): correct them, drop their rows or add such rows to the training data."
            )


def read_label(label: Any, kind: str) -> Any:
    """The label as `kind` has it, or None where it is not one."""
    if kind == CLASS_NAMES:
        return label if isinstance(label, str) else None
    if kind == BOOLEANS:
        return label if isinstance(label, bool) else None
    number = parse_number(label)
    if number is None:
        return None
    if kind == NUMBERS:
        return float(number)
    return int(number) if float(number).is_integer() else None


def distinct(labels: list[Any]) -> set[Any]:
    return set(labels) - {None}


def sort_names(names: Iterable[str]) -> list[str]:
    """Numbers by their size, other names by their letters: one order in every process."""
    is_numbered = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name), name)) if is_numbered else sorted(names)


def show_some(values: Iterable[Any]) -> str:
    shown = sorted(values, key=lambda value: (str(type(value)), value))
    listed = ", ".join(map(shorten, shown[:MAX_SHOWN]))
    return listed if len(shown) <= MAX_SHOWN else f"{listed} and {len(shown) - MAX_SHOWN} more"
