"""Teachers whose answers do not come from a model that reads the student's tokens: soft labels that the user's files
bring, a model of natural language inference that is told the classes by name, a model with a tokenizer of its own.

Of all three the logits alone count, one row of them for every row of the student's, of a tagger for every token. They
are kept as any teacher's (`outputs/store.py`), so that training, comparison and card do not know the difference.

Entry: `Answers`, and `AnswerSupply`, which has the methods of `supply.TeacherSupply`.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.outputs.store import TeacherStore, fingerprint_rows, make_spec
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks.collators import choose_collator
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.kinds.token_classification import ITEM_MASK
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.given_store import open_given
from layer_distillation.teachers.store_filling import locate_stores, open_or_fill

logger = logging.getLogger(__name__)

SOFT_LABELS, ZERO_SHOT, OWN_TOKENS = "soft labels", "zero-shot", "own tokens"
WHY_LOGITS_ALONE = {
    SOFT_LABELS: "the teacher is soft labels, no model with layers",
    ZERO_SHOT: "the teacher reads a text once for every class, beside a sentence that the student never sees",
    OWN_TOKENS: "teacher and student cut a text into other tokens, so that their states have no partners",
}


@dataclass
class Reader:
    """A model with a tokenizer of its own. `rows` are the student's rows as it reads them, by split; `take` makes one
    row of logits for each of the student's rows, or tokens, out of what the model answers to a split."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    rows: dict[str, Dataset]
    take: Callable[[TeacherStore, str], np.ndarray] = lambda store, split: store.logits


@dataclass
class Answers:
    """Where a teacher's logits come from: what was `given`, by split, or a reader.

    `fingerprint` is of all that decides an answer, `body_fingerprint` of the encoder that the student's layers come
    from, and `origin` names that, unless it is the reader's own. `facts` are the record's, of the teacher.
    """

    kind: str
    fingerprint: str
    origin: dict[str, Any] | None
    body_fingerprint: str
    facts: dict[str, Any] = field(default_factory=dict)
    given: dict[str, np.ndarray] = field(default_factory=dict)
    reader: Reader | None = None
    is_per_token: bool = False

    def fingerprint_split(self, split: str) -> str:
        """What the logits of the split depend on, beside the student's tokens: of a reader its own, and which of them
        are a word's first, as texts that differ to it may be the same to the student."""
        if self.reader is None:
            return fingerprint_logits({split: self.given[split]})
        return hash_parts([self.fingerprint, fingerprint_rows(self.reader.rows[split], [ITEM_MASK])])

    def list_splits(self) -> list[str]:
        return list(self.given if self.reader is None else self.reader.rows)


class AnswerSupply:
    """One teacher's logits for the splits of one run, from stores; each is made once."""

    def __init__(self, answers: Answers, config: PreTrainedConfig, arguments: TeacherArguments, device: torch.device):
        self.answers = answers
        self.config = config  # the student's origin's: what a store's reader asks of a teacher
        self.arguments = arguments
        self.device = device

    def get_evaluation_logits(self, data: TaskData) -> dict[str, np.ndarray]:
        """Split -> logits (rows, [tokens,] classes) for every split but train of which there are any."""
        known = self.answers.list_splits()
        splits = {split: rows for split, rows in data.list_splits() if split != "train" and split in known}
        return {split: self._open(rows, [split]).get_all_logits() for split, rows in splits.items()}

    def choose_training_source(self, rows: Dataset, *_: Sequence[int]) -> TeacherStore:
        """The store of the training rows, and of the unlabelled ones behind them."""
        splits = [split for split in ("train", "unlabelled") if split in self.answers.list_splits()]
        store = self._open(rows, splits)
        logger.info("teacher outputs: stored, logits alone, in %s", store.folder)
        return store

    def _open(self, rows: Dataset, splits: Sequence[str]) -> TeacherStore:
        """The logits of the student's rows, which those of some splits make up."""
        fingerprint = hash_parts([self.answers.fingerprint_split(split) for split in splits])
        spec = make_spec(self.config, fingerprint, rows, is_per_token=self.answers.is_per_token)
        lengths = measure_lengths(rows) if spec.is_per_token else None
        return open_given(locate_stores(self.arguments), spec, lambda: self._compute(splits), self.config, lengths)

    def _compute(self, splits: Sequence[str]) -> np.ndarray:
        if self.answers.reader is None:
            return np.concatenate([self.answers.given[split] for split in splits])
        return np.concatenate([self._read(self.answers.reader, split) for split in splits])

    def _read(self, reader: Reader, split: str) -> np.ndarray:
        """What the reader answers to its own rows; it has a store of its own, which students of any tokenizer share."""
        rows = reader.rows[split]
        spec = make_spec(reader.model.config, reader.fingerprint, rows, is_per_token=self.answers.is_per_token)
        collate = choose_collator(rows, reader.tokenizer)
        store = open_or_fill(locate_stores(self.arguments), spec, reader.model, rows, collate, self.device)
        return reader.take(store, split)


def fingerprint_logits(logits: dict[str, np.ndarray]) -> str:
    """sha256 of the numbers, by split."""
    digest = hashlib.sha256()
    for split in sorted(logits):
        digest.update(json.dumps([split, logits[split].shape]).encode())
        digest.update(np.ascontiguousarray(logits[split], np.float32).tobytes())
    return digest.hexdigest()


def hash_parts(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()
