"""The facts of a run that its record states: versions, hardware, and what task, teacher and student are."""

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from layer_distillation.cards.teacher_card import read_teacher_card
from layer_distillation.losses.projections import Projections, count_projections
from layer_distillation.outputs.store import fingerprint_rows
from layer_distillation.records.run_record import RunRecord
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.evaluation_sets import RETRIEVAL
from layer_distillation.tasks.kinds.entry import LABELS
from layer_distillation.tasks.loading import fingerprint_tokens
from layer_distillation.tasks.retrieval import describe_sets
from layer_distillation.teachers.loading import Teacher
from student_init import get_num_layers

RECORDED_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "evaluate", "scikit-learn")


def list_versions() -> dict[str, str]:
    """Python and the packages that decide a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in RECORDED_PACKAGES}


def describe_hardware(device: torch.device) -> dict[str, Any]:
    """The machine, as far as it decides seconds."""
    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else read_processor_name(),
        "cores": os.cpu_count(),
        "processes": PartialState().num_processes,
    }


def read_processor_name() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def describe_task(data: TaskData, fingerprint: str) -> dict[str, Any]:
    """The task's names, and how many rows each split has; `fingerprint` is of the labelled rows."""
    return {
        "name": data.name,
        "kind": data.kind.name,
        "dataset_name": data.dataset_name,
        "dataset_config_name": data.dataset_config_name,
        "text_columns": list(data.text_columns),
        "label_names": data.label_names,
        "metric_names": list(data.metric_names),
        "rows": {split: data.count_rows(split, rows) for split, rows in data.list_splits()},
        **({"windows": {split: len(rows) for split, rows in data.list_splits()}} if data.kind.answer_rows else {}),
        **({RETRIEVAL: describe_sets(data.retrieval)} if data.retrieval else {}),
        "fingerprint": fingerprint,
        "test_fingerprint": None if data.test is None else fingerprint_tokens(data.test),
        "unlabelled_rows": 0 if data.unlabelled is None else len(data.unlabelled),
        "max_length": data.max_length,
        "texts": data.text_facts,
        "unlabelled_fingerprint": None if data.unlabelled is None else fingerprint_rows(data.unlabelled),
    } | describe_labels(data)


def describe_labels(data: TaskData) -> dict[str, Any]:
    """The answers of the student, how the data write them where that differs, and those without a training row."""
    entries = {"label_names": data.label_names, "metric_names": list(data.metric_names)}
    if data.options:
        entries["options"] = data.options
    if data.outputs == LABELS:
        entries["decision_threshold"] = data.decision_threshold
    if data.is_taught_alone:
        entries["without_gold"] = [split for split, rows in data.list_splits() if not data.has_labels(rows)]
    if data.written_labels and list(data.written_labels.values()) != data.label_names:
        entries["written_labels"] = {data.label_names[index]: name for index, name in data.written_labels.items()}
    if absent := data.list_absent_labels():
        entries["labels_without_rows"] = absent
    return entries


def describe_teacher(teacher: Teacher, revision: str, metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What was imitated, how good it is itself, and what its own card says; `revision` is of one on the Hub."""
    if teacher.answers is not None:
        return teacher.answers.facts | {"fingerprint": teacher.fingerprint, "metrics": metrics}
    return {
        "name": teacher.name,
        "is_local": Path(teacher.location).is_dir(),
        "is_trained": teacher.is_trained,
        "fingerprint": teacher.fingerprint,
        "model_type": teacher.model.config.model_type,
        "layers": get_num_layers(teacher.model.config),
        "parameters": count_parameters(teacher.model),
        "metrics": metrics,
        "card": read_teacher_card(teacher.location, revision),
    }


def describe_student(
    student: PreTrainedModel,
    layers: list[int | None],
    layer_matching: list[int],
    projections: Projections | None = None,
) -> dict[str, Any]:
    """What came out; `layers[j]` is where student layer j started from, `layer_matching[j]` what it was to imitate,
    `layer_scores` what a strategy that looks at data chose by, None for the others; `source` the checkpoint that it
    came from instead of the teacher, `width_init` what a narrower one kept. `projection_parameters` were trained beside
    it and are no part of it."""
    made = student.config.distillation
    return {
        "layers": layers,
        "layer_scores": made.get("layer_scores"),
        "layer_matching": layer_matching,
        "matching_similarity": made.get("matching_similarity"),
        "source": made.get("source"),
        "width_init": made.get("width_init"),
        "hidden_size": student.config.hidden_size,
        "parameters": count_parameters(student),
        "projection_parameters": count_projections(projections),
    }


def count_parameters(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def measure_peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU that the run uses, else this process's resident set at its largest."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


@contextmanager
def timed(record: RunRecord, stage: str) -> Iterator[None]:
    """Adds the seconds of a stage to the record; a resumed run adds to what it had."""
    start = time.perf_counter()
    yield
    record.seconds[stage] = record.seconds.get(stage, 0.0) + time.perf_counter() - start
