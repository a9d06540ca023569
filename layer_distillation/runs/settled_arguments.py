"""Arguments that a run sets otherwise than it was asked, because its teacher or its rows leave no choice.

Only what nobody asked for is changed, in one line each; what the user gave is refused. The record holds what the run
did, and beside it, as `asked`, what makes the same command the same run.

Entry: `switch_off_terms`, `settle_gold`.
"""

import logging
from collections.abc import Collection
from typing import Any

from layer_distillation.losses.flags import PART_TERMS, PREDICTION_TERMS, TERM_NAMES
from layer_distillation.losses.vectors import check_vector_terms
from layer_distillation.records.run_record import RunRecord
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.kinds.entry import CLOSENESS, VECTOR, TaskKind
from layer_distillation.tasks.metric_directions import choose_direction

logger = logging.getLogger(__name__)

ANSWER_STRATEGIES = ("greedy", "beam")


def settle(arguments: RunArguments, record: RunRecord, name: str, value: Any) -> None:
    """Sets a training argument, here and in the record."""
    record.asked.setdefault(name, record.arguments[name])
    record.arguments[name] = value
    setattr(arguments.training, name, value)


def switch_off_terms(arguments: RunArguments, record: RunRecord, terms: Collection[str], reason: str) -> None:
    """Weights that are above 0 by default become 0.

    Raises:
        ValueError: the user gave one of them, or a schedule of it.
    """
    weights = arguments.training.get_largest_weights()
    flags = [f"{name}_weight" for name in TERM_NAMES if name in terms and weights[name] > 0]
    for flag in flags:
        if flag in arguments.given or flag in arguments.training.parsed_schedules:
            weight = weights[flag.removesuffix("_weight")]
            raise ValueError(f"--{flag} {weight:g}: {reason}; leave it out, or set it to 0")
        settle(arguments, record, flag, 0.0)
    if flags:
        logger.info("off: %s (%s)", ", ".join(f"--{flag}" for flag in flags), reason)


def keep_logit_terms(arguments: RunArguments, record: RunRecord, reason: str) -> None:
    """Of the terms that need a teacher only those of its logits.

    Raises:
        ValueError: the user asks for another one.
    """
    training, strategy = arguments.training, arguments.student.layer_strategy
    if strategy in ANSWER_STRATEGIES:
        raise ValueError(
            f"--layer_strategy {strategy} looks at the answers of the model that is cut, which is not the teacher here "
            f"({reason}): take influence or cka"
        )
    if training.intermediate_epochs > 0:
        raise ValueError(f"--intermediate_epochs {training.intermediate_epochs:g}: {reason}; leave it out")
    switch_off_terms(arguments, record, set(TERM_NAMES) - set(PREDICTION_TERMS), reason)


def settle_gold(arguments: RunArguments, record: RunRecord, data: TaskData) -> None:
    """Cross-entropy is off where no training row has a gold label; where no row of the first validation set has one,
    the best epoch is the one that is nearest to the teacher.

    Raises:
        ValueError: the user asks for what needs labels, or nothing is left to learn, or to choose by.
    """
    training = arguments.training
    if data.is_taught_alone:
        reason = "no training row has a gold label"
        if training.class_weights is not None:
            raise ValueError(f"--class_weights {training.class_weights}: {reason}; leave it out")
        switch_off_terms(arguments, record, ["ce"], reason)
        if not any(training.get_largest_weights().values()):
            raise ValueError(f"{reason}, and all terms of the teacher are off: set --kl_weight above 0")
    if data.is_scored_by_teacher:
        check_chosen_by(data)
        name, valid = training.metric_for_best_model.removeprefix("eval_"), list_closeness(data)
        if "metric_for_best_model" not in arguments.given:
            choose_by(valid[0], arguments, record)
            logger.info(
                "no row of %s has a gold label: the epoch that is kept is the one nearest to the teacher (%s)",
                *(next(iter(data.validation)), valid[0]),
            )
        elif name not in valid:
            raise ValueError(
                f"--metric_for_best_model is {name!r}, and no row of {next(iter(data.validation))} has a gold label: "
                f"take {' or '.join(valid)}"
            )

    elif data.outputs == VECTOR and "metric_for_best_model" not in arguments.given:
        choose_by(data.metric_names[0], arguments, record)


