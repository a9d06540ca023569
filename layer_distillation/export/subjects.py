"""What is exported, and on which rows it is scored: all had again from a finished run's folder and record.

Entry: `load_rows`, `mark_items`, `load_student`, `load_teacher`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.cards.limits import find_max_length
from layer_distillation.records.run_record import RunRecord
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.evaluation_sets import RETRIEVAL
from layer_distillation.tasks.kinds.entry import ITEM_MARKS, TaskKind
from layer_distillation.tasks.kinds.table import find_model_kind
from layer_distillation.tasks.loading import fingerprint_task, fingerprint_tokens, load_task
from layer_distillation.tasks.model_checks import explain_errors, get_auto_class, quiet_loading
from layer_distillation.tasks.retrieval import describe_sets
from layer_distillation.tasks.tokenizing import tokenize_task
from layer_distillation.tasks.transfer_set import add_transfer_set
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.loading import (
    fingerprint_model,
    load_checked,
    load_tokenizer,
    locate_fine_tuned,
    locate_teacher,
)

NO_SCORES = "--no_scores exports without scores"
NO_CONTROLS = "--no_controls exports without the teacher beside the student"


@dataclass
class Subject:
    """A model in all its forms.

    Attributes:
        folder: its PyTorch form and its tokenizer.
        data: its tokenized rows; None where nothing is scored.
        old_ids: of a trimmed vocabulary, what number each token had before.
        uncovered: likewise, by split the rows that have a token which is gone; all others are the same tokens.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    data: TaskData | None
    old_ids: list[int] = field(default_factory=list)
    uncovered: dict[str, list[int]] = field(default_factory=dict)

    @property
    def kind(self) -> TaskKind:
        return find_model_kind(self.model)


def pick_arguments(kind: type, arguments: dict[str, Any]) -> Any:
    """A dataclass of flags, as the record's run had them."""
    return kind(**{flag.name: arguments[flag.name] for flag in fields(kind) if flag.name in arguments})


# ---- rows --------------------------------------------------------------------------------------------------------


def load_texts(record: RunRecord) -> TaskData:
    """The run's rows with their texts.

    Raises:
        ValueError: they are not where they were.
    """
    try:
        arguments = pick_arguments(DataArguments, record.arguments)
        # Of rows without any gold label the teacher named the classes.
        teacher_labels = record.task["label_names"] or ["LABEL_0"]
        texts = add_transfer_set(load_task(arguments, teacher_labels), arguments)
        return replace(texts, options=texts.options | record.task.get("options", {}))  # some are the teacher's folder's
    except ValueError as error:
        raise ValueError(
            f"the rows of this run cannot be had again ({error}): bring them back, start in the folder that the run "
            f"was started in, or {NO_SCORES}"
        ) from error


def tokenize_texts(texts: TaskData, tokenizer: PreTrainedTokenizerBase, record: RunRecord) -> TaskData:
    return tokenize_task(texts, tokenizer, find_max_length(record))


def load_rows(texts: TaskData, tokenizer: PreTrainedTokenizerBase, record: RunRecord) -> TaskData:
    """Those of `load_texts`, tokenized.

    Raises:
        ValueError: they are not the rows of the run.
    """
    data = tokenize_texts(texts, tokenizer, record)
    if changed := list_changed(data, record):
        raise ValueError(
            f"the rows that this run names are others than it was trained and scored on ({' and '.join(changed)}): "
            f"bring those back, or {NO_SCORES}"
        )
    return data


def list_changed(data: TaskData, record: RunRecord) -> list[str]:
    """What is not as the run had it. Of records from before the tokens of the test rows were in them, their number
    says it."""
    task, test = record.task, data.test
    known = task.get("test_fingerprint")
    found = {
        "training or validation": fingerprint_task(data) == task["fingerprint"],
        "test": (0 if test is None else data.count_rows("test", test)) == task["rows"].get("test", 0)
        and (known is None or fingerprint_tokens(test) == known),
        "retrieval sets": describe_sets(data.retrieval) == task.get(RETRIEVAL, {}),
    }
    return [name for name, is_same in found.items() if not is_same]


def mark_items(data: TaskData, predictions: Mapping[str, np.ndarray]) -> TaskData:
    """With the items that the run scored: of words that a teacher of other tokens could not read there is nothing."""
    column = data.kind.item_column

    def mark(split: str, rows: Dataset) -> Dataset:
        marks = predictions.get(f"{split}.{ITEM_MARKS}")
        if marks is None:
            return rows
        own = np.split(marks.astype(int), np.cumsum(measure_lengths(rows))[:-1])
        return rows.remove_columns(column).add_column(column, [row.tolist() for row in own])

    return data.with_rows({split: mark(split, rows) for split, rows in data.list_rows().items()})


# ---- models ------------------------------------------------------------------------------------------------------


def load_student(folder: Path, kind: TaskKind) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Raises ValueError where the folder's model or tokenizer cannot be loaded."""
    with explain_errors(str(folder), f"the student in {folder} cannot be loaded", "run its command again"):
        model = get_auto_class(kind).from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
        return model, AutoTokenizer.from_pretrained(folder)


def load_teacher(record: RunRecord, data: TaskData, cache_dir: str | None) -> PreTrainedModel:
    """The very teacher, of several the first, its labels in the task's order; nothing is trained.

    Args:
        data: tokenized, as a fine-tuned teacher is kept by the rows that it was fine-tuned on.

    Raises:
        ValueError: it is not there any more.
    """
    arguments = pick_arguments(TeacherArguments, record.arguments | ({"cache_dir": cache_dir} if cache_dir else {}))
    arguments.additional_teachers, arguments.teacher_seeds = None, str(arguments.seeds[0])
    try:
        location = locate_teacher(arguments)
        model, is_head_new, _ = load_checked(location, arguments, load_tokenizer(location, arguments), data)
    except ValueError as error:
        raise ValueError(f"the teacher of this run cannot be loaded ({error}): {NO_CONTROLS}") from error
    if is_head_new and not arguments.allow_untrained_teacher:
        folder = locate_fine_tuned(arguments, model, record.task["fingerprint"])
        if not (folder / "config.json").is_file():
            raise ValueError(
                f"the fine-tuned teacher of this run is not in {folder} any more: give the --cache_dir that holds it; "
                f"or {NO_CONTROLS}"
            )
        with quiet_loading():
            model = get_auto_class(data.kind).from_pretrained(
                folder, use_safetensors=True, trust_remote_code=arguments.trust_remote_code, dtype=torch.float32
            )
    first = record.teacher.get("members", [record.teacher])[0]
    if (found := fingerprint_model(model)) != first["fingerprint"]:
        raise ValueError(
            f"the teacher in {location} is another than this run imitated ({found[:12]}, not "
            f"{first['fingerprint'][:12]}): bring that one back, or {NO_CONTROLS}"
        )
    return model.eval()


def save_model(model: PreTrainedModel, folder: Path) -> None:
    save = find_model_kind(model).save
    if save is None:
        model.save_pretrained(folder)
    else:
        save(model, folder)
