"""RunRecord: everything that a run was told and found, one JSON file per run.

Without torch, so that what only reads records takes no second.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from layer_distillation.records.module_folders import WEIGHTS_NAME, list_dense_weights

RECORD_NAME = "run_record.json"
RUNNING, FINISHED = "running", "finished"

# Arguments that may change between two starts of the same run.
HARMLESS_ARGUMENTS = frozenset(
    [
        "cache_dir",
        "dataloader_num_workers",
        "dataloader_pin_memory",
        "dataloader_prefetch_factor",
        "disable_tqdm",
        "export",
        "hub_always_push",
        "hub_model_id",
        "hub_private_repo",
        "hub_revision",
        "hub_strategy",
        "keep_checkpoints",
        "log_level",
        "log_level_replica",
        "logging_dir",
        "output_dir",
        "project",
        "push_to_hub",
        "report_to",
        "resume_from_checkpoint",
        "run_name",
        "skip_memory_metrics",
        "trim_vocabulary",
    ]
)


# What a run did before a flag existed: a record of then is compared, and gone on with, as if it had said so.
EARLIER_BEHAVIOUR: dict[str, Any] = {
    "additional_teachers": None,
    "attention_loss": "mse",
    "beam_width": 4,
    "calibration_rows": 256,
    "class_weights": None,
    "embedding_weight": 0.0,
    "evaluation_files": None,
    "hypothesis_template": None,
    "intermediate_epochs": 0.0,
    "margin_weight": 0.0,
    "max_unlabeled_samples": None,
    "metrics": None,
    "pkd_last_layer": True,
    "pkd_weight": 0.0,
    "recombined_pairs": None,
    "relation_heads": 12,
    "relation_layer": None,
    "relation_weight": 0.0,
    "rkd_weight": 0.0,
    "save_dtype": "float32",
    "schedules": "",
    "soft_label_columns": None,
    "soft_label_kind": None,
    "second_stage": "prediction",
    "similarity_loss": "kl",
    "similarity_weight": 0.0,
    "student_attention_heads": None,
    "student_dtype": "float32",
    "student_hidden_size": None,
    "student_intermediate_size": None,
    "student_model_name_or_path": None,
    "student_source_model": None,
    "student_width_init": "importance",
    "teacher_bf16": False,
    "teacher_layer_decay": 1.0,
    "teacher_metric_for_best_model": "loss",
    "teacher_seeds": "42",
    "tuned_flags": None,
    "unlabeled_file": None,
    "zero_shot_labels": None,
}


@dataclass
class RunRecord:
    """Units: losses in nats (regression: squared label units), `seconds` by stage, memory in bytes."""

    command: str
    arguments: dict[str, Any]
    versions: dict[str, str]
    hardware: dict[str, Any]
    seed: int
    strategy: str
    status: str = RUNNING
    task: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    student: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: float | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    speed: dict[str, Any] = field(default_factory=dict)  # of student_speed.py; empty in records of before it
    asked: dict[str, Any] = field(default_factory=dict)  # of `arguments`, what had to be set otherwise

    def write(self, folder: Path) -> None:
        """Replaces the folder's record in one step, so that a reader finds the old one or the new one whole.

        One run at a time writes here (`process_locks.hold_run_folder`), so that what a kill left is written over.
        """
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".unfinished-{RECORD_NAME}"
        unfinished.write_text(self.format(), encoding="utf-8")
        unfinished.replace(folder / RECORD_NAME)

    def format(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def count_rows_per_step(self) -> int:
        """Rows of one optimizer step over all processes; records of before do not say what the memory allowed."""
        rows_at_once = self.student.get("train_batch_rows", self.arguments["per_device_train_batch_size"])
        return rows_at_once * self.arguments["gradient_accumulation_steps"] * self.hardware.get("processes", 1)

    def list_differences(self, arguments: dict[str, Any]) -> list[str]:
        """`name: old -> new` for every argument that makes it another run."""
        own = self.arguments | self.asked
        names = sorted((own.keys() | arguments.keys()) - HARMLESS_ARGUMENTS)
        return [
            f"{name}: {own.get(name)!r} -> {arguments.get(name)!r}"
            for name in names
            if own.get(name) != arguments.get(name)
        ]


def read_run_record(folder: Path) -> RunRecord:
    """The record of a run's folder.

    Raises:
        ValueError: there is none, or it is not one that this version wrote.
    """
    path = folder / RECORD_NAME
    try:
        return parse_run_record(path.read_bytes(), path)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} holds no {RECORD_NAME}: it is not the folder of a run") from error


def parse_run_record(content: bytes, path: Path) -> RunRecord:
    """The record that a file holds, or held: `path` is for the message. Raises ValueError as `read_run_record`."""
    try:
        record = RunRecord(**json.loads(content.decode("utf-8")))
        record.arguments = EARLIER_BEHAVIOUR | record.arguments
        return record
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a run record of this version ({error}): remove it and run again") from error


def find_damage(folder: Path) -> str | None:
    """What is wrong with the student in a finished run's folder, in one line; None where it can be read.

    Its config names an architecture, its tokenizer has a config, and every weights file that is there, or that the
    index of a sharded student names, is as long as its own header says. The numbers themselves are not checked.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not {"model_type", "architectures"} <= config.keys():
            raise ValueError("config.json names no architecture")
        json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        for path in list_weight_files(folder):
            with safe_open(path, framework="numpy"):  # reads the header and compares it with the file's length
                pass
    except (OSError, ValueError, SafetensorError) as error:
        return f"its student cannot be read ({' '.join(str(error).split())[:160]})"
    return None