def choose_by(metric: str, arguments: RunArguments, record: RunRecord) -> None:
    """What chooses the epoch, where the loss cannot."""
    settle(arguments, record, "metric_for_best_model", metric)
    settle(arguments, record, "greater_is_better", choose_direction(metric, None))


def settle_loss(arguments: RunArguments, record: RunRecord, kind: TaskKind, answers: str | None = None) -> None:
    """A kind's own loss, as far as nobody gave one: where a weight of a term is given, all others are 0.

    Args:
        answers: how the teacher answers, where it is not the model that the layers come from.

    Raises:
        ValueError: a flag is not of this kind.
    """
    weights = {f"{name}_weight" for name in TERM_NAMES}
    own, outputs = kind.default_settings, kind.get_outputs(["a", "b"])
    check_vector_terms(arguments.training, outputs)
    if outputs == VECTOR:
        check_vector_flags(arguments, answers)
    is_chosen = bool(weights & (arguments.given | arguments.training.parsed_schedules.keys()))
    for name, value in own.items():
        if name not in arguments.given:
            settle(arguments, record, name, 0.0 if is_chosen and name in weights else value)
    largest = arguments.training.get_largest_weights()
    if arguments.training.matryoshka_dims is not None and not any(largest[name] > 0 for name in PART_TERMS):
        flags = ", ".join(f"--{name}_weight" for name in PART_TERMS)
        raise ValueError(
            f"--matryoshka_dims {arguments.training.matryoshka_dims}: no term that is on compares parts of vectors; "
            f"set one of {flags} above 0, or leave it out"
        )


def check_vector_flags(arguments: RunArguments, answers: str | None) -> None:
    """Raises ValueError for what a task of vectors has no use for."""
    training, teacher = arguments.training, arguments.teacher
    if answers is not None:
        raise ValueError(
            f"a student's vectors are learned from the model that it is cut from alone: {answers}, leave it out"
        )
    if teacher.additional_teachers is not None:
        raise ValueError(
            f"--additional_teachers {teacher.additional_teachers}: vectors of several teachers have no mean; leave it "
            "out"
        )
    has_similarities = training.get_largest_weights()["similarity"] > 0
    if (flag := name_temperature(arguments)) and not (has_similarities and training.similarity_loss == "kl"):
        raise ValueError(
            f"{flag} is that of similarities here: add --similarity_weight, with --similarity_loss kl, or leave it out"
        )
    if "similarity_loss" in arguments.given and not has_similarities:
        raise ValueError(
            f"--similarity_loss {training.similarity_loss} says how --similarity_weight compares, which is 0: set that "
            "above 0, or leave it out"
        )


def name_temperature(arguments: RunArguments) -> str | None:
    """The flag that asks for one, with its value; None where nobody does."""
    if "temperature" in arguments.training.parsed_schedules:
        return f"--schedules {arguments.training.schedules}"
    return f"--temperature {arguments.training.temperature:g}" if "temperature" in arguments.given else None


def check_chosen_by(data: TaskData) -> None:
    """Raises ValueError where neither gold nor soft labels tell which epoch is the best."""
    split = next(iter(data.validation))
    if data.soft_labels.columns and split not in data.soft_labels.logits:
        raise ValueError(
            f"no row of {split} has a gold label, nor the soft labels {', '.join(data.soft_labels.columns)}: nothing "
            "tells which epoch is the best; add one of the two there"
        )


def list_closeness(data: TaskData) -> list[str]:
    """What tells how near a student is to its teacher, the default first."""
    return list(CLOSENESS[data.outputs])
