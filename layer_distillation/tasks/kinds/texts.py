"""What kinds share whose rows are one text, or two: checks, tokens, a batch, the lines that ask a pipeline."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from layer_distillation.tasks.columns import check_texts, count_empty_texts

if TYPE_CHECKING:
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.data import TaskData
    from layer_distillation.tasks.files import RawSplit

logger = logging.getLogger(__name__)

RESERVED_COLUMNS = ("labels", "example_index")


def read_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> dict[str, list[str]]:
    check_names(text_columns)
    check_texts(split, text_columns)
    if empty_texts := count_empty_texts(split, text_columns):
        logger.warning("%s: %d texts are empty", split.origin, empty_texts)
    return {column: split.columns[column] for column in text_columns}


def check_names(text_columns: tuple[str, ...]) -> None:
    if set(text_columns) & set(RESERVED_COLUMNS):
        raise ValueError(f"Text columns {text_columns}: {RESERVED_COLUMNS} are names of ours, rename the column.")


def check_labelled(splits: Mapping[str, "RawSplit"], is_missing: Mapping[str, Sequence[bool]]) -> None:
    """Raises ValueError where an evaluation split lacks the label of a row; that of a test may.

    Args:
        is_missing: by split whether each row lacks its label.
    """
    for name, marks in is_missing.items():
        if name not in ("train", "test") and any(marks):
            raise ValueError(
                f"{splits[name].origin}: {sum(marks)} of {len(marks)} rows have no label, the first is data row "
                f"{list(marks).index(True) + 1}: only training and test rows may lack one; drop them or label them."
            )


def tokenize_texts(
    rows: dict[str, list], data: "TaskData", tokenizer: "PreTrainedTokenizerBase", max_length: int | None
) -> dict[str, list]:
    """The tokenizer's columns of some rows, cut to `max_length` tokens; None cuts nothing."""
    texts = [rows[column] for column in data.text_columns]
    return tokenizer(*texts, truncation=max_length is not None, max_length=max_length, verbose=max_length is not None)


def collate_rows(tokenizer: "PreTrainedTokenizerBase") -> "DataCollatorWithPadding":
    from transformers import DataCollatorWithPadding  # seconds that a comparison does without

    return DataCollatorWithPadding(tokenizer)


def write_text_call(record: "RunRecord", location: str, options: str) -> str:
    """A record from before text columns were recorded is taken to have one."""
    columns = record.task.get("text_columns", ["text"])
    text = '"..."' if len(columns) == 1 else '{"text": "...", "text_pair": "..."}'
    return (
        "from transformers import pipeline\n"
        f'classify = pipeline("text-classification", model={location})\n'
        f"print(classify({text}, {options}))"
    )
