"""Tries settings of a teacher's fine-tuning on one task, epoch by epoch: its recipe is chosen on validation rows.

    python -m benchmarks.search_teacher trials_sick.jsonl --trial learning_rate=5e-5,epochs=4 \\
        --trial learning_rate=2e-4,epochs=4,layer_decay=0.85 -- --teacher_model_name_or_path ENCODER \\
        --train_file train.csv --validation_file validation.csv --test_file test.csv

From the repository's root. Behind `--` stand flags of run_distillation.py: data, encoder, whatever all trials share. A
trial names what it changes of DEFAULTS, each the flag of the same meaning (FLAGS), and is fine-tuned as a run with
these flags fine-tunes its teacher, with the same seed to the same weights, but only its scores are kept.

Each trial is a JSON object on a line of the file: `task`, `settings`, `seconds`, and `epochs`, of each the loss and the
metrics on the validation rows (`validation_...`) and the test rows (`test_...`). A trial that is there already is
skipped, so that the same command goes on after a kill; other machines' lines may be added by hand.

The table shows all trials of the task; kept is the epoch that a run would keep, that of the lowest validation loss or
as `--teacher_metric_for_best_model` says, by whose metric the trials are ranked; best is the one with the highest
validation metric, which flatters. Test scores are shown and choose nothing. The last line is one JSON object: the best
trial, and its flags.
"""

import argparse
import dataclasses
import json
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerCallback

from distill_trainer import DistillationTrainer
from layer_distillation.runs.arguments import RunArguments, parse_command_line
from layer_distillation.runs.flag_checks import check_arguments
from layer_distillation.runs.preparation import load_tokenized_task, make_scorer
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.metric_directions import is_larger_better
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.loading import (
    load_teacher_config,
    load_tokenizer,
    load_with_task_head,
    locate_teacher,
    make_training_arguments,
)
from layer_distillation.teachers.training import make_trainer

DEFAULTS = {
    "learning_rate": 5e-5,
    "epochs": 4,
    "batch": 32,
    "warmup": 0.1,
    "weight_decay": 0.0,
    "layer_decay": 1.0,
    "seed": 42,
}
FLAGS = {
    "learning_rate": "teacher_learning_rate",
    "epochs": "teacher_num_train_epochs",
    "batch": "teacher_train_batch_size",
    "warmup": "teacher_warmup_steps",
    "weight_decay": "teacher_weight_decay",
    "layer_decay": "teacher_layer_decay",
    "seed": "teacher_seeds",
}
Trial = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = [*(sys.argv[1:] if argv is None else argv), "--"]
    place = words.index("--")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("trials", type=Path, help="The file of JSON lines, made where it is missing.")
    parser.add_argument("--trial", action="append", default=[], help=f"name=value,...; defaults: {DEFAULTS}")
    arguments = parser.parse_args(words[:place])
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        wanted = [DEFAULTS | parse_trial(text) for text in arguments.trial]
        run = parse_command_line(words[place + 1 : -1])
        kept_by = f"validation_{run.teacher.teacher_metric_for_best_model.removeprefix('eval_')}"
        found = search(arguments.trials, wanted, run, kept_by)
    except (ValueError, OSError) as error:
        print(f"search_teacher.py: error: {error}", file=sys.stderr)
        return 2
    print(format_table(found, kept_by))
    print(json.dumps(describe_best(found, kept_by)))
    return 0


def parse_trial(text: str) -> dict[str, float]:
    """Raises ValueError for what is no setting."""
    settings: dict[str, float] = {}
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        if name not in DEFAULTS:
            raise ValueError(f"--trial has {pair!r}: give name=value,..., names are {', '.join(DEFAULTS)}")
        try:
            settings[name] = type(DEFAULTS[name])(float(value))
        except ValueError:
            raise ValueError(f"--trial has {pair!r}: give {name} a number") from None
    return settings


def read_trials(path: Path) -> list[Trial]:
    """Raises ValueError where a line is none."""
    trials = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        try:
            trial = json.loads(line)
            trials.append({name: trial[name] for name in ("task", "settings", "seconds", "epochs")})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no trial, cut short by a kill perhaps: remove it") from error
    return trials


# ---- training ------------------------------------------------------------------------------------------------------


def search(path: Path, wanted: Sequence[dict[str, float]], run: RunArguments, kept_by: str) -> list[Trial]:
    """Fine-tunes what is not in the file yet; returns the task's trials, the best one first.

    Raises:
        ValueError: the flags cannot be meant so, the encoder is fine-tuned already, or there is no trial at all.
    """
    check_arguments(run)
    location = locate_teacher(run.teacher)
    tokenizer = load_tokenizer(location, run.teacher)
    data = load_tokenized_task(run, tokenizer, load_teacher_config(location, run.teacher))
    for settings in wanted:
        if not any((trial["task"], trial["settings"]) == (data.name, settings) for trial in read_trials(path)):
            trial = try_settings(run, location, tokenizer, data, settings)
            with path.open("a") as file:
                file.write(json.dumps(trial) + "\n")
    found = [trial for trial in read_trials(path) if trial["task"] == data.name]
    if not found:
        raise ValueError(f"{path} holds no trial of {data.name}: give some by --trial, such as learning_rate=1e-4")
    return sorted(found, key=lambda trial: -find_kept(trial, kept_by)[name_metric(trial)])


