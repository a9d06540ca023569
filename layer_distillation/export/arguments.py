"""ExportArguments: what an export is asked for, checked before anything is loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layer_distillation.export.conversion import DEFAULT_OPSET, check_opset

DEFAULT_FORMATS = "onnx,onnx-int8"
DEFAULT_METRIC_LOSS = 0.01
TIMING_SECONDS = 3.0


@dataclass(frozen=True)
class ExportArguments:
    """`folder` is a finished run's. `vocabulary_files` are texts whose tokens a trimmed vocabulary keeps."""

    folder: Path
    formats: list[str]
    opset: int = DEFAULT_OPSET
    max_metric_loss: float = DEFAULT_METRIC_LOSS
    strict: bool = False
    with_scores: bool = True
    with_controls: bool = True
    trim_vocabulary: bool = False
    vocabulary_files: tuple[Path, ...] = ()
    cache_dir: str | None = None
    timing_seconds: float = TIMING_SECONDS
    command: str = ""
    hardware: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_opset(self.opset)
        if not 0 <= self.max_metric_loss <= 1:
            raise ValueError(f"--max_metric_loss is {self.max_metric_loss:g}: give a share from 0 to 1, such as 0.01")
        if self.strict and not self.with_scores:
            raise ValueError("--strict refuses by scores, and --no_scores makes none: leave one of them out")
        if self.timing_seconds <= 0:
            raise ValueError(f"--timing_seconds is {self.timing_seconds:g}: give a number above 0")
        if self.vocabulary_files and not self.trim_vocabulary:
            raise ValueError("--vocabulary_files say what --trim_vocabulary keeps: add that, or leave them out")
        for path in self.vocabulary_files:
            if not path.is_file():
                raise ValueError(f"--vocabulary_files has {path}, which is no file: give files of text")

    @property
    def has_controls(self) -> bool:
        """Whether the teacher stands beside the student: without scores it would show nothing."""
        return self.with_controls and self.with_scores

    @property
    def needs_rows(self) -> bool:
        return self.with_scores or self.trim_vocabulary
