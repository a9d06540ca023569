"""Distils a shallow student out of some layers of a teacher.

    accelerate launch run_distillation.py --layer_strategy odd
    accelerate launch run_distillation.py recipes/sick_minilm.yaml --train_file ... --layer_strategy even

Layers are numbered from the input: `top` (`first`) are those nearest the input, `bottom` (`last`) nearest the output.
The main path, top to bottom: `main`, `run_to_its_end`, `run_stages`, `run_alone`, `distil`, `finish_run`.
"""

import gc
import sys

if __name__ == "__main__":
    gc.disable()  # what the imports make lives to the end: looking through it again and again frees nothing

from layer_distillation.runs.front_door import read_flags

if __name__ == "__main__":
    read_flags(sys.argv[1:])  # help and wrong flags are answered before the seconds that the imports below take

import dataclasses
import logging
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import EarlyStoppingCallback, PreTrainedConfig, PreTrainedModel

from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.cards.publish import PushError, describe_failed_push, push_folder, write_model_card
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.losses.flags import STATE_TERMS
from layer_distillation.records.checkpoints import find_checkpoint, list_checkpoints
from layer_distillation.records.command_names import name_speaker
from layer_distillation.records.interruption import Interrupted, describe_interruption, signals_as_exceptions
from layer_distillation.records.process_locks import hold_run_folder, is_agreed, leave_process_group
from layer_distillation.records.run_record import (
    FINISHED,
    RUNNING,
    RunRecord,
    find_best_epoch,
    find_damage,
    summarize_history,
)
from layer_distillation.records.token_counts import count_inputs, measure_lengths
from layer_distillation.runs.arguments import RunArguments, complete_arguments
from layer_distillation.runs.command_line import SCRIPT, exit_with_error
from layer_distillation.runs.console import set_up_logging
from layer_distillation.runs.exporting import export_result, list_exported
from layer_distillation.runs.facts import describe_student, measure_peak_memory, timed
from layer_distillation.runs.failures import describe_failure
from layer_distillation.runs.fit_checks import check_same_start
from layer_distillation.runs.flag_checks import make_push_target
from layer_distillation.runs.predictions import (
    Predictions,
    add_teacher_logits,
    predict_splits,
    save_predictions,
    score_logits,
)
from layer_distillation.runs.preparation import (
    PreparedRun,
    make_scorer,
    open_record,
    prepare_run,
)
from layer_distillation.runs.reload_check import check_reload
from layer_distillation.runs.report import format_layer_map, format_report
from layer_distillation.runs.reporters import check_reporters
from layer_distillation.runs.retrieval_sets import arrange_scores, average_sets, score_student, score_teacher
from layer_distillation.runs.student_speed import measure_speed
from layer_distillation.runs.teacher_ensemble import TeacherOutputs, gather_outputs, mix_evaluation_logits
from layer_distillation.runs.trackers import begin_tracking, end_tracking, name_run
from layer_distillation.runs.untrained_student import score_untrained
from layer_distillation.step.progress import tell_story
from layer_distillation.step.weight_types import hold_weights_in
from layer_distillation.students.layer_similarity import iterate_batches
from layer_distillation.tasks.kinds.entry import LABELS, TaskKind
from layer_distillation.teachers.loading import Teacher

logger = logging.getLogger(__name__)

