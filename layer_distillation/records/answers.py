"""What the teacher was, where it is no model that was trained on the task, and which rows had a gold label: in words.

Without torch. Entry: `describe_answers`, `describe_gold`.
"""

from pathlib import PurePath
from typing import Any

from layer_distillation.records.run_record import RunRecord

SOFT_LABELS, ZERO_SHOT, OWN_TOKENS = "soft labels", "zero-shot", "own tokens"  # as `teachers/answers.py` has them


def describe_answers(teacher: dict[str, Any]) -> str:
    """Of the record's teacher, one that has a `kind`; a folder by its last part."""
    name = PurePath(teacher["name"]).name if teacher["is_local"] else teacher["name"]
    if teacher["kind"] == SOFT_LABELS:
        return f"{name} ({', '.join(teacher['columns'])}); no teacher model was loaded"
    if teacher["kind"] == ZERO_SHOT:
        names = ", ".join(teacher["classes"])
        return f"{name}, never trained on the task: zero-shot by entailment ({teacher['template']!r} of {names})"
    return f"{name}, by a tokenizer of its own: its logits alone were imitated"


def describe_gold(record: RunRecord) -> str:
    """Which splits had no gold label; the task's entry `without_gold` names them."""
    without, splits = record.task["without_gold"], list(record.task["rows"])
    if set(without) == set(splits):
        return "No gold label was seen: all scores are closeness to the teacher, whose own errors they do not show"
    is_chosen_by_teacher = next(split for split in splits if split != "train") in without
    closeness = "; their scores are closeness to the teacher" if is_chosen_by_teacher else ""
    return f"Trained on the teacher alone: no gold label in {', '.join(without)}{closeness}"
