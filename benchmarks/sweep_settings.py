"""What a benchmark of sweeps compares: the ways of training, their settings and folders, and their command lines."""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("stock", "docs_recipe", "plain_loop", "expert")
PRECISION_NOTE = "precision.json"  # beside a peer's student that is not of float32
TEACHER_LOGITS = "teacher_logits.npy"  # in the cache of the way that keeps them
PROJECT_FLAGS = {"this_project_logits": ["--hidden_weight", "0", "--pkd_weight", "0"], "this_project_hidden": []}
WAYS = (*PEERS, *PROJECT_FLAGS)
TEXTS, TAGS = "text-classification", "token-classification"
METRICS = {TEXTS: "accuracy", TAGS: "entity_f1"}  # by kind of task, what students are scored by
WAYS_OF_TAGS = ("stock", "docs_recipe", *PROJECT_FLAGS)  # the others' loops are of one label to a row

Key = tuple[str, str, int]


def fingerprint_code() -> str:
    """Of this project's modules and the benchmarks."""
    digest = hashlib.sha256()
    for path in sorted((*ROOT.glob("*.py"), *ROOT.glob("layer_distillation/**/*.py"), *ROOT.glob("benchmarks/*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class SweepSettings:
    """All that decides what one child does, but for its way, strategy and seed."""

    teacher: str
    train_file: str
    validation_file: str
    test_file: str | None = None
    max_train_samples: int | None = None
    max_length: int = 128
    epochs: int = 3
    student_num_layers: int | None = None
    batch_size: int = 32
    learning_rate: float = 1e-4
    threads: int = 1
    fp32: bool = False
    task_type: str = TEXTS
    code: str = field(default_factory=fingerprint_code)  # other code has other defaults and other seconds


@dataclass(frozen=True)
class Places:
    """Where a benchmark keeps what."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "settings.json"

    @property
    def runs(self) -> Path:
        return self.folder / "runs.jsonl"

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared.json"

    @property
    def scores(self) -> Path:
        return self.folder / "scores.json"

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher"

    @property
    def students(self) -> Path:
        return self.folder / "students"

    def get_student(self, key: Key) -> Path:
        return self.students / name_run(key)

    def get_log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def get_cache(self, way: str) -> Path:
        return self.folder / "caches" / way


def read_settings(places: Places) -> SweepSettings:
    return SweepSettings(**json.loads(places.settings.read_text(encoding="utf-8")))


def name_run(key: Key) -> str:
    way, strategy, seed = key
    return f"{way}-{strategy}-seed{seed}"


def make_command(key: Key, settings: SweepSettings, places: Places) -> list[str]:
    """The child's command line."""
    way, strategy, seed = key
    if way in PEERS:
        return [sys.executable, "-m", "benchmarks.peers", str(places.folder), way, strategy, str(seed)]
    flags = make_project_flags(settings, str(places.teacher), strategy, seed)
    folders = ["--cache_dir", str(places.get_cache(way)), "--output_dir", str(places.get_student(key))]
    return [sys.executable, str(ROOT / "run_distillation.py"), *flags, *PROJECT_FLAGS[way], *folders]


def make_project_flags(settings: SweepSettings, teacher: str, strategy: str, seed: int) -> list[str]:
    """The flags of `run_distillation.py` without folders; the test file is left out, as no other way reads it."""
    values = {
        "teacher_model_name_or_path": teacher,
        "train_file": settings.train_file,
        "validation_file": settings.validation_file,
        "max_train_samples": settings.max_train_samples,
        "max_length": settings.max_length,
        "layer_strategy": strategy,
        "student_num_layers": settings.student_num_layers,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "seed": seed,
        "bf16": "false" if settings.fp32 else None,
        "task_type": settings.task_type if settings.task_type != TEXTS else None,
    }
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
