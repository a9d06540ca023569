"""Words that a tagger's student and its teacher both read, though each cuts them into tokens of its own.

A word has its logits at its first piece, whichever model cuts it, so that a teacher's can be placed among the student's
tokens. The teacher reads the words that the student keeps, up to what it takes itself; those that it cannot read are no
items of the student either, in no split: both are scored on the same words.

Entry: `keep_words` before the teacher's tokenizer reads the rows, then `share_words`.
"""

import logging
from collections.abc import Callable

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from layer_distillation.outputs.store import TeacherStore
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.labels import IGNORED_LABEL

logger = logging.getLogger(__name__)

Words = list[list[int]]  # by row which word each item is


def keep_words(texts: TaskData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TaskData:
    """The rows up to the last word of which something is left once the tokenizer has cut them."""

    def cut(rows: dict[str, list]) -> dict[str, list]:
        numbers = texts.kind.number_items(rows, texts, tokenizer, max_length)
        ends = [max(words, default=0) + 1 for words in numbers]
        names = (*texts.text_columns, "labels")
        return {name: [row[:end] for row, end in zip(rows[name], ends, strict=True)] for name in names}

    return texts.map_splits(lambda split: split.map(cut, batched=True, desc="Cutting rows"))


def share_words(
    texts: TaskData,
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    own_data: TaskData,
    own_tokenizer: PreTrainedTokenizerBase,
) -> tuple[TaskData, Callable[[TeacherStore, str], np.ndarray]]:
    """The student's rows with the items that both read; and of a store of the teacher's outputs for a split the logits
    of the student's tokens, (tokens of all rows, classes), 0 where there is no item.

    Args:
        texts: the rows before `own_tokenizer` made `own_data` of them, the teacher's.
    """
    words = number_words(texts, tokenizer, data.max_length)
    own_words = number_words(texts, own_tokenizer, own_data.max_length)
    column, own_rows = data.kind.item_column, own_data.list_rows()
    rows = {split: hide_words(split, data, words[split], own_words[split]) for split in words}

    def take(store: TeacherStore, split: str) -> np.ndarray:
        logits, lengths = store.get_all_logits(), measure_lengths(rows[split])
        placed = [np.zeros((length, logits.shape[-1]), np.float32) for length in lengths]
        own = zip(own_words[split], own_rows[split][column][:], logits, strict=True)
        student = zip(words[split], rows[split][column][:], placed, strict=True)
        for (read, own_marks, source), (numbers, marks, target) in zip(own, student, strict=True):
            place_of = dict(zip(read, np.flatnonzero(own_marks), strict=True))
            target[np.flatnonzero(marks)] = source[[place_of[word] for word in numbers if word in place_of]]
        return np.concatenate(placed)

    return data.with_rows(rows), take


def number_words(texts: TaskData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> dict[str, Words]:
    return {
        split: texts.kind.number_items(rows[:], texts, tokenizer, max_length)
        for split, rows in texts.list_rows().items()
    }


def hide_words(split: str, data: TaskData, words: Words, read: Words) -> Dataset:
    """The rows of a split, whose words that were not read are no items; says how many these are.

    Raises:
        ValueError: no word is left.
    """
    rows, column = data.list_rows()[split], data.kind.item_column
    is_read = [[word in known for word in own] for own, known in zip(words, map(set, read), strict=True)]
    if not (lost := sum(len(row) - sum(row) for row in is_read)):
        return rows
    if not any(map(any, is_read)):
        raise ValueError(
            f"{split}: none of its {lost} words is one that the teacher's tokenizer reads too: give a teacher or a "
            "--student_source_model that reads these words"
        )
    logger.warning("%s: %d words that the teacher cannot read get no tag, and no metric counts them", split, lost)

    def hide(batch: dict[str, list], indices: list[int]) -> dict[str, list]:
        for place, index in enumerate(indices):
            for item, keeps in zip(np.flatnonzero(batch[column][place]), is_read[index], strict=True):
                if not keeps:
                    batch[column][place][item], batch["labels"][place][item] = 0, IGNORED_LABEL
        return {name: batch[name] for name in (column, "labels")}

    return rows.map(hide, batched=True, with_indices=True, desc=f"Matching the words of {split}")
