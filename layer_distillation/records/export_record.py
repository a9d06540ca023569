"""ExportRecord: what an export of a finished student left and measured, `export.json` beside the run's own record.

The run's record stays as the run wrote it. Without torch.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layer_distillation.records.run_record import list_weight_files

EXPORT_NAME = "export.json"
STUDENT, TRIMMED, TEACHER = "student", "trimmed student", "teacher"


@dataclass
class Artifact:
    """One model in one form. Agreement: the share of rows with the same class; of a regression Pearson's correlation.

    Attributes:
        model: the student, the student with a trimmed vocabulary, or the teacher, which is the control.
        path: below the run's folder; None of a control, which is measured and not kept, and of a form that was refused.
        metrics: split -> metric -> value, `intervals` likewise: 95 %, of the rows.
        agreement: split -> `student` or `teacher` (both in PyTorch) -> value.
        change: of the headline against the student in PyTorch, `difference`, `low` and `high`: 95 %, paired by row.
        milliseconds: threads -> rows of the batch -> median of a pass.
        first_answer_seconds: of a fresh process, from its start.
        warning: why the gate did not let it pass; None of what did.
    """

    model: str
    format: str
    path: str | None
    bytes: int
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, list[float] | None]] = field(default_factory=dict)
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)
    change: dict[str, float] | None = None
    milliseconds: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    first_answer_seconds: float | None = None
    warning: str | None = None

    @property
    def name(self) -> str:
        return f"{self.model}, {self.format}"


@dataclass
class ExportRecord:
    """All that an export made; `weights` is the sha256 of the PyTorch student that it is of."""

    command: str
    weights: str
    versions: dict[str, str]
    hardware: dict[str, Any]
    headline: dict[str, str]  # `split` and `metric` that the gate and the verdict go by
    max_metric_loss: float
    agreement: str = "same answer as"  # the student or the teacher: what the agreement of artifacts is
    tokens: int = 0  # of each timed row
    artifacts: list[Artifact] = field(default_factory=list)
    vocabulary: dict[str, Any] | None = None
    verdict: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Replaces the folder's export record in one step."""
        unfinished = folder / f".unfinished-{EXPORT_NAME}"
        unfinished.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")
        unfinished.replace(folder / EXPORT_NAME)

    def find(self, model: str, form: str) -> Artifact | None:
        return next((made for made in self.artifacts if (made.model, made.format) == (model, form)), None)


def read_export_record(folder: Path) -> ExportRecord | None:
    """What was exported from the student that lies in `folder` now; None where nothing was, or of other weights.

    Raises:
        ValueError: the file is not one that this version wrote.
    """
    path = folder / EXPORT_NAME
    if not path.exists():
        return None
    try:
        record = ExportRecord(**json.loads(path.read_text(encoding="utf-8")))
        record.artifacts = [Artifact(**entry) for entry in record.artifacts]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is no export record of this version ({error}): remove it, export again") from error
    return record if record.weights == fingerprint_weights(folder) else None


def fingerprint_weights(folder: Path) -> str:
    """sha256 over the weights files of a student."""
    digest = hashlib.sha256()
    for path in list_weight_files(folder):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
