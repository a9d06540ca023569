"""Runs whose teacher answers alone: the student's layers come from another model, and of the teacher the logits count.

Entry: `find_start` before data are read, `prepare_answering` once they are there.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.runs.arguments import RunArguments
from layer_distillation.runs.facts import describe_teacher
from layer_distillation.runs.flag_checks import refuse_teacher_flags
from layer_distillation.students.preparation import name_origin
from layer_distillation.students.source import (
    draw_new_head,
    has_other_vocabulary,
    load_checked_student,
    load_existing_student,
    load_other_config,
)
from layer_distillation.tasks.answer_flags import DEFAULT_TEMPLATE
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.loading import fingerprint_task
from layer_distillation.tasks.tokenizing import fit_inputs, fit_tokenizer, list_limits, tokenize_task
from layer_distillation.teachers.answers import (
    OWN_TOKENS,
    SOFT_LABELS,
    ZERO_SHOT,
    Answers,
    Reader,
    fingerprint_logits,
    hash_parts,
)
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.label_matching import list_labels, match_labels, relabel_task
from layer_distillation.teachers.label_order import check_label_order
from layer_distillation.teachers.loading import (
    Teacher,
    fingerprint_model,
    load_teacher_config,
    load_tokenizer,
    locate_teacher,
    prepare_teacher,
)
from layer_distillation.teachers.shared_words import keep_words, share_words
from layer_distillation.teachers.soft_labels import match_soft_labels
from layer_distillation.teachers.zero_shot import FLAG, find_entailment, load_reader
from student_init import get_num_layers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """The model that the student's layers come from, before its weights are loaded.

    `kind` says how the teacher answers; None: it is this very model, or one of its tokens and sizes.
    """

    location: str
    config: PreTrainedConfig
    kind: str | None = None
    is_teacher: bool = True


def find_start(arguments: RunArguments) -> Start:
    """Raises ValueError where there is no such model, or no teacher of the kind."""
    if arguments.data.soft_label_columns is not None:
        return load_start(arguments, SOFT_LABELS)
    location = locate_teacher(arguments.teacher)
    config = load_teacher_config(location, arguments.teacher)
    if arguments.data.zero_shot_labels is None:
        return load_start(arguments, OWN_TOKENS) if reads_own_tokens(location, arguments) else Start(location, config)
    find_entailment(config, location)
    return load_start(arguments, ZERO_SHOT) if name_other_model(arguments) else Start(location, config, ZERO_SHOT)


def reads_own_tokens(location: str, arguments: RunArguments) -> bool:
    """Whether the student is to come from a model with another tokenizer than the teacher's.

    Raises:
        ValueError: it is, and something is asked for that only a teacher of the student's tokens has.
    """
    source, teacher = arguments.student.student_source_model, arguments.teacher
    if source is None:
        return False
    load_other_config(source, teacher, "--student_source_model")
    if not has_other_vocabulary(source, teacher, load_tokenizer(location, teacher)):
        return False
    refuse_teacher_flags(arguments, f"--student_source_model {source}, whose tokenizer is not the teacher's")
    return True


def name_teacher_labels(start: Start, arguments: RunArguments) -> list[str]:
    """What the teacher calls its classes, where it is a model that was trained on them."""
    if start.kind == OWN_TOKENS:
        return list_labels(load_teacher_config(locate_teacher(arguments.teacher), arguments.teacher))
    return list_labels(start.config) if start.kind is None else []


def name_other_model(arguments: RunArguments) -> str | None:
    """What the student comes from, where that is not the teacher."""
    return arguments.student.student_source_model or arguments.student.student_model_name_or_path


def load_start(arguments: RunArguments, kind: str) -> Start:
    flag = "--student_source_model" if arguments.student.student_source_model else "--student_model_name_or_path"
    location = name_other_model(arguments)
    return Start(location, load_other_config(location, arguments.teacher, flag), kind, is_teacher=False)


def load_start_tokenizer(start: Start, arguments: RunArguments) -> PreTrainedTokenizerBase:
    """The one that the student keeps."""
    return load_tokenizer(start.location, arguments.teacher if start.is_teacher else make_loading_arguments(arguments))


def make_loading_arguments(arguments: RunArguments) -> TeacherArguments:
    """For another model than the teacher: without its revision."""
    return TeacherArguments(trust_remote_code=arguments.teacher.trust_remote_code)


def prepare_answering(
    start: Start,
    arguments: RunArguments,
    tokenizer: PreTrainedTokenizerBase,
    texts: TaskData,
    data: TaskData,
    score: Callable[[EvalPrediction], dict[str, float]],
) -> tuple[Teacher, TaskData]:
    """The teacher, and the task with its labels.

    Args:
        texts: the rows of `data` before they were tokenized for the student.
        score: the task's metrics.

    Raises:
        ValueError: its classes are not the task's, or a model cannot be loaded.
    """
    if start.kind == OWN_TOKENS:
        return prepare_own_tokens(start, arguments, tokenizer, texts, data, score)
    if data.label_names is None:
        raise ValueError(
            f"soft labels and --zero_shot_labels are of classes, and the labels of {data.name} are numbers: name the "
            "label column with --label_column, or give --label_kind classes"
        )
    if start.kind == SOFT_LABELS:
        return prepare_soft_labels(start, arguments, tokenizer, data)
    return prepare_zero_shot(start, arguments, tokenizer, texts, data)


# ---- soft labels -------------------------------------------------------------------------------------------------


def prepare_soft_labels(
    start: Start, arguments: RunArguments, tokenizer: PreTrainedTokenizerBase, data: TaskData
) -> tuple[Teacher, TaskData]:
    match = match_soft_labels(data.soft_labels, data.label_names)
    data, soft = relabel_task(data, match), data.soft_labels
    if len(soft.columns) > 1:
        soft = soft.reorder([soft.columns.index(column) for column in match.outputs])
    data = replace(data, soft_labels=soft)
    body = load_body(start, arguments, tokenizer, data)
    name = f"soft labels of the training {'file' if arguments.data.train_file else 'rows'}"
    facts = {"name": name, "kind": SOFT_LABELS, "is_local": False, "is_trained": True, "model_type": None}
    facts |= {"layers": None, "parameters": None, "columns": match.outputs, "card": {}}
    fingerprint, origin = hash_parts([SOFT_LABELS, fingerprint_logits(soft.logits)]), describe_body(start, body)
    answers = Answers(SOFT_LABELS, fingerprint, origin, origin["fingerprint"], facts, given=soft.logits)
    teacher = Teacher(body, tokenizer, name, name, fingerprint, is_trained=True, labels=match, answers=answers)
    check_label_order(teacher, data, {"train": soft.logits["train"]})
    return teacher, data


# ---- a model that is told the classes by name --------------------------------------------------------------------


def prepare_zero_shot(
    start: Start, arguments: RunArguments, tokenizer: PreTrainedTokenizerBase, texts: TaskData, data: TaskData
) -> tuple[Teacher, TaskData]:
    location, template = locate_teacher(arguments.teacher), arguments.data.hypothesis_template or DEFAULT_TEMPLATE
    match = match_labels(arguments.data.zero_shot_names, data.label_names, FLAG)
    data = relabel_task(data, match)
    own_tokenizer = load_tokenizer(location, arguments.teacher)
    length = arguments.data.max_length
    reader = load_reader(location, arguments.teacher, own_tokenizer, texts, match.outputs, template, length)
    body = (
        draw_body(reader.model, arguments, data) if start.is_teacher else load_body(start, arguments, tokenizer, data)
    )
    fingerprint = hash_parts([ZERO_SHOT, reader.fingerprint, template, *match.outputs])
    name, described = arguments.teacher.teacher_model_name_or_path, describe_body(start, body)
    model = Teacher(reader.model, own_tokenizer, name, location, fingerprint, is_trained=True)
    facts = describe_teacher(model, arguments.teacher.teacher_revision, {}) | {"kind": ZERO_SHOT}
    facts |= {"classes": match.outputs, "template": template, "passes_per_row": len(match.outputs)}
    origin = None if start.is_teacher else described
    answers = Answers(ZERO_SHOT, fingerprint, origin, described["fingerprint"], facts, reader=reader)
    common = tokenizer, name, location, fingerprint
    return Teacher(body, *common, is_trained=True, labels=match, answers=answers), data


# ---- a model with a tokenizer of its own -------------------------------------------------------------------------


def prepare_own_tokens(
    start: Start,
    arguments: RunArguments,
    tokenizer: PreTrainedTokenizerBase,
    texts: TaskData,
    data: TaskData,
    score: Callable[[EvalPrediction], dict[str, float]],
) -> tuple[Teacher, TaskData]:
    """The teacher is loaded, and fine-tuned where its head is untrained, on its own tokens of the same rows."""
    location, kind = locate_teacher(arguments.teacher), data.kind
    if kind.is_per_token and kind.number_items is None:
        raise ValueError(
            f"--student_source_model {start.location} has another tokenizer than the teacher {location}, and on a task "
            f"of {kind.name} both have to answer to the same tokens: give a source with the teacher's tokenizer, or "
            "leave it out"
        )
    own = make_loading_arguments(arguments)
    load_checked_student(start.location, own, tokenizer, kind)  # its faults show before a teacher is fine-tuned
    if kind.is_per_token:
        texts = keep_words(texts, tokenizer, data.max_length)
    own_tokenizer, own_data = tokenize_for_teacher(location, arguments, texts)
    common = arguments.training, location, own_tokenizer, own_data, fingerprint_task(own_data), score
    model = prepare_teacher(arguments.teacher, *common)
    reader = Reader(model.model, own_tokenizer, model.fingerprint, own_data.list_rows())
    if kind.is_per_token:
        data, reader.take = share_words(texts, data, tokenizer, own_data, own_tokenizer)
    data = relabel_task(data, model.labels)
    body = load_body(start, arguments, tokenizer, data)
    origin = describe_body(start, body)
    facts = describe_teacher(model, arguments.teacher.teacher_revision, {}) | {"kind": OWN_TOKENS}
    common = OWN_TOKENS, model.fingerprint, origin, origin["fingerprint"], facts
    answers = Answers(*common, reader=reader, is_per_token=kind.is_per_token)
    return replace(model, model=body, tokenizer=tokenizer, answers=answers), data


def tokenize_for_teacher(
    location: str, arguments: RunArguments, texts: TaskData
) -> tuple[PreTrainedTokenizerBase, TaskData]:
    """The teacher's tokenizer, and the rows as it reads them: cut at as many tokens as the student's, or at what it
    takes, where that is less; of a tagger, whose rows hold the words that the student keeps, at twice as many."""
    tokenizer, config = (load(location, arguments.teacher) for load in (load_tokenizer, load_teacher_config))
    fit_tokenizer(tokenizer, config, texts.kind)
    wanted = arguments.data.max_length * (2 if texts.kind.is_per_token else 1)
    length = min(wanted, *list_limits(tokenizer, config).values())
    if length < arguments.data.max_length:
        logger.info("the teacher takes %d tokens: its rows are cut there", length)
    logger.info("the teacher reads the rows with its own tokenizer (%d tokens):", len(tokenizer))
    return tokenizer, fit_inputs(tokenize_task(texts, tokenizer, length), tokenizer, [config])


# ---- what the layers come from -----------------------------------------------------------------------------------


def load_body(
    start: Start, arguments: RunArguments, tokenizer: PreTrainedTokenizerBase, data: TaskData
) -> PreTrainedModel:
    """The model that the layers come from, with a head for the task's labels: its own where it has one for these."""
    own, seed = make_loading_arguments(arguments), arguments.training.seed
    return load_existing_student(start.location, own, tokenizer, data, seed)


def draw_body(model: PreTrainedModel, arguments: RunArguments, data: TaskData) -> PreTrainedModel:
    """The teacher's own encoder below a head for the task's labels, which the seed draws."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(arguments.training.seed)
        return draw_new_head(model, data, arguments.teacher).eval()


def describe_body(start: Start, body: PreTrainedModel) -> dict[str, Any]:
    """Its encoder alone: a head that is drawn anew differs from seed to seed."""
    fingerprint, num_layers = fingerprint_model(body.base_model), get_num_layers(body.config)
    return {"name": name_origin(start.location), "fingerprint": fingerprint, "layers": num_layers}
