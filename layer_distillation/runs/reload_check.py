"""Whether the saved student is the one that was trained: loaded again as anyone loads it, it gives the same logits.

Entry: `check_reload`, before a record says finished.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from layer_distillation.architectures.plain_logits import compute_plain_logits, describe_difference
from layer_distillation.tasks.kinds.entry import TaskKind
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.model_checks import get_auto_class, quiet_loading

REASON_CHARACTERS = 300


class UnusableStudentError(RuntimeError):
    """What was saved cannot be loaded, or is another model; the message is one line."""


def check_reload(
    student: PreTrainedModel,
    folder: Path,
    inputs: Mapping[str, Tensor],
    trust_remote_code: bool = False,
    kind: TaskKind = TEXT_CLASSIFICATION,
) -> None:
    """Compares the logits of a padded batch.

    Raises:
        UnusableStudentError: they differ by more than rounding, or the folder cannot be loaded.
    """
    try:
        with quiet_loading():
            loaded = get_auto_class(kind).from_pretrained(
                folder, trust_remote_code=trust_remote_code, use_safetensors=True
            )
    except Exception as error:  # whatever the libraries raise
        reason = " ".join(str(error).split())[:REASON_CHARACTERS]
        raise UnusableStudentError(
            f"the student was trained and saved in {folder}, and cannot be loaded again ({reason}): the run is not "
            "finished; report this with the teacher's model type"
        ) from error
    loaded.to(student.device)
    found, wanted = compute_plain_logits(loaded, inputs), compute_plain_logits(student, inputs)
    if difference := describe_difference(found, wanted, student.dtype):
        raise UnusableStudentError(
            f"the student saved in {folder} is not the one that was trained, its logits {difference}: the run is not "
            "finished; report this with the teacher's model type"
        )
