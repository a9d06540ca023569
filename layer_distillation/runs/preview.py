"""What can be known of each strategy before any training; `preview_strategies.py` is the command.

Entry: `preview_strategies`.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from accelerate import PartialState
from transformers import PreTrainedConfig

from layer_distillation.layers.strategies import FIXED_STRATEGIES, Layers
from layer_distillation.runs.answering import reads_own_tokens
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.runs.predictions import add_teacher_logits, score_logits, stack_teacher_logits
from layer_distillation.runs.preparation import load_tokenized_task, make_scorer, search_layers
from layer_distillation.runs.preview_report import Preview, StrategyPreview
from layer_distillation.runs.reporters import check_reporters
from layer_distillation.runs.teacher_ensemble import (
    check_further_names,
    check_further_teachers,
    list_further,
    mix_evaluation_logits,
    prepare_further,
)
from layer_distillation.runs.untrained_student import score_untrained
from layer_distillation.students.layer_plan import count_student_layers, plan_layers
from layer_distillation.students.layer_similarity import TeacherBatch, compare_with_teacher, run_teacher, sample_rows
from layer_distillation.students.preparation import make_student
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.loading import fingerprint_task
from layer_distillation.teachers.label_matching import list_labels, relabel_task
from layer_distillation.teachers.label_order import check_label_order
from layer_distillation.teachers.loading import (
    Teacher,
    load_teacher_config,
    load_tokenizer,
    locate_teacher,
    prepare_teacher,
)
from layer_distillation.teachers.supply import TeacherSupply

logger = logging.getLogger(__name__)


def preview_strategies(arguments: RunArguments, strategies: tuple[str, ...] | None, num_rows: int) -> Preview:
    """Scores every strategy's untrained student, and compares its layers with the teacher's.

    Raises:
        ValueError: the arguments, the data or the teacher cannot be meant so; or no strategy is possible.
    """
    if PartialState().num_processes > 1:
        raise ValueError(f"got {PartialState().num_processes} processes: a preview is made by one, start it by python")
    start = time.perf_counter()
    plans, teacher, data = prepare_preview(arguments, strategies)
    num_further = len(list_further(arguments.teacher))
    rows = sample_rows(data.first_validation, num_rows, arguments.data.sample_seed)
    teacher_logits = {split: stack_teacher_logits(data, rows) for split, rows in data.validation.items()}
    batches = run_teacher(teacher.model, rows, teacher.tokenizer, arguments.training.device)
    preparation_seconds = time.perf_counter() - start
    split = next(iter(data.validation))
    return Preview(
        task=data.name,
        split=split,
        metric_name=data.metric_names[0],
        scored_rows=data.count_rows(split, data.first_validation),
        compared_rows=len(rows),
        teacher=teacher.public_name + (f" and {num_further} more" if num_further else ""),
        teacher_scores=score_logits(data, teacher_logits, make_scorer(data)).get(split, {}),
        preparation_seconds=preparation_seconds,
        strategies=[preview_strategy(name, plans[name], teacher, data, batches, arguments) for name in plans],
    )


def prepare_preview(
    arguments: RunArguments, strategies: tuple[str, ...] | None
) -> tuple[dict[str, list[int | None]], Teacher, TaskData]:
    """The layers of each strategy, the teacher, and the task with nothing but its first validation split to look at."""
    check_reporters(arguments.training.report_to)
    if arguments.data.has_own_answers:
        raise ValueError(
            "a preview scores students as their teacher's layers and head leave them, and here the head is drawn by "
            "chance: leave out --soft_label_columns or --zero_shot_labels, and give --teacher_model_name_or_path a "
            "model that was trained on the task"
        )
    location = locate_teacher(arguments.teacher)
    if reads_own_tokens(location, arguments):
        raise ValueError(
            "a preview scores students as their teacher's layers and head leave them, and --student_source_model "
            f"{arguments.student.student_source_model} has another tokenizer than the teacher: leave it out"
        )
    config = load_teacher_config(location, arguments.teacher)
    plans = plan_strategies(arguments, strategies, config)
    tokenizer = load_tokenizer(location, arguments.teacher)
    check_further_names(arguments, tokenizer)
    data = load_tokenized_task(arguments, tokenizer, config, list_labels(config))
    fingerprint = fingerprint_task(data)
    check_further_teachers(arguments.teacher, tokenizer, data)
    teacher = prepare_teacher(
        arguments.teacher, arguments.training, location, tokenizer, data, fingerprint, make_scorer(data)
    )
    data = relabel_task(data, teacher.labels)
    num_layers = count_student_layers(arguments, config)
    chosen = {
        name: search_layers(arguments, teacher, data, name, num_layers).layers if layers is None else layers
        for name, layers in plans.items()
    }
    first = dict([next(iter(data.validation.items()))])
    data = replace(data, validation=first, test=None)
    logits = [TeacherSupply(teacher, arguments.teacher, arguments.training).get_evaluation_logits(data)]
    check_label_order(teacher, data, logits[0])
    for own in list_further(arguments.teacher):
        further = prepare_further(own, arguments, teacher, data, fingerprint, make_scorer(data))
        logits.append(TeacherSupply(further, arguments.teacher, arguments.training).get_evaluation_logits(data))
        check_label_order(further, data, logits[-1])
        further.model = None
    return chosen, teacher, add_teacher_logits(data, mix_evaluation_logits(logits))


def plan_strategies(
    arguments: RunArguments, names: tuple[str, ...] | None, config: PreTrainedConfig
) -> dict[str, list[int | None] | None]:
    """Strategy -> teacher layers, None where it chooses by data, and those that --student_layers lists as one more.

    Raises:
        ValueError: a strategy that was asked for, or every fixed one, is not possible with this teacher.
    """
    plans, refusal = {}, None
    if arguments.student.student_layers is not None:
        plans[arguments.student.strategy_name] = plan_layers(arguments, config)
    for name in names or FIXED_STRATEGIES:
        try:
            plans[name] = plan_layers(name_strategy(arguments, name), config)
        except ValueError as error:
            if names is not None:
                raise
            refusal = error
            logger.warning("%s is left out: %s", name, error)
    if not plans:
        raise refusal
    return plans


def name_strategy(arguments: RunArguments, name: str) -> RunArguments:
    """The same arguments with this strategy in place of the one, or of the layers, that they name."""
    return replace(arguments, student=replace(arguments.student, layer_strategy=name, student_layers=None))


def preview_strategy(
    name: str,
    layers: Layers,
    teacher: Teacher,
    data: TaskData,
    batches: Sequence[TeacherBatch],
    arguments: RunArguments,
) -> StrategyPreview:
    """Builds one student as a run would, and looks at it."""
    start = time.perf_counter()
    student = make_student(arguments, teacher, data, layers, name)
    scores = score_untrained(student, data, teacher.tokenizer, arguments.training)
    cka_tokens, cka_rows = compare_with_teacher(student, batches)
    return StrategyPreview(name, list(layers), scores, cka_tokens, cka_rows, seconds=time.perf_counter() - start)
