"""Distils a shallow student out of some layers of a teacher.

    accelerate launch run_distillation.py --layer_strategy odd
    accelerate launch run_distillation.py recipes/sick_minilm.yaml --train_file ... --layer_strategy even

Layers are numbered from the input: `top` (`first`) are those nearest the input, `bottom` (`last`) nearest the output.
"""

import dataclasses
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import torch
import transformers
from accelerate import PartialState
from transformers import (
    AutoModelForSequenceClassification,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.integrations import get_reporting_integration_callbacks

from attention_targets import get_attention_target
from checkpoints import find_checkpoint
from command_line import RunArguments, exit_with_error, parse_command_line
from distill_trainer import DistillationTrainer, DistillationTrainingArguments, NonFiniteLossError
from layer_matching import check_final_norm, resolve_layer_matching
from metrics import compute_task_metrics
from predictions import Predictions, add_teacher_logits, predict_splits, save_predictions, score_logits
from publish import PushError, check_push, push_student, save_student
from report import format_layer_map, format_report
from run_facts import (
    describe_hardware,
    describe_student,
    describe_task,
    describe_teacher,
    list_versions,
    measure_peak_memory,
    timed,
)
from run_record import FINISHED, RECORD_NAME, RunRecord, find_best_epoch, read_run_record, summarize_history
from student_init import (
    build_student,
    check_layers_fit,
    choose_student_layers,
    find_layer_stack,
    get_num_layers,
    parse_layer_list,
)
from tasks import TaskData, check_max_length, fingerprint_task, load_task, tokenize_task
from teacher import Teacher, load_teacher_config, load_tokenizer, locate_teacher, prepare_teacher, warn_about_majority
from teacher_store import TeacherStore
from teacher_supply import TeacherSupply

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = parse_command_line(sys.argv[1:] if argv is None else argv)
    set_up_logging(arguments.training)
    try:
        record = run_stages(arguments)
    except ValueError as error:
        logger.debug("where it was found", exc_info=True)
        exit_with_error(str(error))
    except (NonFiniteLossError, OSError) as error:
        logger.debug("where it was found", exc_info=True)
        exit_with_error(str(error), status=1)
    folder = Path(arguments.training.output_dir)
    if PartialState().is_main_process:
        print(format_report(record, str(folder)))
    return push_result(folder, arguments)


def run_stages(arguments: RunArguments) -> RunRecord:
    """The run, or nothing where the folder holds it finished already.

    Raises:
        ValueError: the user's arguments, data or teacher cannot be meant so.
        NonFiniteLossError, OSError: training diverged; a disk or the network failed.
    """
    folder = Path(arguments.training.output_dir)
    check_arguments(arguments)
    record = open_record(folder, arguments)
    if record.status == FINISHED:
        logger.info("%s holds this very run, finished: nothing to train", folder)
        return record
    distil(prepare_run(arguments, record), arguments, record)
    return record


@dataclass
class PreparedRun:
    """All that distilling needs, checked; nothing of the student is trained yet."""

    data: TaskData
    teacher: Teacher
    student: PreTrainedModel
    layers: list[int | None]


# ---- before any training -----------------------------------------------------------------------------------------


def check_arguments(arguments: RunArguments) -> None:
    """What the flags alone can show to be wrong."""
    check_push(arguments.training)
    get_reporting_integration_callbacks(arguments.training.report_to)  # a ValueError for an unknown one
    if arguments.teacher.teacher_outputs == "stored" and arguments.training.attention_weight > 0:
        raise ValueError(
            "--teacher_outputs stored holds no attention matrices: take live or auto, or no attention term"
        )
    has_own_data = arguments.data.task_name != "natural_logic"
    if has_own_data and arguments.teacher.teacher_model_name_or_path is None:
        raise ValueError(
            "no teacher is named: give --teacher_model_name_or_path a folder or a Hub name (only the built-in task "
            "brings its own teacher)"
        )
    resume = arguments.training.resume_from_checkpoint
    folder = Path(arguments.training.output_dir)
    if resume is not None and not (Path(resume).is_dir() and Path(resume).resolve().parent == folder.resolve()):
        raise ValueError(f"--resume_from_checkpoint {resume} is no checkpoint of {folder}: leave it out to go on there")


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
    state = PartialState()
    location = locate_teacher(arguments.teacher)
    config = load_teacher_config(location, arguments.teacher)
    layers = plan_layers(arguments, config)
    tokenizer = load_tokenizer(location, arguments.teacher)
    check_max_length(arguments.data.max_length, tokenizer, config)
    with timed(record, "data"):
        with state.main_process_first():
            data = tokenize_task(load_task(arguments.data), tokenizer, arguments.data.max_length)
        data_fingerprint = fingerprint_task(data)
    check_task_fits(arguments, data)
    if record.task and record.task["fingerprint"] != data_fingerprint:
        raise ValueError(f"{arguments.training.output_dir} was begun on other rows: give another --output_dir")
    record.task = describe_task(data, data_fingerprint)
    if state.is_main_process:
        record.write(Path(arguments.training.output_dir))
    with timed(record, "teacher"):
        teacher = prepare_teacher(
            arguments.teacher, arguments.training, location, tokenizer, data, data_fingerprint, make_scorer(data)
        )
    student = build_student(
        teacher.model, layers, arguments.student.strategy_name, teacher.public_name, seed=arguments.training.seed
    )
    return PreparedRun(data, teacher, student, layers)


def plan_layers(arguments: RunArguments, config: PreTrainedConfig) -> list[int | None]:
    """The teacher layer of each student layer, and every check on layers that the config allows."""
    teacher_num_layers = get_num_layers(config)
    explicit = arguments.student.student_layers
    layers = choose_student_layers(
        arguments.student.layer_strategy,
        teacher_num_layers,
        arguments.student.student_num_layers,
        student_layers=None if explicit is None else parse_layer_list(explicit),
        seed=arguments.training.seed,
    )
    check_layers_fit(config, layers)
    with torch.device("meta"):  # the shape alone shows whether there is one stack of layers to cut
        skeleton = AutoModelForSequenceClassification.from_config(
            config, trust_remote_code=arguments.teacher.trust_remote_code
        )
    find_layer_stack(skeleton)
    matching = resolve_layer_matching(arguments.training.layer_matching, teacher_num_layers, len(layers))
    if arguments.training.hidden_weight > 0:
        check_final_norm(config.model_type, matching, teacher_num_layers)
    if arguments.training.attention_weight > 0:
        get_attention_target(config.model_type)
    return layers


def check_task_fits(arguments: RunArguments, data: TaskData) -> None:
    """Raises ValueError if the arguments ask for what the task does not have."""
    if data.is_regression and arguments.training.logit_cosine_weight > 0:
        raise ValueError("--logit_cosine_weight above 0 on a regression task: one output has no direction; set it to 0")
    name = arguments.training.metric_for_best_model.removeprefix("eval_")
    valid = ["loss", *data.metric_names]
    if name not in valid:
        raise ValueError(f"--metric_for_best_model is {name!r}: the task {data.name} has {', '.join(valid)}")


def make_scorer(data: TaskData) -> Callable[[EvalPrediction], dict[str, float]]:
    """The task's metrics as the Trainer wants them."""
    return lambda prediction: compute_task_metrics(prediction.predictions, prediction.label_ids, data.metric_names)


# ---- training ----------------------------------------------------------------------------------------------------


def distil(run: PreparedRun, arguments: RunArguments, record: RunRecord) -> None:
    """Scores the teacher, trains the student, keeps the best one, and finishes the record."""
    folder = Path(arguments.training.output_dir)
    with timed(record, "teacher_outputs"):
        supply = TeacherSupply(run.teacher, arguments.teacher, arguments.training)
        teacher_logits = supply.get_evaluation_logits(run.data)
        run.data = add_teacher_logits(run.data, teacher_logits)
        imitated = supply.choose_training_source(run.data.train, list_hidden_layers(run, arguments.training))
    record.teacher = describe_teacher(run.teacher, score_logits(run.data, teacher_logits, make_scorer(run.data)))
    warn_about_majority(run.teacher.name, record.teacher["metrics"], run.data)
    if isinstance(imitated, TeacherStore):
        run.teacher.model = None  # its weights need no memory while the student trains
    trainer = make_trainer(run, imitated, arguments)
    imitates_layers = {"hidden", "attention"} & trainer.term_weights.keys()
    logger.info("layers:\n%s", format_layer_map(run.layers, trainer.layer_matching if imitates_layers else []))
    with timed(record, "distillation"):
        trainer.train(resume_from_checkpoint=arguments.training.resume_from_checkpoint or find_checkpoint(folder))
    with timed(record, "evaluation"):
        predictions, record.metrics = predict_splits(trainer, run.data)
    record.history = summarize_history(trainer.state.log_history)
    kept_step = trainer.state.best_global_step if arguments.training.load_best_model_at_end else None
    record.best_epoch = find_best_epoch(record.history, kept_step or trainer.state.global_step)
    record.student = describe_student(trainer.model, run.layers, trainer.layer_matching)
    record.peak_memory_bytes = measure_peak_memory(arguments.training.device)
    if trainer.is_world_process_zero():
        finish_run(trainer.model, run, predictions, record, arguments)
    trainer.accelerator.wait_for_everyone()


def list_hidden_layers(run: PreparedRun, training: DistillationTrainingArguments) -> list[int]:
    """The teacher layers whose hidden states the loss needs."""
    if training.hidden_weight == 0:
        return []
    return resolve_layer_matching(training.layer_matching, get_num_layers(run.teacher.model.config), len(run.layers))


def make_trainer(
    run: PreparedRun, imitated: PreTrainedModel | TeacherStore, arguments: RunArguments
) -> DistillationTrainer:
    """The trainer of the student, which chooses its best epoch on the first validation set."""
    patience = arguments.training.early_stopping_patience
    return DistillationTrainer(
        model=run.student,
        teacher=imitated,
        args=dataclasses.replace(arguments.training, push_to_hub=False, hub_token=None),  # pushed at the very end
        train_dataset=run.data.train,
        eval_dataset=run.data.first_validation,
        processing_class=run.teacher.tokenizer,
        compute_metrics=make_scorer(run.data),
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
    """Writes student, card and predictions, then the record that says finished, then drops the checkpoints."""
    folder = Path(arguments.training.output_dir)
    save_predictions(predictions, folder)
    save_student(student, run.teacher.tokenizer, record, folder)
    record.status = FINISHED
    record.write(folder)
    if not arguments.training.keep_checkpoints:
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)


def push_result(folder: Path, arguments: RunArguments) -> int:
    """Pushes the finished student where that was asked for; returns the exit status."""
    if not arguments.training.push_to_hub or not PartialState().is_main_process:
        return 0
    try:
        logger.info("pushed to %s", push_student(folder, arguments.training))
    except PushError as error:
        print(
            f"\nrun_distillation.py: error: the push failed ({' '.join(str(error).split())[:200]}); the student "
            f"is whole in {folder}, and the same command pushes it without training again",
            file=sys.stderr,
        )
        return 1
    return 0


def set_up_logging(training: DistillationTrainingArguments) -> None:
    """Messages on stderr, from the main process alone; the libraries' from warnings on."""
    level = training.get_process_log_level()
    is_main = PartialState().is_main_process
    logging.basicConfig(format="%(message)s", level=min(level, logging.INFO) if is_main else logging.ERROR)
    for library in ("httpx", "httpx2", "httpcore2", "filelock", "fsspec", "urllib3"):
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    transformers.logging.set_verbosity(level if is_main else logging.ERROR)
    datasets.logging.set_verbosity(max(level, logging.WARNING) if is_main else logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
