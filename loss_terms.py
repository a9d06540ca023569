"""Which terms of the loss are on, and whether teacher and student can be compared on them."""

from collections.abc import Mapping

from transformers import PreTrainedModel

from distillation_arguments import TERM_NAMES, DistillationTrainingArguments
from teacher_store import TeacherStore


def select_term_weights(args: DistillationTrainingArguments, has_teacher: bool) -> dict[str, float]:
    """Term name -> weight for the terms that are on; a term with weight 0 is never computed."""
    if not has_teacher:
        return {"ce": 1.0}
    weights = {name: getattr(args, f"{name}_weight") for name in TERM_NAMES}
    return {name: weight for name, weight in weights.items() if weight > 0}


def check_teacher_fits(
    student: PreTrainedModel, teacher: PreTrainedModel | TeacherStore, weights: Mapping[str, float]
) -> None:
    """Raises ValueError where the two cannot be compared."""
    compared = [("num_labels", "logits")]
    compared += [("hidden_size", "hidden states")] if "hidden" in weights else []
    compared += [("num_attention_heads", "attention matrices")] if "attention" in weights else []
    for attribute, what in compared:
        student_value, teacher_value = getattr(student.config, attribute), getattr(teacher.config, attribute)
        if student_value != teacher_value:
            raise ValueError(
                f"the {what} of student and teacher cannot be compared: {attribute} is {student_value} in the student "
                f"and {teacher_value} in the teacher; cut the student from this teacher, or set that term's weight to 0"
            )
    if student.config.num_labels == 1 and "logit_cosine" in weights:
        raise ValueError("logit_cosine_weight > 0 on a regression task: one output has no direction; set it to 0")


def check_store_fits(store: TeacherStore, layer_matching: list[int], weights: Mapping[str, float]) -> None:
    """Raises ValueError where the store lacks what the terms need."""
    held = {
        "hidden": ("hidden states", store.spec.hidden_layers),
        "attention": ("attention matrices", store.spec.attention_layers),
    }
    for term, (what, layers) in held.items():
        if term in weights and list(layers) != layer_matching:
            raise ValueError(
                f"the store holds {what} of teacher layers {list(layers)}, and the student is to imitate "
                f"{layer_matching}: fill a store for these"
            )
