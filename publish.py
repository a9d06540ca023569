"""What leaves a run: the student's folder with its tokenizer and model card, and the push to the Hub."""

import fnmatch
import shlex
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    EvalResult,
    HfApi,
    ModelCard,
    ModelCardData,
    get_token,
    is_offline_mode,
)
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill_trainer import DistillationTrainingArguments
from run_record import RECORD_NAME, RunRecord, read_run_record

CARD_NAME = "README.md"
# The run's own beside the student, all folders apart: what resumes it, and what tells of the user's disk and data.
NEVER_PUSHED = (".*", "*.bin", "*.pt", "*.pth", "*.npz", RECORD_NAME)


class PushError(OSError):
    """A push that failed; the message says at what. The student's folder is as it was."""


def check_push(arguments: DistillationTrainingArguments) -> None:
    """Raises ValueError where a push is bound to fail, hours before it is tried: no token, offline, no valid name."""
    if not arguments.push_to_hub:
        return
    if arguments.hub_token is None and get_token() is None:
        raise ValueError(
            "--push_to_hub needs a token of the Hugging Face Hub and found none: run `hf auth login`, set HF_TOKEN, or "
            "leave --push_to_hub out"
        )
    if is_offline_mode():
        raise ValueError(
            "--push_to_hub needs the Hub, and HF_HUB_OFFLINE=1 forbids it: unset it, or leave --push_to_hub out (the "
            "same command with it pushes the finished student later)"
        )
    try:
        validate_repo_id(name_repository(Path(arguments.output_dir), arguments))
    except HFValidationError as error:
        raise ValueError(f"--push_to_hub has no valid name to push to ({error}): give --hub_model_id") from error


def save_student(student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, record: RunRecord, folder: Path) -> None:
    """Writes weights, config, tokenizer and model card; the folder then loads anywhere without this project."""
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_model_card(record, str(folder)).save(folder / CARD_NAME)


def push_student(folder: Path, arguments: DistillationTrainingArguments) -> str:
    """Uploads the student of a finished run as one commit, its card naming the repository; returns its address.

    Raises:
        PushError: the Hub said no, or could not be reached. Nothing is lost.
    """
    api = HfApi(token=arguments.hub_token)
    try:
        repository = open_repository(api, folder, arguments)
        card = build_model_card(read_run_record(folder), repository)
        commit = api.create_commit(
            repository,
            [
                CommitOperationAdd(CARD_NAME, str(card).encode()),
                *(CommitOperationAdd(path.name, path) for path in list_student_files(folder)),
            ],
            commit_message="Distilled student",
            revision=arguments.hub_revision,
        )
    # The Hub's client raises its HTTP library's errors for lost connections, RuntimeError for a file that did not
    # arrive, ValueError for a card that the Hub refuses, and OSError for the rest.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise PushError(describe_push_error(error)) from error
    return commit.commit_url


def describe_push_error(error: Exception) -> str:
    """What went wrong, the Hub's own words before its client's, which begin with addresses."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return f"{error} {describe_push_error(error.__cause__)}"
    if isinstance(error, HfHubHTTPError):
        return f"{error.response.status_code} {error.server_message or error}"
    return f"{type(error).__name__}: {error}"


def open_repository(api: HfApi, folder: Path, arguments: DistillationTrainingArguments) -> str:
    """Creates what is missing of repository and branch; returns the repository's name with its owner.

    Raises:
        ValueError: it is to be private and exists in public.
    """
    name = name_repository(folder, arguments)
    repository = api.create_repo(name, private=arguments.hub_private_repo, exist_ok=True).repo_id
    if arguments.hub_private_repo and not api.model_info(repository).private:
        raise ValueError(
            f"{repository} exists and is public, which --hub_private_repo does not change: make it private on the Hub, "
            "or give another --hub_model_id"
        )
    if arguments.hub_revision is not None:
        api.create_branch(repository, branch=arguments.hub_revision, exist_ok=True)
    return repository


def name_repository(folder: Path, arguments: DistillationTrainingArguments) -> str:
    """The user's name for it, else the folder's; without an owner the token's."""
    return arguments.hub_model_id or folder.resolve().name


