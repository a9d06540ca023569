"""Speed at BERT-base's size, with random weights: milliseconds of a step, share of the ceiling, memory, waits."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from datasets import Dataset
from torch.profiler import ProfilerActivity, profile
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.gpu_folder import Sizes, make_tokenizer, read_sizes
from benchmarks.gpu_sick import begin_peak, fill_store, list_random_rows, make_arguments, read_peak
from benchmarks.host_waits import count_waits, list_per_step
from benchmarks.peers import RecipeTrainer
from distill_trainer import DistillationTrainer
from layer_distillation.trainer import wrappers
from student_init import build_student, choose_student_layers, get_num_layers

LOGITS_ALONE = {"hidden_weight": 0.0, "pkd_weight": 0.0}
ROWS_PER_BATCH = 4  # distinct ones: the hidden states of more would fill a small disk
SHOWN_OPERATIONS = 8
Show = Callable[..., None]
Train = Callable[[PreTrainedModel, Dataset, Any, Path, list[TrainerCallback]], None]


class CountedSteps(TrainerCallback):
    """Milliseconds of a step once the first ones are over, and the waits of these steps; the GPU is waited for twice,
    not at every step."""

    def __init__(self, uncounted: int, steps: int, waits: Counter[str] | None = None) -> None:
        self.uncounted, self.steps = uncounted, steps
        self.start = self.milliseconds = 0.0
        self.waits = Counter() if waits is None else waits
        self.counted_waits: Counter[str] = Counter()

    def on_step_end(self, args: TrainingArguments, state: Any, *_: Any, **__: Any) -> None:
        if state.global_step not in (self.uncounted, self.uncounted + self.steps):
            return
        self.counted_waits = self.waits.copy()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.waits.clear()  # whatever moved the models there, or compiled, or waited just now
        now = time.perf_counter()
        self.milliseconds, self.start = 1000 * (now - self.start) / self.steps, now


# ---- the parts -----------------------------------------------------------------------------------------------------


def time_ways(folder: Path, work: Path, show: Show) -> None:
    """12 -> 6 layers: stock fine-tuning, docs' recipe, ours live and from stores, by batch size."""
    sizes = read_sizes(folder)
    ceilings = {name: measure_product(sizes.product_size, dtype) for name, dtype in PRECISIONS.items()}
    show(product_teraflops=ceilings)
    teacher = make_teacher(sizes)
    for batch in sizes.batches:
        rows = make_rows(batch, sizes)
        for way, (precision, train) in list_ways(teacher, rows, work).items():
            figures = time_way(train, teacher, rows, batch, sizes, work)
            needed = 6 * count_layer_weights(teacher) / 2 * batch * sizes.length  # of a student with half of the layers
            share = needed / (figures["milliseconds"] / 1000) / (ceilings[precision] * 1e12)
            show(way=way, batch=batch, precision=precision, share_of_ceiling=share, **figures)


def profile_ways(folder: Path, work: Path, show: Show) -> None:
    """What makes the processor wait at every step of ours, and the operations that take the most time."""
    sizes = read_sizes(folder)
    teacher, batch = make_teacher(sizes), sizes.batches[0]
    rows = make_rows(batch, sizes)
    for way in ("ours, live, bf16", "ours, stored states, bf16"):
        _, train = list_ways(teacher, rows, work)[way]
        fill_store(teacher, rows, work)  # before anything is counted
        with count_waits(find_device()) as waits:
            counted = CountedSteps(sizes.uncounted_steps, sizes.steps, waits)
            train(teacher, rows, make_options(batch, sizes), work, [counted])
        per_step = list_per_step(counted.counted_waits, sizes.steps)
        show(way=way, waits_per_step=per_step, in_all=sum(counted.counted_waits.values()), steps=sizes.steps)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        with profile(activities=activities) as profiled:
            time_way(train, teacher, rows, batch, sizes, work)
        show(way=way, operations=list_operations(profiled, sizes.uncounted_steps + sizes.steps))


def time_variants(folder: Path, work: Path, show: Show) -> None:
    """Ours at the largest batch: plain, with attention matrices compared, masks as stock makes them, compiled."""
    sizes = read_sizes(folder)
    teacher, batch = make_teacher(sizes), sizes.batches[-1]
    rows = make_rows(batch, sizes)
    variants = {
        "live": train_ours("live"),
        "live, attention term": train_ours("live", attention_weight=1.0),
        "live, masks as stock makes them": train_ours("live", reads_masks=True),
        "stored states, compiled": train_ours("stored", torch_compile=True),
        "live, compiled": train_ours("live", torch_compile=True),
    }
    for name, train in variants.items():
        try:
            show(variant=name, batch=batch, **time_way(train, teacher, rows, batch, sizes, work))
        except Exception as error:  # a compiler may be missing: the other variants are worth having
            show(variant=name, batch=batch, error=f"{type(error).__name__}: {str(error).splitlines()[0][:300]}")


