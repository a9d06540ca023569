"""Layer-initialised distillation: a shallower student out of some layers of a fine-tuned teacher.

One folder per room; a room imports only rooms below it (`tests/test_layering.py` has the floors). The public names are
those below; whatever else is in the rooms may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill_trainer import DistillationTrainer, DistillationTrainingArguments
    from student_init import build_student, choose_student_layers

__version__ = "0.2.0"
__all__ = ["DistillationTrainer", "DistillationTrainingArguments", "build_student", "choose_student_layers"]

# Loaded when first asked for: a command that needs no torch imports rooms of this package, too.
_HOMES = {
    "DistillationTrainer": "distill_trainer",
    "DistillationTrainingArguments": "distill_trainer",
    "build_student": "student_init",
    "choose_student_layers": "student_init",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