def list_student_files(folder: Path) -> list[Path]:
    """Weights, config and tokenizer; not the card, which is written anew for the Hub."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and not any(fnmatch.fnmatch(path.name, pattern) for pattern in (*NEVER_PUSHED, CARD_NAME))
    ]


def build_model_card(record: RunRecord, location: str) -> ModelCard:
    """The card: what the student was cut from and how, what it scores, how to load it from `location`."""
    student, task, teacher = record.student, record.task, record.teacher
    rows = [
        f"| {layer} | {'fresh weights' if source is None else source} |"
        for layer, source in enumerate(student["layers"])
    ]
    scores = [
        f"| {split} | {name} | {value:.4f} | {format_optional(teacher['metrics'].get(split, {}).get(name))} |"
        for split, metrics in record.metrics.items()
        for name, value in metrics.items()
    ]
    content = CARD.format(
        metadata=build_card_metadata(record, Path(location).name).to_yaml(),
        name=Path(location).name,
        teacher=Path(teacher["name"]).name if teacher["is_local"] else teacher["name"],
        task=task["name"],
        layers=len(student["layers"]),
        teacher_layers=teacher["layers"],
        strategy=record.strategy,
        layer_rows="\n".join(rows),
        score_rows="\n".join(scores),
        parameters=f"{student['parameters']:,}",
        teacher_parameters=f"{teacher['parameters']:,}",
        location=location,
        command=hide_folders(record.command),
        seed=record.seed,
    )
    return ModelCard(content)


def hide_folders(command: str) -> str:
    """The command with the last part in place of every path of this machine."""
    words = []
    for word in shlex.split(command):
        flag, is_pair, value = word.rpartition("=")
        is_local = "/" in value and (value.startswith(("/", ".", "~")) or Path(value).exists())
        words.append(f"{flag}{is_pair}{Path(value).name}" if is_local else word)
    return shlex.join(words)


def format_optional(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def build_card_metadata(record: RunRecord, name: str) -> ModelCardData:
    """The card's machine-readable head: base model, datasets, metrics as a model index, tags."""
    task, teacher = record.task, record.teacher
    dataset_name = find_hub_dataset(task)
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=dataset_name or task["name"],
            dataset_name=task["name"],
            dataset_split=split,
            metric_type=metric,
            metric_value=record.metrics[split][metric],
        )
        for split in record.metrics
        for metric in task["metric_names"]
        if metric in record.metrics[split]
    ]
    return ModelCardData(
        base_model=None if teacher["is_local"] else teacher["name"],
        datasets=[dataset_name] if dataset_name else None,
        eval_results=results or None,
        library_name="transformers",
        metrics=list(task["metric_names"]),
        model_name=name,
        pipeline_tag="text-classification",
        tags=["knowledge-distillation", "layer-pruning"],
    )


def find_hub_dataset(task: dict[str, Any]) -> str | None:
    """The data set's name on the Hub; None for the user's own files or folder, whose name the Hub refuses in a card."""
    name = task["dataset_name"]
    return None if name is None or Path(name).is_dir() else name


CARD = """---
{metadata}
---

# {name}

A student of {layers} layers, cut from the {teacher_layers} layers of `{teacher}` (strategy `{strategy}`) and trained by
knowledge distillation on `{task}`.

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer
student = AutoModelForSequenceClassification.from_pretrained("{location}")
tokenizer = AutoTokenizer.from_pretrained("{location}")
```

## Where its layers come from

| student layer | teacher layer |
|---|---|
{layer_rows}

## Scores

| split | metric | student | teacher |
|---|---|---|---|
{score_rows}

Parameters: {parameters} (teacher {teacher_parameters}). One run, seed {seed}: a difference of one or two points from
another run is within what a seed changes.

## Training

```
{command}
```

## Limits

Trained and scored on one data set; it inherits the teacher's biases and licence. Nothing was measured on other data.
"""
