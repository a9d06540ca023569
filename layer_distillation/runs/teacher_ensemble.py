"""Several teachers: further ones beside the first, loaded one after the other, and what all of them answer.

The student is cut from the first, which alone gives hidden states, attention and relations; of the further ones only
the logits count (`outputs/ensemble_logits.py` averages them). Each is a teacher of its own, with its own fingerprint,
cache folder and stores: an ensemble costs what no run before it has computed.

Entry: `check_further_names` before any data are read, `check_further_teachers` before any teacher is fine-tuned, then
`gather_outputs`.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.outputs.ensemble_logits import mix_any_logits
from layer_distillation.outputs.store import TeacherStore
from layer_distillation.records.run_record import RunRecord
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.runs.facts import describe_teacher, timed
from layer_distillation.runs.predictions import score_logits
from layer_distillation.students.source import check_same_vocabulary, load_other_config
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.tokenizing import fit_max_length
from layer_distillation.teachers.answers import AnswerSupply
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.label_order import check_label_order
from layer_distillation.teachers.loading import (
    Teacher,
    hash_text,
    load_checked,
    load_tokenizer,
    prepare_teacher,
)
from layer_distillation.teachers.majority import warn_about_majority
from layer_distillation.teachers.supply import TeacherSupply

SplitLogits = dict[str, np.ndarray]  # split -> (rows, classes)
Scorer = Callable[[EvalPrediction], dict[str, float]]


# ---- the further teachers ----------------------------------------------------------------------------------------


def list_further(arguments: TeacherArguments) -> list[TeacherArguments]:
    """One set of arguments per teacher beside the first: its encoder with the other seeds, then those that are named"""
    seeded = [
        dataclasses.replace(arguments, additional_teachers=None, teacher_seeds=str(seed))
        for seed in arguments.seeds[1:]
    ]
    return seeded + list_named(arguments)


def list_named(arguments: TeacherArguments) -> list[TeacherArguments]:
    own = {"additional_teachers": None, "teacher_seeds": str(arguments.seeds[0]), "teacher_revision": "main"}
    return [
        dataclasses.replace(arguments, teacher_model_name_or_path=name, **own) for name in arguments.additional_names
    ]


def load_further_configs(arguments: RunArguments) -> list[PreTrainedConfig]:
    named = list_named(arguments.teacher)
    return [load_other_config(own.teacher_model_name_or_path, own, "--additional_teachers") for own in named]


def check_further_names(arguments: RunArguments, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ValueError where a named teacher is none, or reads texts otherwise than the first."""
    flag = "--additional_teachers"
    for own in list_named(arguments.teacher):
        name = own.teacher_model_name_or_path
        config = load_other_config(name, own, flag)
        check_same_vocabulary(name, own, tokenizer, flag)
        fit_max_length(arguments.data, tokenizer, config)
        unread = set(load_tokenizer(name, own).model_input_names) - set(tokenizer.model_input_names)
        if unread:
            raise ValueError(
                f"{flag} {name} reads {', '.join(sorted(unread))}, which the first teacher's tokenizer does not give: "
                f"make {name} the first teacher, or leave it out"
            )


def check_further_teachers(arguments: TeacherArguments, tokenizer: PreTrainedTokenizerBase, data: TaskData) -> None:
    """Loads every named teacher once and lets it go, so that its faults show before any teacher is fine-tuned.

    Raises:
        ValueError: as `prepare_teacher`, which would load it hours later.
    """
    for own in list_named(arguments):
        load_checked(own.teacher_model_name_or_path, own, tokenizer, data)


def prepare_further(
    own: TeacherArguments, arguments: RunArguments, first: Teacher, data: TaskData, data_fingerprint: str, score: Scorer
) -> Teacher:
    """One of `list_further`, as the first was prepared."""
    location = own.teacher_model_name_or_path or first.location
    return prepare_teacher(own, arguments.training, location, first.tokenizer, data, data_fingerprint, score)


# ---- what they answer --------------------------------------------------------------------------------------------