# ---- the ways ------------------------------------------------------------------------------------------------------


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def list_ways(teacher: PreTrainedModel, rows: Dataset, work: Path) -> dict[str, tuple[str, Train]]:
    """Name -> precision of the student, and how it is trained."""
    return {
        "stock, labels alone, fp32": ("fp32", train_stock(False)),
        "stock, labels alone, bf16": ("bf16", train_stock(True)),
        "docs recipe, fp32": ("fp32", train_recipe(teacher, False)),
        "docs recipe, bf16": ("bf16", train_recipe(teacher, True)),
        "ours, stored logits, bf16": ("bf16", train_ours("stored", **LOGITS_ALONE)),
        "ours, stored states, bf16": ("bf16", train_ours("stored")),
        "ours, live logits, bf16": ("bf16", train_ours("live", **LOGITS_ALONE)),
        "ours, live, bf16": ("bf16", train_ours("live")),
        "ours, live, teacher in bf16 too": ("bf16", train_ours("live", teacher_bf16=True)),
    }


def train_stock(is_bf16: bool) -> Train:
    def train(teacher: PreTrainedModel, rows: Dataset, options: Any, work: Path, callbacks: list) -> None:
        Trainer(
            cut_student(teacher), make_stock_arguments(work, is_bf16, options), train_dataset=rows,
            processing_class=make_tokenizer(), callbacks=callbacks,
        ).train()  # fmt: skip

    return train


def train_recipe(own_teacher: PreTrainedModel, is_bf16: bool) -> Train:
    def train(teacher: PreTrainedModel, rows: Dataset, options: Any, work: Path, callbacks: list) -> None:
        RecipeTrainer(
            cut_student(teacher), make_stock_arguments(work, is_bf16, options), train_dataset=rows, teacher=own_teacher,
            processing_class=make_tokenizer(), callbacks=callbacks,
        ).train()  # fmt: skip

    return train


def train_ours(source: str, reads_masks: bool = False, **loss: Any) -> Train:
    def train(teacher: PreTrainedModel, rows: Dataset, options: Any, work: Path, callbacks: list) -> None:
        stored = fill_store(teacher, rows, work, **loss) if source == "stored" else teacher
        begin_peak(teacher)
        trainer = DistillationTrainer(
            model=cut_student(teacher),
            args=make_arguments(work, eval_strategy="no", logging_strategy="no", bf16=True, **options | loss),
            teacher=stored,
            train_dataset=rows,
            processing_class=make_tokenizer(),
            callbacks=callbacks,
        )
        with patch.object(wrappers, "make_masks_unread", nullcontext) if reads_masks else nullcontext():
            trainer.train()

    return train


def cut_student(teacher: PreTrainedModel) -> PreTrainedModel:
    layers = choose_student_layers("even", get_num_layers(teacher.config), None, seed=0)
    return build_student(teacher, layers, "even", teacher_name="teacher", seed=0)


def make_stock_arguments(work: Path, is_bf16: bool, options: dict[str, Any]) -> TrainingArguments:
    stock = {"save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True}
    stock["use_cpu"] = find_device().type == "cpu"
    return TrainingArguments(str(work / "stock"), bf16=is_bf16, **stock, **options)


# ---- what is measured ----------------------------------------------------------------------------------------------


def time_way(
    train: Train, teacher: PreTrainedModel, rows: Dataset, batch: int, sizes: Sizes, work: Path
) -> dict[str, Any]:
    counted = CountedSteps(sizes.uncounted_steps, sizes.steps)
    begin_peak(teacher)
    train(teacher, rows, make_options(batch, sizes), work, [counted])
    return {"milliseconds": counted.milliseconds, "peak_memory_bytes": read_peak()}


def make_options(batch: int, sizes: Sizes) -> dict[str, Any]:
    workers = 2 if torch.cuda.is_available() else 0
    return {
        "per_device_train_batch_size": batch,
        "max_steps": sizes.uncounted_steps + sizes.steps,
        "dataloader_num_workers": workers,
        "dataloader_persistent_workers": workers > 0,
    }


def measure_product(size: int, dtype: torch.dtype, repeats: int = 10) -> float:
    """Teraflop/s of a square matrix product, TF32 off: what the card gives at most."""
    device = find_device()
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for is_counted in (False, True):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats if is_counted else 3):
            left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return 2 * size**3 * repeats / seconds / 1e12


def make_teacher(sizes: Sizes) -> PreTrainedModel:
    torch.manual_seed(0)
    config = BertConfig(**(sizes.base_config or {}), num_labels=3)
    return BertForSequenceClassification(config).eval()


def make_rows(batch: int, sizes: Sizes) -> Dataset:
    vocabulary = (sizes.base_config or {}).get("vocab_size", BertConfig().vocab_size)
    return Dataset.from_list(list_random_rows(ROWS_PER_BATCH * batch, sizes.length, vocabulary))


def count_layer_weights(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.base_model.encoder.parameters())


def list_operations(profiled: profile, steps: int) -> dict[str, float]:
    """Name -> milliseconds per step of the operations that take the most time, of the GPU where there is one."""
    name = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    events = sorted(profiled.key_averages(), key=lambda event: -getattr(event, name))
    return {event.key: getattr(event, name) / 1000 / steps for event in events[:SHOWN_OPERATIONS]}


def find_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