def list_weight_files(folder: Path) -> list[Path]:
    """model.safetensors or, of a sharded student, every file that its index names; and those of dense layers behind a
    sentence encoder."""
    dense, index = list_dense_weights(folder), folder / f"{WEIGHTS_NAME}.index.json"
    if not index.exists():
        return [folder / WEIGHTS_NAME, *dense]
    weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    return [*(folder / name for name in sorted(set(weight_map.values()))), *dense]


def summarize_history(log_history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Per evaluation: the epoch, training losses (mean over the steps since the last evaluation) and evaluation values.

    Args:
        log_history: `trainer.state.log_history`; each training entry is a mean over the steps since the entry before.
    """
    history, training, last_step = [], [], 0
    for entry in log_history:
        if any(name.startswith("eval_") for name in entry):
            means = average_entries(training)
            evaluated = {name: value for name, value in entry.items() if name.startswith("eval_")}
            history.append({"epoch": entry["epoch"], "step": entry["step"]} | means | evaluated)
            training = []
        elif "loss" in entry:
            losses = {
                f"train_{name}": value for name, value in entry.items() if name == "loss" or name.endswith("_loss")
            }
            training.append((entry["step"] - last_step, losses))
            last_step = entry["step"]
    return history


def average_entries(entries: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Mean of each logged loss, weighted by steps, over the entries that have it: a term need not count all the time.
    An entry's steps are taken for the term's."""
    means = {}
    for name in dict.fromkeys(name for _, losses in entries for name in losses):
        held = [(weight, losses[name]) for weight, losses in entries if name in losses]
        means[name] = sum(weight * value for weight, value in held) / sum(weight for weight, _ in held)
    return means


def find_loss_name(scores: Mapping[str, float]) -> str:
    """What stands for the loss among some scores: the distance to the teacher, where no row has a gold label."""
    return next((name for name in ("loss", "kl_to_teacher", "mse_to_teacher") if name in scores), "loss")


def find_best_epoch(history: list[dict[str, float]], best_step: int | None) -> float | None:
    """The epoch at whose end the best student was, None where nothing was evaluated."""
    return next((entry["epoch"] for entry in history if entry["step"] == best_step), None)


def check_finished(folder: Path) -> RunRecord:
    """The record of a finished run whose student can be read.

    Raises:
        ValueError: it is not that.
    """
    record = read_run_record(folder)
    if record.status != FINISHED:
        raise ValueError(f"{folder} is not finished: run its command again")
    if damage := find_damage(folder):
        raise ValueError(f"{folder}: {damage}: run its command again")
    return record
