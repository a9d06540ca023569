"""One task, raw or tokenized, as all rooms above hand it on.

Entry: `TaskData`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

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

    def map_labels(self, places: dict[int, int]) -> "TaskData":
        """The same rows, every label another one."""

        def map_rows(rows: dict[str, list]) -> dict[str, list]:
            return {"labels": [places[label] for label in rows["labels"]]}

        mapped = {
            name: rows.map(map_rows, batched=True, desc=f"Relabelling {name}") for name, rows in self.list_splits()
        }
        train, test = mapped.pop("train"), mapped.pop("test", None)
        return replace(self, train=train, test=test, validation=mapped)

    def list_absent_labels(self) -> list[str]:
        """The classes of which there is no training row."""
        present = set(self.train["labels"])
        return [name for index, name in enumerate(self.label_names or []) if index not in present]