@dataclass
class TeacherOutputs:
    """What all teachers of a run answered, the first one's entries first.

    `descriptions` are the record's. `source` gives the training rows' outputs: a store that holds those of all, or the
    first teacher, with `live_teachers` beside it.
    """

    source: PreTrainedModel | TeacherStore
    logits: list[SplitLogits]
    descriptions: list[dict[str, Any]]
    live_teachers: list[PreTrainedModel] = field(default_factory=list)

    def describe(self, metrics: dict[str, dict[str, float]]) -> dict[str, Any]:
        """The record's entry. Of several teachers: the first's layers and sizes, as the student is cut from it, and
        what all of them are together; `members` holds each by itself."""
        first = self.descriptions[0]
        if len(self.descriptions) == 1:
            return first
        return first | {
            "fingerprint": fingerprint_ensemble([member["fingerprint"] for member in self.descriptions]),
            "is_trained": all(member["is_trained"] for member in self.descriptions),
            "metrics": metrics,
            "members": self.descriptions,
        }


def gather_outputs(
    first: Teacher,
    data: TaskData,
    layers: tuple[Sequence[int], Sequence[int]],
    arguments: RunArguments,
    record: RunRecord,
    score: Scorer,
) -> TeacherOutputs:
    """Runs, or finds the stores of, one teacher after the other; where all is stored, no weights stay in memory.

    Args:
        layers: the teacher layers whose hidden states, and those whose attention matrices the loss needs.
    """
    with timed(record, "teacher_outputs"):
        supply = make_supply(first, arguments)
        logits = supply.get_evaluation_logits(data)
        check_label_order(first, data, logits)
        source = supply.choose_training_source(data.student_train, *layers)
    outputs = TeacherOutputs(source, [logits], [describe(first, arguments.teacher, data, logits, score)])
    if isinstance(source, TeacherStore):
        first.forget_weights()  # they need no memory while the student trains
    for own in list_further(arguments.teacher):
        with timed(record, "teacher"):
            teacher = prepare_further(own, arguments, first, data, record.task["fingerprint"], score)
            if teacher.fingerprint in (known["fingerprint"] for known in outputs.descriptions):
                raise ValueError(f"{teacher.name} is the same teacher as one before it: it would count twice")
        with timed(record, "teacher_outputs"):
            supply = TeacherSupply(teacher, arguments.teacher, arguments.training)
            outputs.logits.append(supply.get_evaluation_logits(data))
            check_label_order(teacher, data, outputs.logits[-1])
            outputs.descriptions.append(describe(teacher, own, data, outputs.logits[-1], score))
            if isinstance(source, TeacherStore):
                source.further_stores.append(supply.open_logits(data.student_train))
                teacher.model = None
            else:
                outputs.live_teachers.append(teacher.model)
    return outputs


def make_supply(teacher: Teacher, arguments: RunArguments) -> TeacherSupply | AnswerSupply:
    if teacher.answers is None:
        return TeacherSupply(teacher, arguments.teacher, arguments.training)
    return AnswerSupply(teacher.answers, teacher.model.config, arguments.teacher, arguments.training.device)


def describe(
    teacher: Teacher, arguments: TeacherArguments, data: TaskData, logits: SplitLogits, score: Scorer
) -> dict[str, Any]:
    """The record's entry of one teacher; warns of one that knows nothing."""
    metrics = score_logits(data, logits, score)
    warn_about_majority(teacher.name, metrics, data)
    return describe_teacher(teacher, arguments.teacher_revision, metrics) | {"seed": teacher.seed}


def mix_evaluation_logits(logits: Sequence[SplitLogits], is_binary: bool = False) -> SplitLogits:
    """Split -> logits of all teachers as one: log of their mean probabilities, or of a regression their mean."""
    if len(logits) == 1:
        return logits[0]
    stacked = {split: np.stack([own[split] for own in logits], axis=1) for split in logits[0]}
    return {split: mix_any_logits(torch.from_numpy(array), is_binary).numpy() for split, array in stacked.items()}


def fingerprint_ensemble(fingerprints: Sequence[str]) -> str:
    """Of the first and, as their order changes nothing, the others sorted."""
    return hash_text(json.dumps([fingerprints[0], *sorted(fingerprints[1:])]))
