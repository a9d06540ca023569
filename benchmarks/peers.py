"""The ways of training that the sweep benchmark sets beside this project; one process of it trains one student.

    python -m benchmarks.peers FOLDER WAY STRATEGY SEED

FOLDER holds the benchmark's settings and its teacher. Every way reads and tokenizes the rows by this project's
functions, so that rows, tokens and label order are the same, and cuts the student by `build_student`; the training is
each way's own.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    get_scheduler,
    set_seed,
)

from benchmarks.peer_losses import compute_recipe_loss, compute_tutorial_loss, take_labelled
from benchmarks.sweep_settings import (
    PRECISION_NOTE,
    TEACHER_LOGITS,
    TEXTS,
    Key,
    Places,
    SweepSettings,
    read_settings,
)
from layer_distillation.losses.arguments import has_bfloat16
from layer_distillation.losses.functions import IGNORED_LABEL
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import TaskData, load_task
from layer_distillation.tasks.model_checks import get_auto_class
from layer_distillation.tasks.tokenizing import tokenize_task
from student_init import build_student, choose_student_layers, get_num_layers

EVALUATION_ROWS = 64  # per step; this project's default, so that no way gains by it


@dataclass
class TrainingJob:
    """One student to train, and all that it takes."""

    settings: SweepSettings
    seed: int
    data: TaskData
    tokenizer: PreTrainedTokenizerBase
    teacher: PreTrainedModel | None
    student: PreTrainedModel
    folder: Path
    cache: Path  # what the runs of one way leave each other


def main(argv: Sequence[str] | None = None) -> None:
    """Trains one student from nothing but files, by the way, strategy and seed that the command line names."""
    folder, way, strategy, seed = sys.argv[1:] if argv is None else argv
    places = Places(Path(folder))
    TRAINERS[way](make_job(places, (way, strategy, int(seed))))


def make_job(places: Places, key: Key) -> TrainingJob:
    """Reads settings, rows and teacher, and cuts the student."""
    way, strategy, seed = key
    folder, cache = places.get_student(key), places.get_cache(way)
    settings = read_settings(places)
    tokenizer = AutoTokenizer.from_pretrained(places.teacher)
    data = read_rows(settings, tokenizer, with_test=False)
    teacher = get_auto_class(data.kind).from_pretrained(places.teacher)
    num_layers = get_num_layers(teacher.config)
    layers = choose_student_layers(strategy, num_layers, settings.student_num_layers, seed=seed)
    student = build_student(teacher, layers, strategy, teacher_name="teacher", seed=seed)
    return TrainingJob(settings, seed, data, tokenizer, teacher, student, folder, cache)


def read_rows(settings: SweepSettings, tokenizer: PreTrainedTokenizerBase, with_test: bool) -> TaskData:
    """The rows that the settings name, tokenized and not padded."""
    arguments = DataArguments(
        train_file=settings.train_file,
        validation_file=settings.validation_file,
        test_file=settings.test_file if with_test else None,
        max_train_samples=settings.max_train_samples,
        max_length=settings.max_length,
        task_type=None if settings.task_type == TEXTS else settings.task_type,
    )
    return tokenize_task(load_task(arguments), tokenizer, settings.max_length)


# ---- the ways ----------------------------------------------------------------------------------------------------


def make_training_arguments(job: TrainingJob, **options: Any) -> TrainingArguments:
    """Stock arguments, float32 unless an option says so: an evaluation and a checkpoint per epoch, the best is kept."""
    return TrainingArguments(
        output_dir=str(job.folder),
        num_train_epochs=job.settings.epochs,
        per_device_train_batch_size=job.settings.batch_size,
        per_device_eval_batch_size=EVALUATION_ROWS,
        learning_rate=job.settings.learning_rate,
        seed=job.seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        load_best_model_at_end=True,
        report_to="none",
        **options,
    )


def train_stock(job: TrainingJob) -> None:
    """Fine-tunes the student on the labels alone; the teacher is only what it was cut from."""
    job.teacher = None
    finish_trainer(Trainer, job)


def train_docs_recipe(job: TrainingJob) -> None:
    """Half cross-entropy, half distillation from the live teacher."""
    finish_trainer(RecipeTrainer, job, teacher=job.teacher)


def finish_trainer(
    trainer_class: type[Trainer], job: TrainingJob, args: TrainingArguments | None = None, **extra: PreTrainedModel
) -> None:
    """Trains with a Trainer, and saves its best student."""
    trainer = trainer_class(
        model=job.student,
        args=args or make_training_arguments(job),
        train_dataset=job.data.train,
        eval_dataset=job.data.first_validation,
        processing_class=job.tokenizer,
        data_collator=DataCollatorForTokenClassification(job.tokenizer) if job.data.kind.is_per_token else None,
        compute_metrics=partial(score_items, job.data) if job.data.kind.is_per_token else score_predictions,
        **extra,
    )
    trainer.train()
    trainer.save_model()


class RecipeTrainer(Trainer):
    """The Trainer subclass of the documentation's distillation recipe: the teacher runs on every batch."""

    def __init__(self, *args: Any, teacher: PreTrainedModel, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher.to(self.args.device).eval()

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        outputs = model(**inputs)
        with torch.no_grad():
            teacher_logits = self.teacher(**inputs).logits
        loss = compute_recipe_loss(*take_labelled(outputs.logits, teacher_logits, inputs["labels"]))
        return (loss, outputs) if return_outputs else loss


def train_expert(job: TrainingJob) -> None:
    """The recipe's loss as whoever knows the Trainer well would train it: in bfloat16, with the fused AdamW, batches of
    similar lengths, and the teacher's logits computed once, by the first run, as a column of the rows."""
    is_cpu = not torch.accelerator.is_available()
    is_bf16 = not job.settings.fp32 and has_bfloat16(is_cpu)
    job.data.train = job.data.train.add_column("teacher_logits", read_teacher_logits(job, is_bf16).tolist())
    job.teacher = None
    options = {"bf16": is_bf16, "optim": "adamw_torch_fused", "train_sampling_strategy": "group_by_length"}
    finish_trainer(ColumnTrainer, job, make_training_arguments(job, use_cpu=is_cpu, **options))
    (job.folder / PRECISION_NOTE).write_text(json.dumps({"precision": "bf16" if is_bf16 else "fp32"}))


class ColumnTrainer(Trainer):
    """The recipe's loss, the teacher's logits being in the batch; evaluated rows have none."""

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = list({*self._signature_columns, "teacher_logits"})

    def compute_loss(
        self, model: PreTrainedModel, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        teacher_logits = inputs.pop("teacher_logits", None)
        outputs = model(**inputs)
        loss = outputs.loss
        if teacher_logits is not None:
            loss = compute_recipe_loss(outputs.logits.float(), teacher_logits, inputs["labels"])
        return (loss, outputs) if return_outputs else loss


@torch.no_grad()
def read_teacher_logits(job: TrainingJob, is_bf16: bool) -> np.ndarray:
    """(rows, classes), in the rows' order; computed by the first run of a sweep, longest rows first."""
    path = job.cache / TEACHER_LOGITS
    if path.exists():
        return np.load(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    order = np.argsort([-len(ids) for ids in job.data.train["input_ids"]], kind="stable")
    batches = make_loader(job.data.train.select(order).remove_columns("labels"), job.tokenizer, EVALUATION_ROWS)
    teacher = job.teacher.to(device).eval()
    with torch.autocast(device, torch.bfloat16, enabled=is_bf16):
        parts = [teacher(**{name: ids.to(device) for name, ids in batch.items()}).logits.float() for batch in batches]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, logits := torch.cat(parts).cpu().numpy()[np.argsort(order)])
    return logits


def score_predictions(prediction: EvalPrediction) -> dict[str, float]:
    is_labelled = prediction.label_ids != IGNORED_LABEL
    is_right = prediction.predictions.argmax(axis=-1) == prediction.label_ids
    return {"accuracy": float(is_right[is_labelled].mean())}


def score_items(data: TaskData, prediction: EvalPrediction) -> dict[str, float]:
    return data.score(prediction.predictions, prediction.label_ids)


def train_plain_loop(job: TrainingJob) -> None:
    """A tutorial's loop: live teacher, no warm-up, no clipping, the loss read at every step, the last student saved."""
    set_seed(job.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher, student = job.teacher.to(device).eval(), job.student.to(device)
    train_batches = make_loader(job.data.train, job.tokenizer, job.settings.batch_size, shuffle=True)
    validation_batches = make_loader(job.data.first_validation, job.tokenizer, EVALUATION_ROWS)
    optimizer = torch.optim.AdamW(student.parameters(), lr=job.settings.learning_rate)
    num_steps = job.settings.epochs * len(train_batches)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=num_steps)
    for epoch in range(job.settings.epochs):
        student.train()
        total_loss = 0.0
        for batch in train_batches:
            inputs = {name: tensor.to(device) for name, tensor in batch.items()}
            with torch.no_grad():
                teacher_logits = teacher(**inputs).logits
            loss = compute_tutorial_loss(student(**inputs).logits, teacher_logits, inputs["labels"])
            loss.backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            total_loss += loss.item()
        accuracy = measure_accuracy(student, validation_batches)
        print(f"epoch {epoch + 1}: loss {total_loss / len(train_batches):.4f}, accuracy {accuracy:.4f}")
    student.save_pretrained(job.folder)
    job.tokenizer.save_pretrained(job.folder)


def make_loader(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, batch_rows: int, shuffle: bool = False
) -> DataLoader[dict[str, Tensor]]:
    """Batches of the model's inputs, padded to the longest of each."""
    inputs = rows.remove_columns("example_index")
    return DataLoader(inputs, batch_size=batch_rows, shuffle=shuffle, collate_fn=DataCollatorWithPadding(tokenizer))


@torch.no_grad()
def measure_accuracy(model: PreTrainedModel, batches: DataLoader[dict[str, Tensor]]) -> float:
    """The share of labelled rows whose class is right; leaves the model in eval mode."""
    model.eval()
    num_right = num_labelled = 0
    for batch in batches:
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
        labels = inputs.pop("labels")
        is_labelled = labels != IGNORED_LABEL
        num_right += (model(**inputs).logits.argmax(dim=-1) == labels)[is_labelled].sum().item()
        num_labelled += is_labelled.sum().item()
    return num_right / num_labelled


TRAINERS: dict[str, Callable[[TrainingJob], None]] = {
    "stock": train_stock,
    "docs_recipe": train_docs_recipe,
    "plain_loop": train_plain_loop,
    "expert": train_expert,
}

if __name__ == "__main__":
    main()
