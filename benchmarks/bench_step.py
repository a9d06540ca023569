"""Milliseconds of one training step with each of the things that make it faster, in turns.

    python -m benchmarks.bench_step --model FOLDER --train_file train.csv --validation_file validation.csv

From the repository's root. A student of half the layers is fine-tuned on the labels alone, so that no teacher is in the
figures. Every way trains the same student on the same rows, in one process, A B C ... A B C ...; the first steps of
each (the optimizer's state, a compiler's work) are not counted. The last line of the output is one JSON object.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)

from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.runs.facts import describe_hardware, list_versions
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import TaskData, load_task
from layer_distillation.tasks.tokenizing import tokenize_task
from student_init import build_student, choose_student_layers, get_num_layers

PLAIN = {"optim": "adamw_torch", "length_pool_batches": 1, "bf16": False, "trim_embedding": False}
FUSED = PLAIN | {"optim": "adamw_torch_fused"}
POOLS = FUSED | {"length_pool_batches": 4}
WAYS: dict[str, dict[str, Any]] = {
    "AdamW, plain shuffle, fp32": PLAIN,
    "the same, bf16": PLAIN | {"bf16": True},
    "fused AdamW": FUSED,
    "fused, length pools": POOLS,
    "fused, pools, used embeddings": POOLS | {"trim_embedding": True},
    "fused, pools, bf16": POOLS | {"bf16": True},
    "fused, pools, bf16, used embeddings": POOLS | {"bf16": True, "trim_embedding": True},
    "all of these, compiled": POOLS | {"bf16": True, "trim_embedding": True, "torch_compile": True},
}


class StepTimes(TrainerCallback):
    """When each step of a training ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter())


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    data = load_rows(arguments, tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained(arguments.model, num_labels=len(data.label_names))
    times: dict[str, list[float]] = {way: [] for way in arguments.ways}
    for _ in range(arguments.rounds):
        for way, milliseconds in times.items():
            milliseconds.append(measure_way(way, model, tokenizer, data, arguments))
            print(f"{way}: {milliseconds[-1]:.0f} ms", flush=True)
    facts = {"hardware": describe_hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu"))}
    print(json.dumps(facts | {"versions": list_versions(), "arguments": vars(arguments), "milliseconds": times}))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    for name in ("model", "train_file", "validation_file"):
        parser.add_argument(f"--{name}", required=True)
    for name, default in (("steps", 24), ("uncounted_steps", 8), ("rounds", 2), ("threads", 1), ("batch_size", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    return parser.parse_args(argv)


def load_rows(arguments: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> TaskData:
    num_rows = (arguments.uncounted_steps + arguments.steps) * arguments.batch_size
    files = {"train_file": arguments.train_file, "validation_file": arguments.validation_file}
    return tokenize_task(load_task(DataArguments(**files, max_train_samples=num_rows)), tokenizer, 128)


def measure_way(
    way: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    arguments: argparse.Namespace,
) -> float:
    """Mean milliseconds of the counted steps of one training from the same start."""
    layers = choose_student_layers("even", get_num_layers(model.config), None, seed=0)
    times = StepTimes()
    with tempfile.TemporaryDirectory(prefix="bench_step-") as folder:
        trainer = DistillationTrainer(
            model=build_student(model, layers, "even", teacher_name="model", seed=0),
            args=DistillationTrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=arguments.batch_size,
                max_steps=arguments.uncounted_steps + arguments.steps,
                eval_strategy="no",
                save_strategy="no",
                logging_strategy="no",
                load_best_model_at_end=False,
                disable_tqdm=True,
                **WAYS[way],
            ),
            train_dataset=data.train,
            processing_class=tokenizer,
            callbacks=[times],
        )
        trainer.train()
    counted = times.seconds[arguments.uncounted_steps - 1 :]
    return 1000 * statistics.mean(end - start for start, end in itertools.pairwise(counted))


if __name__ == "__main__":
    main()