def try_settings(
    run: RunArguments,
    location: str,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    settings: dict[str, float],
) -> Trial:
    """One fine-tuning, as the product does it."""
    start = time.perf_counter()
    teacher = name_flags(run.teacher, settings)
    model, is_head_new = load_with_task_head(location, teacher, tokenizer, data)
    if not is_head_new:
        raise ValueError(f"{location} has a trained head: give the encoder that it was made from")
    with tempfile.TemporaryDirectory() as folder:
        shared = make_training_arguments(teacher, run.training)
        unsaved = {"output_dir": folder, "save_strategy": "no", "load_best_model_at_end": False}
        training = dataclasses.replace(shared, **unsaved)
        trainer = make_trainer(model, tokenizer, data, training, make_scorer(data), teacher.teacher_layer_decay)
        scores = ScoreEpochs(trainer, data)
        trainer.add_callback(scores)
        trainer.train()
    seconds = time.perf_counter() - start
    return {"task": data.name, "settings": settings, "seconds": seconds, "epochs": scores.epochs}


def name_flags(teacher: TeacherArguments, settings: dict[str, float]) -> TeacherArguments:
    """Raises ValueError where a flag refuses its value."""
    values = {FLAGS[name]: value for name, value in settings.items()}
    return dataclasses.replace(teacher, **values | {FLAGS["seed"]: str(settings["seed"])})


class ScoreEpochs(TrainerCallback):
    """Keeps the trainer's own scores of the validation rows, and adds those of the test rows."""

    def __init__(self, trainer: DistillationTrainer, data: TaskData) -> None:
        self.trainer, self.data = trainer, data
        self.epochs: list[dict[str, float]] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        scores = {
            name.replace("eval_", "validation_"): value for name, value in metrics.items() if name.startswith("eval_")
        }
        if self.data.test is not None:
            test = self.trainer.predict(self.data.test, metric_key_prefix="test").metrics
            scores |= {name: value for name, value in test.items() if not name.endswith(("_per_second", "_runtime"))}
        self.epochs.append(scores)


# ---- what they say -------------------------------------------------------------------------------------------------


def name_metric(trial: Trial) -> str:
    """The task's first one, such as `validation_accuracy`."""
    return next(name for name in trial["epochs"][0] if name.startswith("validation_") and name != "validation_loss")


def find_kept(trial: Trial, kept_by: str) -> dict[str, float]:
    """The epoch that a run would keep: the first of equals, as the Trainer does.

    Raises:
        ValueError: the trial has no such score.
    """
    if kept_by not in trial["epochs"][0]:
        raise ValueError(
            f"--teacher_metric_for_best_model: a trial of {trial['task']} has {', '.join(trial['epochs'][0])}"
        )
    sign = -1 if is_larger_better(kept_by) else 1
    return min(trial["epochs"], key=lambda epoch: sign * epoch[kept_by])


def format_table(trials: Sequence[Trial], kept_by: str) -> str:
    """A row per trial; settings that are the default in all of them are left out."""
    varied = [name for name in DEFAULTS if any(trial["settings"][name] != DEFAULTS[name] for trial in trials)]
    metric = name_metric(trials[0])
    test = metric.replace("validation_", "test_")
    titles = [*varied, f"kept: {metric}", test, f"best: {metric}", test, "seconds"]
    rows = [titles, ["---"] * len(titles)]
    for trial in trials:
        kept, best = find_kept(trial, kept_by), max(trial["epochs"], key=lambda epoch: epoch[metric])
        scores = [format_score(epoch, name) for epoch in (kept, best) for name in (metric, test)]
        rows.append([*(f"{trial['settings'][name]:g}" for name in varied), *scores, f"{trial['seconds']:.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def format_score(epoch: dict[str, float], name: str) -> str:
    return f"{epoch[name]:.4f}" if name in epoch else "-"


def describe_best(trials: Sequence[Trial], kept_by: str) -> dict[str, Any]:
    best = trials[0]
    changed = {name: value for name, value in best["settings"].items() if value != DEFAULTS[name]}
    flags = " ".join(f"--{FLAGS[name]} {value:g}" for name, value in changed.items())
    return {"task": best["task"], "settings": best["settings"], "flags": flags, "epoch": find_kept(best, kept_by)}


if __name__ == "__main__":
    sys.exit(main())
