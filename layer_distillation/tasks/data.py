"""One task, raw or tokenized, as all rooms above hand it on.

Entry: `TaskData`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks.arguments import DEFAULT_THRESHOLD
from layer_distillation.tasks.kinds.entry import RowAnswers, TaskKind, Truth
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.labels import IGNORED_LABEL
from layer_distillation.tasks.retrieval import RetrievalSet
from layer_distillation.tasks.soft_labels import SoftLabels

if TYPE_CHECKING:
    from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase, TrainingArguments

MOST_LENGTHS = 32
UNLABELLED = "unlabelled"


@dataclass
class TaskData:
    """One task, raw or tokenized. The best epoch is chosen by the first of `validation`, the others are reported."""

    name: str
    train: Dataset
    validation: dict[str, Dataset]
    test: Dataset | None
    text_columns: tuple[str, ...]
    label_names: list[str] | None
    metric_names: tuple[str, ...]
    dataset_name: str | None
    dataset_config_name: str | None
    unlabelled: Dataset | None = None  # of `tasks/transfer_set.py`: no split, as nothing is ever scored on it
    written_labels: dict[int, str] | None = None  # class -> as the data write it, once a teacher's labels are taken
    text_facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # split -> what was cut, what is unknown
    max_length: int | None = None  # of its tokens, once it is tokenized
    kind: TaskKind = TEXT_CLASSIFICATION
    options: dict[str, Any] = field(default_factory=dict)  # what else of the arguments the kind goes by
    raw: dict[str, Dataset] = field(default_factory=dict)  # by split the rows, where these are several inputs each
    pads_left: bool = False
    features: dict[str, str | list[str]] = field(default_factory=dict)  # of the columns before it is tokenized
    decision_threshold: float = DEFAULT_THRESHOLD
    retrieval: dict[str, RetrievalSet] = field(default_factory=dict)  # by name, scored beside the splits
    soft_labels: SoftLabels = field(default_factory=SoftLabels)  # the user's own, in place of a teacher's

    @property
    def student_train(self) -> Dataset:
        """What the student trains on: the training rows, and after them the unlabelled ones."""
        return self.train if self.unlabelled is None else concatenate_datasets([self.train, self.unlabelled])

    @property
    def is_regression(self) -> bool:
        return self.label_names is None

    @property
    def outputs(self) -> str:
        """What a model's outputs are: one of `kinds/entry.py`."""
        return self.kind.get_outputs(self.label_names)

    def has_labels(self, rows: Dataset) -> bool:
        """Whether any of these rows of the task has one."""
        return any(not self.kind.is_missing(label) for label in rows["labels"][:])

    @property
    def is_taught_alone(self) -> bool:
        """No training row has a gold label: the teacher's answers are all that there is to learn."""
        return not self.has_labels(self.train)

    @property
    def is_scored_by_teacher(self) -> bool:
        """No row of the first validation set has a gold label: the best epoch is the one nearest to the teacher."""
        return not self.has_labels(self.first_validation)

    @property
    def first_validation(self) -> Dataset:
        return next(iter(self.validation.values()))

    def make_collator(
        self, tokenizer: "PreTrainedTokenizerBase", training: "TrainingArguments"
    ) -> "DataCollatorWithPadding":
        """Of batches of the tokenized rows.

        In bfloat16 on a processor lengths are rounded up, to 32 of them, or more where `max_length` has no such
        divisor: oneDNN keeps a kernel for each that it meets, and memory is taken in pieces of as many sizes, which is
        gigabytes for MiniLM with 256 tokens. None is beyond `max_length`, where a model may have no position.
        """
        collate = self.kind.make_collator(tokenizer)
        if training.bf16 and training.device.type == "cpu":
            steps = range(1, self.max_length // MOST_LENGTHS + 1)
            collate.pad_to_multiple_of = max((step for step in steps if self.max_length % step == 0), default=None)
        return collate

    def stack_labels(self, rows: Dataset) -> np.ndarray:
        """(rows, ...), as a Trainer gathers them: of lists of different lengths padded with -100."""
        labels = rows["labels"][:]
        if not self.kind.is_per_token:
            return np.asarray(labels)
        stacked = np.full((len(labels), max(map(len, labels))), IGNORED_LABEL)
        for target, row in zip(stacked, labels, strict=True):
            target[: len(row)] = row
        return stacked

    def count_rows(self, split: str, rows: Dataset) -> int:
        """Those of the data, which may be several inputs each."""
        return len(self.raw.get(split, rows))

    def answer_rows(self, split: str, logits: np.ndarray, is_padded_left: bool | None = None) -> RowAnswers:
        """Of a kind whose rows are several inputs.

        Args:
            logits: (inputs, tokens, outputs), padded on the tokenizer's side unless `is_padded_left` says otherwise.
        """
        lengths = measure_lengths(dict(self.list_splits())[split])
        is_left = self.pads_left if is_padded_left is None else is_padded_left
        ends = [(logits.shape[1] - length, None) if is_left else (0, length) for length in lengths]
        return self.kind.answer_rows(self, split, [row[slice(*end)] for row, end in zip(logits, ends, strict=True)])

    def read_units(self, split: str | None = None) -> np.ndarray | None:
        """(rows,), which rows of a split, by default the first of validation, a comparison resamples together; None of
        a kind whose rows stand alone."""
        if self.kind.unit_column is None:
            return None
        rows = dict(self.list_splits())[split] if split else self.first_validation
        return np.asarray(rows[self.kind.unit_column][:])

    def score_answers(self, rows: RowAnswers) -> dict[str, float]:
        """Raises ValueError where no row has a gold answer."""
        is_known = rows.labels >= 0
        if not is_known.any():
            raise ValueError(f"None of {len(is_known)} rows has a label: score a split that is labelled.")
        truth = Truth(rows.labels[is_known], self.label_names, units=rows.units[is_known])
        return self.kind.score(rows.scores[is_known], truth, self.metric_names)

    def score(self, logits: np.ndarray, labels: np.ndarray, split: str | None = None) -> dict[str, float]:
        """The task's metrics over the labelled items; both as a model and a data set have them, of all rows of a split,
        by default the first of validation.

        Raises:
            ValueError: nothing is labelled, or a logit is no finite number.
        """
        if self.kind.answer_rows is not None:
            return self.score_answers(self.answer_rows(split or next(iter(self.validation)), logits))
        is_item = None if self.kind.item_column is None else labels >= 0
        items, item_labels = self.kind.take_items(logits, is_item), self.kind.take_labels(labels, is_item)
        flat = item_labels.reshape(len(item_labels), -1)
        is_known = (flat >= 0 if np.issubdtype(flat.dtype, np.integer) else ~np.isnan(flat)).all(axis=1)
        if not is_known.any():
            raise ValueError(f"None of {len(labels)} rows has a label: score a split that is labelled.")
        row_items = None if is_item is None else is_item.sum(axis=1)
        units = self.read_units(split)
        units = None if units is None else units[is_known]
        truth = Truth(item_labels[is_known], self.label_names, row_items, self.decision_threshold, units)
        return self.kind.score(items[is_known], truth, self.metric_names)

    def list_splits(self) -> Iterator[tuple[str, Dataset]]:
        """("train", ...), the validation sets by name and, where there is one, ("test", ...)."""
        yield "train", self.train
        yield from self.validation.items()
        if self.test is not None:
            yield "test", self.test

    def list_rows(self) -> dict[str, Dataset]:
        """The splits by name and, where there are any, the unlabelled rows."""
        return dict(self.list_splits()) | ({} if self.unlabelled is None else {UNLABELLED: self.unlabelled})

    def with_rows(self, rows: Mapping[str, Dataset]) -> "TaskData":
        """Others in the place of all that `list_rows` gives."""
        validation = {name: rows[name] for name in self.validation}
        return replace(
            self, train=rows["train"], validation=validation, test=rows.get("test"), unlabelled=rows.get(UNLABELLED)
        )

    def map_splits(self, change: Callable[[Dataset], Dataset]) -> "TaskData":
        """The task with every split, and the unlabelled rows, changed."""
        return self.with_rows({name: change(rows) for name, rows in self.list_rows().items()})

    def map_labels(self, places: dict[int, int], num_classes: int) -> "TaskData":
        """The same rows, class i of the labels at places[i] of `num_classes`."""

        def map_rows(rows: dict[str, list]) -> dict[str, list]:
            return {"labels": [self.kind.move_label(label, places, num_classes) for label in rows["labels"]]}

        return self.map_splits(lambda rows: rows.map(map_rows, batched=True, desc="Relabelling"))

    def list_absent_labels(self) -> list[str]:
        """The classes of which there is no training row, where any has a label."""
        if self.is_taught_alone:
            return []
        present = self.kind.find_present(self.train["labels"])
        return [name for index, name in enumerate(self.label_names or []) if index not in present]
