"""What can be known of each strategy before any training: how good its untrained student is, and what it resembles.

    python preview_strategies.py [recipe] [--strategies top,odd] [--preview_rows 500] [run_distillation.py's flags]

Each strategy's student is built and scored on the first validation split, and its layers are compared with the
teacher's by linear CKA. No student is trained and no run is begun; a teacher whose head is untrained is fine-tuned
first, as a run would do it. `preview.json` holds everything, `preview.csv` the table, `preview_cka.csv` every pair of
layers; they go to --output_dir, by default a folder `preview` beside the runs.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from accelerate import PartialState
from transformers import PreTrainedConfig

from layer_distillation.records.command_names import name_commands, name_speaker
from layer_distillation.runs.command_line import RunArguments, is_given, parse_command_line, suggest
from layer_distillation.runs.failures import describe_failure
from layer_distillation.runs.predictions import add_teacher_logits, score_logits
from layer_distillation.runs.preparation import (
    check_arguments,
    load_tokenized_task,
    make_scorer,
    search_layers,
    set_up_logging,
)
from layer_distillation.runs.preview_report import Preview, StrategyPreview, format_preview, write_preview
from layer_distillation.runs.teacher_ensemble import (
    check_further_names,
    check_further_teachers,
    list_further,
    mix_evaluation_logits,
    prepare_further,
)
from layer_distillation.runs.untrained_student import score_untrained
from layer_distillation.students.layer_plan import count_student_layers, plan_layers
from layer_distillation.students.layer_search import SEARCHED_STRATEGIES
from layer_distillation.students.layer_similarity import TeacherBatch, compare_with_teacher, run_teacher, sample_rows
from layer_distillation.students.preparation import make_student
from layer_distillation.tasks.loading import TaskData, fingerprint_task
from layer_distillation.teachers.label_matching import relabel_task
from layer_distillation.teachers.label_order import check_label_order
from layer_distillation.teachers.loading import (
    Teacher,
    load_teacher_config,
    load_tokenizer,
    locate_teacher,
    prepare_teacher,
)
from layer_distillation.teachers.supply import TeacherSupply
from student_init import LAYER_STRATEGIES, LAYER_STRATEGY_ALIASES, Layers

logger = logging.getLogger(__name__)

SCRIPT = "preview_strategies.py"
FIXED_STRATEGIES = tuple(name for name in LAYER_STRATEGIES if name not in ("random", "scratch"))


@dataclass(frozen=True)
class PreviewArguments:
    """What only a preview is told; None: all fixed strategies that this teacher allows."""

    strategies: tuple[str, ...] | None
    rows: int


class PreviewParser(argparse.ArgumentParser):
    """A mistake is one line on stderr and exit status 2."""

    def error(self, message: str) -> NoReturn:
        exit_with_error(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    preview_arguments, flags = parse_preview_arguments(sys.argv[1:] if argv is None else argv)
    arguments = parse_command_line(flags)
    folder = Path(arguments.training.output_dir)
    folder = folder if is_given("output_dir", flags) else folder.parent / "preview"
    # Nothing is pushed, and what the scoring creates on its way is created where the tables go.
    arguments.training = replace(arguments.training, output_dir=str(folder), push_to_hub=False, hub_token=None)
    set_up_logging(arguments.training)
    try:
        preview = preview_strategies(arguments, preview_arguments)
        write_preview(preview, folder)
    except ValueError as error:
        logger.debug("where it was found", exc_info=True)
        exit_with_error(str(error))
    except Exception as error:
        if (message := describe_failure(error, arguments.training, arguments.teacher.cache_dir)) is None:
            raise
        exit_with_error(message, status=1)
    print(format_preview(preview, folder))
    return 0


def exit_with_error(message: str, status: int = 2) -> NoReturn:
    """One line on stderr, and the exit status."""
    print(f"{name_speaker(SCRIPT)}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def parse_preview_arguments(argv: Sequence[str]) -> tuple[PreviewArguments, list[str]]:
    """The preview's own flags, and the rest, which is for the parser of run_distillation.py."""
    parser = PreviewParser(
        prog=name_speaker(SCRIPT),
        description=name_commands(__doc__),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage=name_commands("%(prog)s [recipe] [--strategies a,b] [--preview_rows n] [flags of run_distillation.py]"),
    )
    parser.add_argument(
        "--strategies",
        help=f"Comma-separated, also random, scratch, {', '.join(SEARCHED_STRATEGIES)}. "
        f"Default: {','.join(FIXED_STRATEGIES)}.",
    )
    parser.add_argument(
        "--preview_rows", type=int, default=500, help="Validation rows that CKA is computed on, drawn by --sample_seed."
    )
    own, flags = parser.parse_known_args(argv)
    if own.preview_rows < 2:
        parser.error(f"--preview_rows is {own.preview_rows}: give at least 2, layers are compared over rows")
    strategies = None if own.strategies is None else split_strategies(own.strategies)
    return PreviewArguments(strategies, own.preview_rows), flags


def split_strategies(text: str) -> tuple[str, ...]:
    """The strategies in `a,b`, in order, each once and without its alias; ends the process at one that is unknown."""
    valid = [*LAYER_STRATEGIES, *LAYER_STRATEGY_ALIASES, *SEARCHED_STRATEGIES]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in valid:
            exit_with_error(f"--strategies has {name!r}{suggest(name, valid)}: choose from {', '.join(valid)}")
    return tuple(dict.fromkeys(LAYER_STRATEGY_ALIASES.get(name, name) for name in names))


def preview_strategies(arguments: RunArguments, preview_arguments: PreviewArguments) -> Preview:
    """Scores every strategy's untrained student, and compares its layers with the teacher's.

    Raises:
        ValueError: the arguments, the data or the teacher cannot be meant so; or no strategy is possible.
    """
    if PartialState().num_processes > 1:
        raise ValueError(f"got {PartialState().num_processes} processes: a preview is made by one, start it by python")
    start = time.perf_counter()
    plans, teacher, data = prepare_preview(arguments, preview_arguments.strategies)
    num_further = len(list_further(arguments.teacher))
    rows = sample_rows(data.first_validation, preview_arguments.rows, arguments.data.sample_seed)
    teacher_logits = {split: np.asarray(rows["teacher_logits"]) for split, rows in data.validation.items()}
    batches = run_teacher(teacher.model, rows, teacher.tokenizer, arguments.training.device)
    preparation_seconds = time.perf_counter() - start
    split = next(iter(data.validation))
    return Preview(
        task=data.name,
        split=split,
        metric_name=data.metric_names[0],
        scored_rows=len(data.first_validation),
        compared_rows=len(rows),
        teacher=teacher.public_name + (f" and {num_further} more" if num_further else ""),
        teacher_scores=score_logits(data, teacher_logits, make_scorer(data))[split],
        preparation_seconds=preparation_seconds,
        strategies=[preview_strategy(name, plans[name], teacher, data, batches, arguments) for name in plans],
    )


def prepare_preview(
    arguments: RunArguments, strategies: tuple[str, ...] | None
) -> tuple[dict[str, list[int | None]], Teacher, TaskData]:
    """The layers of each strategy, the teacher, and the task with nothing but its first validation split to look at."""
    check_arguments(arguments)
    location = locate_teacher(arguments.teacher)
    config = load_teacher_config(location, arguments.teacher)
    plans = plan_strategies(arguments, strategies, config)
    tokenizer = load_tokenizer(location, arguments.teacher)
    check_further_names(arguments, tokenizer)
    data = load_tokenized_task(arguments, tokenizer, config)
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


if __name__ == "__main__":
    sys.exit(main())
