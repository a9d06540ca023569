"""What a run needs before any training: its record opened, data, teacher and student.

Entry: `open_record`, then `prepare_run`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import (
    EvalPrediction,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from layer_distillation.losses.class_weights import check_class_weights
from layer_distillation.outputs.store import fingerprint_rows
from layer_distillation.records.run_record import RECORD_NAME, RunRecord, read_run_record
from layer_distillation.runs.answering import find_start, load_start_tokenizer, name_teacher_labels, prepare_answering
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.runs.exporting import check_exported
from layer_distillation.runs.facts import describe_hardware, describe_labels, describe_task, list_versions, timed
from layer_distillation.runs.fit_checks import check_outputs_fit, check_same_rows, check_task_fits
from layer_distillation.runs.settled_arguments import keep_logit_terms, settle_gold, settle_loss
from layer_distillation.runs.teacher_ensemble import check_further_names, check_further_teachers, load_further_configs
from layer_distillation.students.layer_plan import count_student_layers, plan_layers
from layer_distillation.students.layer_search import (
    SEARCHED_STRATEGIES,
    Calibration,
    LayerChoice,
    describe_scores,
    find_or_search,
    format_choice,
    make_spec,
)
from layer_distillation.students.layer_similarity import iterate_batches, iterate_marks, sample_rows
from layer_distillation.students.preparation import (
    check_origin,
    check_origin_weights,
    choose_matching,
    make_student,
    plan_student,
    start_projections,
)
from layer_distillation.tasks.arguments import DefaultLength
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.kinds.table import guess_kind
from layer_distillation.tasks.loading import fingerprint_task, load_task
from layer_distillation.tasks.tokenizing import fit_inputs, fit_max_length, fit_tokenizer, tokenize_task
from layer_distillation.tasks.transfer_set import add_transfer_set
from layer_distillation.teachers.answers import WHY_LOGITS_ALONE
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.cross_encoders import describe_cross_encoder
from layer_distillation.teachers.label_matching import relabel_task
from layer_distillation.teachers.loading import Teacher, load_teacher_config, prepare_teacher

logger = logging.getLogger(__name__)


@dataclass
class PreparedRun:
    """All that distilling needs, checked; nothing of the student is trained yet."""

    data: TaskData
    teacher: Teacher
    student: PreTrainedModel
    layers: list[int | None]
    layer_matching: list[int]
    projection_start: dict[int, torch.Tensor] | None = None


def open_record(folder: Path, arguments: RunArguments) -> RunRecord:
    """The record of this run: new, or the one in `folder` if the same run was started there before.

    Raises:
        ValueError: `folder` holds another run, or files that are not a run's.
    """
    effective = arguments.to_dict()
    if (folder / RECORD_NAME).exists():
        record = read_run_record(folder)
        differences = record.list_differences(effective)
        if differences:
            raise ValueError(
                f"{folder} holds another run ({'; '.join(differences[:3])}): give another --output_dir, or remove it"
            )
        return record
    if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(f"{folder} holds files but no {RECORD_NAME}: give an empty or new --output_dir")
    return RunRecord(
        command=arguments.command,
        arguments=effective,
        versions=list_versions(),
        hardware=describe_hardware(arguments.training.device),
        seed=arguments.training.seed,
        strategy=arguments.student.strategy_name,
    )


def prepare_run(arguments: RunArguments, record: RunRecord) -> PreparedRun:
    """Config, data, teacher, student, in the order of what each costs, so that mistakes show early."""
    start = find_start(arguments)
    config, location = start.config, start.location
    settle_loss(arguments, record, guess_kind(arguments.data, config), start.kind)
    if start.kind is not None:
        keep_logit_terms(arguments, record, WHY_LOGITS_ALONE[start.kind])
    layers = plan_layers(arguments, config)
    tokenizer = load_start_tokenizer(start, arguments)
    if start.kind is None:
        check_origin(arguments, config, tokenizer)
    check_further_names(arguments, tokenizer)
    with timed(record, "data"):
        texts, data = load_texts_and_tokens(arguments, tokenizer, config, name_teacher_labels(start, arguments))
        data_fingerprint = fingerprint_task(data)
    check_exported(arguments.student, data.kind)
    settle_gold(arguments, record, data)
    check_task_fits(arguments, data)
    task = describe_task(data, data_fingerprint)
    check_same_rows(record, task, arguments.training.output_dir)
    record.task = task
    if PartialState().is_main_process:
        record.write(Path(arguments.training.output_dir))
    with timed(record, "teacher"):
        if start.kind is None:
            check_origin_weights(arguments, config, tokenizer, data.kind)
            check_further_teachers(arguments.teacher, tokenizer, data)
            score = make_scorer(data)
            common = arguments.training, location, tokenizer, data, data_fingerprint, score
            teacher = prepare_teacher(arguments.teacher, *common)
            data = relabel_task(data, teacher.labels)
        else:
            teacher, data = prepare_answering(start, arguments, tokenizer, texts, data, make_scorer(data))
        check_outputs_fit(arguments, data, teacher)
        record.task |= describe_labels(data)
    choice = None
    if layers is None:
        with timed(record, "layer_search"):
            num_layers = count_student_layers(arguments, config)
            choice = search_layers(arguments, teacher, data, arguments.student.strategy_name, num_layers)
        layers = choice.layers
    with timed(record, "student"):
        student = make_student(arguments, teacher, data, layers, arguments.student.strategy_name)
        if data.kind.is_cross_encoder:
            student.config.sentence_transformers = describe_head(arguments.teacher)
        if choice is not None:
            student.config.distillation["layer_scores"] = describe_scores(choice)
        if (matching_name := arguments.training.layer_matching) in SEARCHED_STRATEGIES:
            found = search_layers(arguments, teacher, data, matching_name, len(layers))
            matching, student.config.distillation["matching_scores"] = found.layers, describe_scores(found)
        else:
            matching = choose_matching(arguments, teacher, data, student)
        projection_start = start_projections(arguments, teacher, data, student, matching)
    return PreparedRun(data, teacher, student, layers, matching, projection_start)


def describe_head(teacher: TeacherArguments) -> dict[str, Any]:
    """What a folder of a cross-encoder says of its activation, which its student's says too."""
    name, revision = teacher.teacher_model_name_or_path, teacher.teacher_revision
    return describe_cross_encoder(load_teacher_config(name, teacher), name, revision)


