"""Decides which columns of a task hold texts and labels: pure functions. What kind the labels are: `labels.py`.

Entry: `find_label_column`, `find_text_columns`, `check_texts`.
"""

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from layer_distillation.records.suggestions import suggest_name

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit

MAX_NUMBER_CHARACTERS = 400  # longer ones are no finite float, and from 4,300 digits on Python reads no int

LABEL_COLUMNS = ("label", "labels")
TEXT_COLUMN_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
SINGLE_TEXT_COLUMNS = ("sentence", "text", "review", "content", "document")
NUMBER_PATTERN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def find_label_column(split: "RawSplit", requested: str | None) -> str:
    if requested is not None:
        return check_column(split, requested, "--label_column")
    found = [name for name in LABEL_COLUMNS if name in split.columns]
    if len(found) != 1:
        problem = "both 'label' and 'labels'" if found else "neither 'label' nor 'labels'"
        raise ValueError(
            f"{split.origin} has {problem} among its columns {list(split.columns)}: name one with --label_column"
            + ("." if found else ", or none where no row has a label, to learn from the teacher alone.")
        )
    return found[0]


def find_text_columns(split: "RawSplit", label_column: str | None, requested: str | None) -> tuple[str, ...]:
    """The requested columns; otherwise a known pair, a known name or the only column of text, in this order."""
    if requested is not None:
        return check_requested_texts(split, label_column, requested)
    texts = [name for name, values in split.columns.items() if name != label_column and is_text(values)]
    pairs = [pair for pair in TEXT_COLUMN_PAIRS if set(pair) <= set(texts)]
    singles = [(name,) for name in SINGLE_TEXT_COLUMNS if name in texts]
    found = pairs or singles or [(name,) for name in texts]
    if len(found) != 1:
        problem = f"columns of text {texts}, which can be read in several ways" if texts else "no column of text"
        raise ValueError(
            f"{split.origin} has {problem} (all columns: {list(split.columns)}): name one or two by --text_columns a,b."
        )
    return found[0]


def check_requested_texts(split: "RawSplit", label_column: str | None, requested: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in requested.split(","))
    for name in names:
        check_column(split, name, "--text_columns")
    if len(set(names)) != len(names) or len(names) > 2 or label_column in names:
        raise ValueError(
            f"--text_columns {requested}: give one or two different columns, not the label column {label_column!r}."
        )
    return names


def check_column(split: "RawSplit", name: str, flag: str) -> str:
    if name not in split.columns:
        raise ValueError(
            f"{split.origin} has no column {name!r}, its columns are {list(split.columns)}: "
            f"change the data or {flag}.{suggest_name(name, split.columns)}"
        )
    return name


def check_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> None:
    """ValueError where a text is missing or no string; an empty text is allowed (QQP has some)."""
    for name in text_columns:
        values = split.columns[check_column(split, name, "--text_columns")]
        for row, value in enumerate(values, start=1):
            if value is None:
                raise ValueError(
                    f"{split.origin}, data row {row} has no text in {name!r}: fill or drop it. (`datasets` reads NA "
                    "and empty fields of a CSV folder as missing; --train_file and --validation_file keep them.)"
                )
            if not isinstance(value, str):
                raise ValueError(
                    f"{split.origin}, data row {row} has {type(value).__name__} {shorten(value)} in {name!r}: text is "
                    "needed; name a column of strings with --text_columns."
                )


def count_empty_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> int:
    return sum(not text.strip() for name in text_columns for text in split.columns[name])


def parse_number(value: Any) -> int | float | None:
    """An int where it is written as one, else a float; None for what is no finite number: "nan", "1_000", True."""
    if isinstance(value, str):
        if len(value) > MAX_NUMBER_CHARACTERS or not NUMBER_PATTERN.fullmatch(value):
            return None
        value = int(value) if value.lstrip("+-").isdigit() else float(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Not math.isfinite, which fails on an int beyond all floats.
    return value if is_number and abs(value) <= sys.float_info.max else None


def is_text(values: list[Any]) -> bool:
    """Strings, and not numbers alone, as an id in a CSV file is."""
    present = [value for value in values if value is not None]
    return all(isinstance(value, str) for value in present) and any(parse_number(value) is None for value in present)


def parse_cell(cell: Any) -> Any:
    """The list or object that a CSV's cell has as JSON; anything else stays."""
    if isinstance(cell, str) and cell.lstrip().startswith(("[", "{")):
        try:
            return json.loads(cell)
        except json.JSONDecodeError:
            return cell
    return cell


def shorten(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
