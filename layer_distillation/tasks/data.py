"""One task, raw or tokenized, as all rooms above hand it on.

Entry: `TaskData`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from datasets import Dataset, concatenate_datasets


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

    @property
    def student_train(self) -> Dataset:
        """What the student trains on: the training rows, and after them the unlabelled ones."""
        return self.train if self.unlabelled is None else concatenate_datasets([self.train, self.unlabelled])

    @property
    def is_regression(self) -> bool:
        return self.label_names is None

    @property
    def first_validation(self) -> Dataset:
        return next(iter(self.validation.values()))

    def list_splits(self) -> Iterator[tuple[str, Dataset]]:
        """("train", ...), the validation sets by name and, where there is one, ("test", ...)."""
        yield "train", self.train
        yield from self.validation.items()
        if self.test is not None:
            yield "test", self.test

    def map_splits(self, change: Callable[[Dataset], Dataset]) -> "TaskData":
        """The task with every split, and the unlabelled rows, changed."""
        validation = {name: change(rows) for name, rows in self.validation.items()}
        test, unlabelled = (None if rows is None else change(rows) for rows in (self.test, self.unlabelled))
        return replace(self, train=change(self.train), validation=validation, test=test, unlabelled=unlabelled)

    def map_labels(self, places: dict[int, int]) -> "TaskData":
        """The same rows, every label another one."""

        def map_rows(rows: dict[str, list]) -> dict[str, list]:
            return {"labels": [places[label] for label in rows["labels"]]}

        return self.map_splits(lambda rows: rows.map(map_rows, batched=True, desc="Relabelling"))

    def list_absent_labels(self) -> list[str]:
        """The classes of which there is no training row."""
        present = set(self.train["labels"])
        return [name for index, name in enumerate(self.label_names or []) if index not in present]