def search_layers(
    arguments: RunArguments, teacher: Teacher, data: TaskData, strategy: str, num_layers: int
) -> LayerChoice:
    """The choice of a strategy that looks at the teacher at work, on training rows that `--sample_seed` alone draws:
    labelled ones, so that a transfer set changes no choice.

    Raises:
        ValueError: the teacher's outputs are not finite, or it cannot be cut so.
    """
    device = arguments.training.device
    rows = sample_rows(data.train, arguments.student.calibration_rows, arguments.data.sample_seed)

    def calibrate() -> Calibration:
        batches = list(iterate_batches(rows, teacher.tokenizer, device))
        column = data.kind.item_column
        marks = [] if column is None else list(iterate_marks(rows, column, teacher.tokenizer, device))
        return Calibration(teacher.model.to(device), batches, data.outputs, arguments.training.disable_tqdm, marks)

    spec = make_spec(
        strategy,
        num_layers,
        teacher.body_fingerprint,
        fingerprint_rows(rows),
        data.is_regression,
        arguments.student.beam_width,
        has_marks=data.kind.item_column is not None,
    )
    choice = find_or_search(Path(arguments.teacher.cache_dir).expanduser() / "layer_choices", spec, calibrate)
    logger.info("%s", format_choice(strategy, choice))
    return choice


def load_tokenized_task(
    arguments: RunArguments,
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    teacher_labels: Sequence[str] = (),
) -> TaskData:
    """The task's rows, read once by the main process; raises ValueError if they and the arguments do not go together"""
    return load_texts_and_tokens(arguments, tokenizer, config, teacher_labels)[1]


def load_texts_and_tokens(
    arguments: RunArguments,
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    teacher_labels: Sequence[str] = (),
) -> tuple[TaskData, TaskData]:
    """The task's rows as they were read, and as the student's tokens.

    Args:
        teacher_labels: as of `load_task`.
    """
    options = read_teacher_folder(arguments, tokenizer, config)
    configs = [config, plan_student(arguments, config)]  # an existing student has positions of its own
    for model_config in configs:
        fit_max_length(arguments.data, tokenizer, model_config)
    with PartialState().main_process_first():
        texts = add_transfer_set(load_task(arguments.data, teacher_labels), arguments.data)
        texts = replace(texts, options=texts.options | options)
        if isinstance(arguments.data.max_length, DefaultLength) and texts.kind.default_max_length is not None:
            arguments.data.max_length = DefaultLength(texts.kind.default_max_length)
            for model_config in configs:
                fit_max_length(arguments.data, tokenizer, model_config)
        fit_tokenizer(tokenizer, config, texts.kind)
        data = tokenize_task(texts, tokenizer, arguments.data.max_length)
        data = fit_inputs(data, tokenizer, configs + load_further_configs(arguments))
    if data.label_names is None or config.num_labels <= len(data.label_names):  # else the teacher's list may be taken
        check_class_weights(arguments.training.class_weights, data.label_names, data.kind)
    return texts, data


def read_teacher_folder(
    arguments: RunArguments, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> dict[str, Any]:
    """What it says of how texts are read, of a kind of task that asks; raises ValueError for flags of such a kind."""
    kind, teacher = guess_kind(arguments.data, config), arguments.teacher
    if kind.read_teacher is not None:
        how = {"pooling": teacher.pooling, "normalize": teacher.normalize_embeddings}
        return kind.read_teacher(
            config, tokenizer, arguments.data.prompt_name, revision=teacher.teacher_revision, **how
        )
    for name in ("pooling", "normalize_embeddings"):
        if vars(teacher)[name] is not None:
            raise ValueError(
                f"--{name} {vars(teacher)[name]} on a task of {kind.name}: it goes with --task_type embedding"
            )
    return {}


def make_scorer(data: TaskData, split: str | None = None) -> Callable[[EvalPrediction], dict[str, float]]:
    """The task's metrics as the Trainer wants them, of one split, by default of the first of validation."""
    return lambda prediction: data.score(prediction.predictions, prediction.label_ids, split)
