"""TASK_KINDS, and which of them data, a model or a record are of.

Entry: `choose_kind` of data, `find_model_kind`, `get_record_kind`.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.kinds.embedding import EMBEDDING
from layer_distillation.tasks.kinds.entry import TaskKind
from layer_distillation.tasks.kinds.multi_label import MULTI_LABEL
from layer_distillation.tasks.kinds.multiple_choice import MULTIPLE_CHOICE
from layer_distillation.tasks.kinds.question_answering import QUESTION_ANSWERING
from layer_distillation.tasks.kinds.reranking import RERANKING
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.kinds.token_classification import TOKEN_CLASSIFICATION

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from layer_distillation.tasks.files import RawSplit

logger = logging.getLogger(__name__)

# Data are of the first kind that recognises them: what any data could be comes last.
TASK_KINDS: dict[str, TaskKind] = {
    kind.name: kind
    for kind in (
        *(EMBEDDING, QUESTION_ANSWERING, MULTIPLE_CHOICE, TOKEN_CLASSIFICATION, RERANKING, MULTI_LABEL),
        TEXT_CLASSIFICATION,
    )
}


def choose_kind(splits: Mapping[str, "RawSplit"], arguments: DataArguments) -> TaskKind:
    """That of `--task_type`, else what the training rows look like or, where these look like nothing but texts, the
    first validation set's, which may have the labels that they lack; which is said."""
    if arguments.task_type is not None:
        return TASK_KINDS[arguments.task_type]
    if arguments.task_name is not None:  # all of the table have one label to a row
        return TEXT_CLASSIFICATION
    validation = next((split for name, split in splits.items() if name != "train"), splits["train"])
    *kinds, last = TASK_KINDS.values()
    for split in (splits["train"], validation):
        for kind in kinds:
            if reason := kind.recognise(split, arguments):
                return say_kind(kind, reason)
    return say_kind(last, last.recognise(splits["train"], arguments))


def say_kind(kind: TaskKind, reason: str) -> TaskKind:
    logger.info("task type: %s (%s; another by --task_type)", kind.name, reason)
    return kind


def guess_kind(arguments: DataArguments, config: "PreTrainedConfig") -> TaskKind:
    """Before the data are read: by the flag, else by the head that the config was saved with."""
    if arguments.task_type is not None:
        return TASK_KINDS[arguments.task_type]
    return find_head_kind(config)


def find_head_kind(config: "PreTrainedConfig") -> TaskKind:
    """By the head that a config was saved with, whatever its problem type."""
    architecture = (config.architectures or [""])[0]
    heads = [kind for kind in TASK_KINDS.values() if kind.head_suffix in architecture]
    return heads[-1] if heads else TEXT_CLASSIFICATION


def find_model_kind(model: "PreTrainedModel") -> TaskKind:
    """By its head and its config's problem type; a head that is no kind's is taken to give a label to a row."""
    heads = [kind for kind in TASK_KINDS.values() if kind.head_suffix in type(model).__name__]
    problem_type = model.config.problem_type
    return next(
        (kind for kind in heads if problem_type is not None and problem_type == kind.get_problem_type(["a", "b"])),
        heads[-1] if heads else TEXT_CLASSIFICATION,
    )


def get_record_kind(task: Mapping[str, Any]) -> TaskKind:
    """Of a record's `task`; those from before there were kinds have one label to a row."""
    return TASK_KINDS[task.get("kind", TEXT_CLASSIFICATION.name)]