RELOAD_CHECK_ROWS = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line, whatever ends it; returns the exit status."""
    arguments = complete_arguments(read_flags(sys.argv[1:] if argv is None else argv))
    set_up_logging(arguments.training)
    try:
        with logging_redirect_tqdm():  # messages stand above the bar, not in it
            exit_status = run_to_its_end(arguments)
    except ValueError as error:
        logger.debug("where it was found", exc_info=True)
        exit_with_error(str(error))
    except Exception as error:
        logger.debug("where it was found", exc_info=True)
        if (message := describe_failure(error, arguments.training, arguments.teacher.cache_dir)) is None:
            raise
        exit_with_error(message, status=1, is_shared=is_agreed(error))
    leave_process_group()
    return exit_status


def run_to_its_end(arguments: RunArguments) -> int:
    """Stages, report, export and push, or as far as a signal lets them come; returns the exit status."""
    folder = Path(arguments.training.output_dir)
    try:
        with signals_as_exceptions():
            record = run_stages(arguments)
    except Interrupted as interrupted:
        if PartialState().is_main_process:
            print(f"\n{name_speaker(SCRIPT)}: {describe_interruption(folder, interrupted)}", file=sys.stderr)
        return interrupted.exit_status
    if PartialState().is_main_process:
        print(format_report(record, str(folder)), flush=True)
    exported = export_result(folder, arguments.student, arguments.teacher.cache_dir)
    return push_result(folder, arguments) or exported


def run_stages(arguments: RunArguments) -> RunRecord:
    """The run, or nothing where the folder holds it finished already.

    Raises:
        ValueError: the user's arguments, data or teacher cannot be meant so.
        Exception: `runs/failures.py` knows what a disk, the memory or another process may end a run with.
    """
    check_reporters(arguments.training.report_to)
    with hold_run_folder(Path(arguments.training.output_dir)):
        return run_alone(arguments)


def run_alone(arguments: RunArguments) -> RunRecord:
    """The run, as the only one in its folder."""
    folder = Path(arguments.training.output_dir)
    record = open_record(folder, arguments)
    if record.status == FINISHED and (damage := find_damage(folder)) is None:
        logger.info("%s holds this very run, finished: nothing to train", folder)
        drop_checkpoints(folder, arguments)  # where a kill came between the record and this
        return record
    if record.status == FINISHED:
        logger.warning("%s: %s; trained again", folder, damage)
        record.status, record.seconds = RUNNING, {}
    distil(prepare_run(arguments, record), arguments, record)
    return record


# ---- training ----------------------------------------------------------------------------------------------------


def distil(run: PreparedRun, arguments: RunArguments, record: RunRecord) -> None:
    """Scores the teacher, trains the student, keeps the best one, and finishes the record."""
    folder = Path(arguments.training.output_dir)
    teacher_class, teacher_config = get_answering_kind(run.teacher)  # before its weights are gone
    layers, score = list_imitated_layers(run, arguments.training), make_scorer(run.data)
    teacher_found = score_teacher(run.teacher, run.data, arguments, record)
    imitated = gather_outputs(run.teacher, run.data, layers, arguments, record, score)
    teacher_logits = mix_evaluation_logits(imitated.logits, is_binary=run.data.outputs == LABELS)
    described = imitated.describe(score_logits(run.data, teacher_logits, score))
    described["metrics"] = described["metrics"] | average_sets(teacher_found)
    begin_record(run, described, record, folder)
    run.data = add_teacher_logits(run.data, teacher_logits)
    with timed(record, "untrained"):  # before the trainer is made, which seeds everything anew
        untrained = score_untrained(run.student, run.data, run.teacher.tokenizer, arguments.training)
    trainer = make_trainer(run, imitated, arguments)
    begin_tracking(trainer)
    tell_story(trainer, "training the student", run.data.metric_names[0])
    imitates_layers = trainer.term_weights.keys() & {*STATE_TERMS, "attention"}
    matching = trainer.layer_matching if imitates_layers else []
    strategy = show_strategy(record.strategy)
    origin = run.teacher.answers and run.teacher.answers.origin
    layer_map = format_layer_map(run.layers, matching, origin["name"] if origin else "teacher")
    logger.info("the student's layers, strategy %s:\n%s", strategy, layer_map)
    with timed(record, "distillation"):
        trainer.train(resume_from_checkpoint=arguments.training.resume_from_checkpoint or find_checkpoint(folder))
    hold_weights_in(trainer.model, arguments.student.save_dtype)  # what is scored is what is saved
    with timed(record, "evaluation"):
        predictions, record.metrics = predict_splits(trainer, run.data)
    found = score_student(trainer.model, run.teacher.tokenizer, run.data, arguments, record)
    predictions |= arrange_scores(found, teacher_found)
    record.metrics |= average_sets(found)
    end_tracking(trainer, record.metrics, format_layer_map(run.layers, matching))
    record.history = summarize_history(trainer.state.log_history)
    kept_step = trainer.state.best_global_step if arguments.training.load_best_model_at_end else None
    record.best_epoch = find_best_epoch(record.history, kept_step or trainer.state.global_step)
    if kept_step and record.best_epoch is not None:
        logger.info("kept: the student of epoch %g, the best one", record.best_epoch)
    record.student = describe_student(trainer.model, run.layers, trainer.layer_matching, trainer.projections)
    record.student |= {"untrained": untrained, "train_batch_rows": trainer.state.train_batch_size}
    record.student["learning_rate"] = trainer.learning_rate
    record.peak_memory_bytes = measure_peak_memory(arguments.training.device)
    if trainer.is_world_process_zero():
        with timed(record, "speed"):
            record.speed = measure_speed(
                type(trainer.model),
                teacher_config,
                trainer.model.config,
                round(statistics.mean(measure_lengths(run.data.train)) / (count_inputs(run.data.train) or 1)),
                arguments.training.device,
                teacher_class,
                count_inputs(run.data.train),
            )
        finish_run(trainer.model, run, predictions, record, arguments)
    trainer.accelerator.wait_for_everyone()


def get_answering_kind(teacher: Teacher) -> tuple[type[PreTrainedModel] | None, PreTrainedConfig | None]:
    """Class and config of the model that answers, which is timed beside the student; none of soft labels."""
    model = teacher.model
    if teacher.answers is not None:
        model = teacher.answers.reader and teacher.answers.reader.model
    return (None, None) if model is None else (type(model), model.config)


def begin_record(run: PreparedRun, teacher: dict[str, Any], record: RunRecord, folder: Path) -> None:
    """Writes down what the student starts from and imitates; raises ValueError where its checkpoints have another."""
    source = run.student.config.distillation.get("source")
    student = {"layers": run.layers, "layer_matching": run.layer_matching, "source": source}
    check_same_start(record, teacher, student, folder)
    record.teacher, record.student = teacher, student
    if PartialState().is_main_process:
        record.write(folder)


def list_imitated_layers(run: PreparedRun, training: DistillationTrainingArguments) -> tuple[list[int], list[int]]:
    """The teacher layers whose hidden states, and those whose attention matrices the loss needs."""
    matching = run.layer_matching
    weights = training.get_largest_weights()
    compares_states = any(weights[name] > 0 for name in STATE_TERMS)
    return matching if compares_states else [], matching if weights["attention"] > 0 else []


def make_trainer(run: PreparedRun, imitated: TeacherOutputs, arguments: RunArguments) -> DistillationTrainer:
    """The trainer of the student, which chooses its best epoch on the first validation set."""
    patience = arguments.training.early_stopping_patience
    matching = ",".join(map(str, run.layer_matching))
    return DistillationTrainer(
        model=run.student,
        teacher=imitated.source,
        further_teachers=imitated.live_teachers,
        # Pushed at the very end. The matching as it was resolved, whatever it was resolved by.
        args=dataclasses.replace(
            arguments.training, push_to_hub=False, hub_token=None, layer_matching=matching, **name_run(arguments)
        ),
        projection_start=run.projection_start,
        train_dataset=run.data.student_train,
        eval_dataset=run.data.first_validation,
        processing_class=run.teacher.tokenizer,
        compute_metrics=make_scorer(run.data),
        task_kind=run.data.kind,
        data_collator=run.data.make_collator(run.teacher.tokenizer, arguments.training),
        callbacks=[EarlyStoppingCallback(patience)] if patience is not None else None,
    )


# ---- what is left behind -----------------------------------------------------------------------------------------


def finish_run(
    student: PreTrainedModel,
    run: PreparedRun,
    predictions: Predictions,
    record: RunRecord,
    arguments: RunArguments,
) -> None:
    """Writes student, card and predictions, then, if a reload gives that student, the record that says finished; then
    drops the checkpoints."""
    folder = Path(arguments.training.output_dir)
    save_predictions(predictions, folder)
    save_student(student, folder, run.data.kind)
    run.teacher.tokenizer.save_pretrained(folder)
    rows = run.data.first_validation.select(range(min(RELOAD_CHECK_ROWS, len(run.data.first_validation))))
    batch = next(iterate_batches(rows, run.teacher.tokenizer, student.device))
    check_reload(student, folder, batch, arguments.teacher.trust_remote_code, run.data.kind)
    write_model_card(record, folder)
    record.status = FINISHED
    record.write(folder)
    drop_checkpoints(folder, arguments)


def save_student(student: PreTrainedModel, folder: Path, kind: TaskKind) -> None:
    if kind.save is None:
        student.save_pretrained(folder)
    else:
        kind.save(student, folder)


def drop_checkpoints(folder: Path, arguments: RunArguments) -> None:
    """Removes the checkpoints of a finished run, unless they are to be kept."""
    if PartialState().is_main_process and not arguments.training.keep_checkpoints:
        for checkpoint in list_checkpoints(folder):
            shutil.rmtree(checkpoint)


def push_result(folder: Path, arguments: RunArguments) -> int:
    """Pushes the finished student where that was asked for; returns the exit status."""
    if not arguments.training.push_to_hub or not PartialState().is_main_process:
        return 0
    forms = list_exported(folder, arguments.student)
    target = dataclasses.replace(make_push_target(arguments.training), forms=forms)
    try:
        with signals_as_exceptions():
            logger.info("pushed to %s", push_folder(folder, target))
    except (Interrupted, PushError) as error:
        is_stopped = isinstance(error, Interrupted)
        message = describe_failed_push(f"stopped by {error}" if is_stopped else str(error), folder, target)
        print(f"\n{name_speaker(SCRIPT)}: error: {message}", file=sys.stderr)
        return error.exit_status if is_stopped else 1
    return 0


if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    sys.exit(main())
