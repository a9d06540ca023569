"""What leaves a run: the student's folder with its tokenizer and model card, and the push to the Hub."""

import logging
from pathlib import Path

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData, get_token
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill_trainer import DistillationTrainingArguments
from run_record import RunRecord

logger = logging.getLogger(__name__)

NEVER_PUSHED = ["checkpoint-*", "*/checkpoint-*", "optimizer*", "*.bin", "*.pt", "*.pth", ".*", "runs/*"]


def check_push(arguments: DistillationTrainingArguments) -> None:
    """Raises ValueError where a push would fail for want of a token, hours before it is tried."""
    if arguments.push_to_hub and arguments.hub_token is None and get_token() is None:
        raise ValueError(
            "--push_to_hub needs a token of the Hugging Face Hub and found none: run `hf auth login`, set HF_TOKEN, or "
            "leave --push_to_hub out"
        )


def save_student(student: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, record: RunRecord, folder: Path) -> None:
    """Writes weights, config, tokenizer and model card; the folder then loads anywhere without this project."""
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_model_card(record, str(folder)).save(folder / "README.md")


def push_student(folder: Path, arguments: DistillationTrainingArguments) -> str:
    """Uploads the student's folder, without checkpoints, as one commit; returns its address.

    Raises:
        huggingface_hub.errors.HfHubHTTPError, OSError: the Hub said no, or could not be reached. Nothing is lost.
    """
    api = HfApi(token=arguments.hub_token)
    repository = api.create_repo(
        arguments.hub_model_id or folder.name, private=arguments.hub_private_repo, exist_ok=True
    ).repo_id
    commit = api.upload_folder(
        repo_id=repository,
        folder_path=folder,
        ignore_patterns=NEVER_PUSHED,
        revision=arguments.hub_revision,
        commit_message="Distilled student",
    )
    return commit.commit_url


def build_model_card(record: RunRecord, location: str) -> ModelCard:
    """The card: what the student was cut from and how, what it scores, how to use it."""
    student, task, teacher = record.student, record.task, record.teacher
    lines = [f"| {layer} | {source} |" for layer, source in enumerate(student["layers"])]
    scores = [
        f"| {split} | {name} | {value:.4f} | {format_optional(teacher['metrics'].get(split, {}).get(name))} |"
        for split, metrics in record.metrics.items()
        for name, value in metrics.items()
    ]
    content = CARD.format(
        metadata=build_card_metadata(record, Path(location).name).to_yaml(),
        name=Path(location).name,
        teacher=teacher["name"],
        task=task["name"],
        layers=len(student["layers"]),
        teacher_layers=teacher["layers"],
        strategy=record.strategy,
        layer_rows="\n".join(lines),
        score_rows="\n".join(scores),
        parameters=f"{student['parameters']:,}",
        teacher_parameters=f"{teacher['parameters']:,}",
        location=location,
        command=record.command,
        seed=record.seed,
    )
    return ModelCard(content)


def format_optional(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def build_card_metadata(record: RunRecord, name: str) -> ModelCardData:
    """The card's machine-readable head: base model, datasets, metrics as a model index, tags."""
    task, teacher = record.task, record.teacher
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=task["dataset_name"] or task["name"],
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
        datasets=[task["dataset_name"]] if task["dataset_name"] else None,
        eval_results=results or None,
        library_name="transformers",
        metrics=list(task["metric_names"]),
        model_name=name,
        pipeline_tag="text-classification",
        tags=["knowledge-distillation", "layer-pruning"],
    )


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
