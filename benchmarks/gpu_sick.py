"""Real students on a GPU: SICK's strategies over seeds from one store, and SST-2 with a teacher fine-tuned there."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, EvalPrediction, PreTrainedModel, set_seed

from benchmarks.gpu_folder import Sizes, load_teacher, make_tokenizer, read_rows, read_sizes
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.losses.terms import list_wanted_layers, select_term_weights
from layer_distillation.outputs.store import TeacherStore, make_spec
from layer_distillation.teachers.store_filling import open_or_fill
from student_init import build_student, choose_student_layers, get_num_layers

STRATEGIES = ("top", "bottom", "odd", "even")
Show = Callable[..., None]


def compare_strategies(folder: Path, work: Path, show: Show) -> None:
    """Four strategies x seeds of SICK: seconds and accuracy of each student on the test rows; and of the teacher."""
    sizes, splits = read_sizes(folder), ("train", "validation", "test")
    rows = dict(zip(splits, (read_rows(folder, f"sick_{split}", limit(sizes, split)) for split in splits), strict=True))
    teacher = load_teacher(folder)
    show(teacher_accuracy=score(teacher, rows["test"], work), rows={split: len(part) for split, part in rows.items()})
    start = time.perf_counter()
    store = fill_store(teacher, rows["train"], work)
    show(store_seconds=time.perf_counter() - start, store_bytes=store.spec.count_bytes())
    for seed in sizes.seeds:
        for strategy in STRATEGIES:
            begin_peak()
            start = time.perf_counter()
            trainer = train_student(teacher, store, strategy, seed, rows, sizes, work)
            seconds = time.perf_counter() - start
            accuracy = trainer.evaluate(rows["test"], metric_key_prefix="test")["test_accuracy"]
            show(strategy=strategy, seed=seed, seconds=seconds, test_accuracy=accuracy, peak_memory_bytes=read_peak())


def compare_sst2(folder: Path, work: Path, show: Show) -> None:
    """A teacher out of SICK's encoder, fine-tuned here, then `even` taught by it and by the labels alone."""
    sizes = read_sizes(folder)
    rows = {split: read_rows(folder, f"sst2_{split}", limit(sizes, split)) for split in ("train", "validation")}
    set_seed(0)
    num_labels = max(rows["train"]["labels"]) + 1
    teacher = load_teacher(folder, num_labels=num_labels, ignore_mismatched_sizes=True)
    start = time.perf_counter()
    fine_tuner = make_trainer(teacher, None, rows, sizes, work, learning_rate=1e-4)
    fine_tuner.train()
    show(teacher_seconds=time.perf_counter() - start, teacher_accuracy=score(teacher, rows["validation"], work))
    store = fill_store(teacher.eval(), rows["train"], work)
    for source in (store, None):
        start = time.perf_counter()
        trainer = train_student(teacher, source, "even", 42, rows, sizes, work)
        accuracy = trainer.evaluate(rows["validation"])["eval_accuracy"]
        seconds = time.perf_counter() - start
        show(loss="labels alone" if source is None else "default", seconds=seconds, validation_accuracy=accuracy)


# ---- what both need ------------------------------------------------------------------------------------------------


def limit(sizes: Sizes, split: str) -> int | None:
    """Rows at most: a dry run takes few."""
    return sizes.evaluated_rows * (1 if split != "train" else 2)


def make_arguments(work: Path, **options: Any) -> DistillationTrainingArguments:
    defaults = {"disable_tqdm": True, "save_strategy": "no", "load_best_model_at_end": False}
    return DistillationTrainingArguments(str(work / "trainer"), **defaults | options)


def make_trainer(
    model: PreTrainedModel,
    teacher: PreTrainedModel | TeacherStore | None,
    rows: dict[str, Dataset],
    sizes: Sizes,
    work: Path,
    **options: Any,
) -> DistillationTrainer:
    return DistillationTrainer(
        model=model,
        args=make_arguments(work, num_train_epochs=sizes.epochs, **options),
        teacher=teacher,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=make_tokenizer(),
        compute_metrics=count_right,
    )


def train_student(
    teacher: PreTrainedModel,
    source: PreTrainedModel | TeacherStore | None,
    strategy: str,
    seed: int,
    rows: dict[str, Dataset],
    sizes: Sizes,
    work: Path,
) -> DistillationTrainer:
    """Half of the layers, by the default loss or, without a source, the labels alone."""
    layers = choose_student_layers(strategy, get_num_layers(teacher.config), None, seed=seed)
    student = build_student(teacher, layers, strategy, teacher_name="teacher", seed=seed)
    trainer = make_trainer(student, source, rows, sizes, work, seed=seed)
    trainer.train()
    return trainer


def fill_store(teacher: PreTrainedModel, rows: Dataset, work: Path, name: str = "own", **options: Any) -> TeacherStore:
    """Of what the loss compares with these arguments; `name` tells this teacher's stores from another's."""
    args = make_arguments(work, **options)
    num_layers = get_num_layers(teacher.config)
    matched = [(layer + 1) * num_layers // (num_layers // 2) - 1 for layer in range(num_layers // 2)]
    wanted = list_wanted_layers(select_term_weights(args, has_teacher=True), matched, num_layers - 1)
    spec = make_spec(teacher.config, f"{name}-{id(teacher)}", rows, *wanted)
    (work / "stores").mkdir(exist_ok=True)
    collate = DataCollatorWithPadding(make_tokenizer())
    return open_or_fill(work / "stores", spec, teacher, rows, collate, args.device)


def score(model: PreTrainedModel, rows: Dataset, work: Path) -> float:
    args = make_arguments(work, eval_strategy="no")
    trainer = DistillationTrainer(
        model=model, args=args, processing_class=make_tokenizer(), compute_metrics=count_right
    )
    return trainer.evaluate(rows)["eval_accuracy"]


def count_right(prediction: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(axis=-1) == prediction.label_ids).mean())}


def begin_peak(teacher: PreTrainedModel | None = None) -> None:
    """From here on `read_peak` counts; a teacher is put away, so that only who runs it pays for its memory."""
    if teacher is not None:
        teacher.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def read_peak() -> int | None:
    """Peak bytes that tensors took on the GPU since; None on a processor."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def list_random_rows(num_rows: int, length: int, vocabulary: int, num_labels: int = 3) -> Sequence[dict[str, Any]]:
    """Rows of random ids, all of one length."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, vocabulary, (num_rows, length), generator=generator).tolist()
    labels = torch.randint(0, num_labels, (num_rows,), generator=generator).tolist()
    return [
        {"input_ids": row, "attention_mask": [1] * length, "labels": label, "example_index": index}
        for index, (row, label) in enumerate(zip(ids, labels, strict=True))
    ]
