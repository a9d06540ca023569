"""Exports the student of a finished run: ONNX, 8 bits, OpenVINO, a smaller vocabulary; scored, timed, compared.

    python export_student.py runs/sick/even-seed42
    python export_student.py runs/sick/even-seed42 --formats onnx-int8 --trim_vocabulary --max_metric_loss 0.005

Beside it stands what deploying the teacher in the same way gives, without any distillation. Artifacts lie in the
run's folder, `export.json` and `export.png` tell of them. Needs the packages of requirements-export.txt.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import datasets
import torch
import transformers

from layer_distillation.export.arguments import (
    DEFAULT_FORMATS,
    DEFAULT_METRIC_LOSS,
    DEFAULT_OPSET,
    TIMING_SECONDS,
    ExportArguments,
)
from layer_distillation.export.formats import FORMATS, parse_formats
from layer_distillation.export.stages import export_run
from layer_distillation.export.table import format_table
from layer_distillation.records.command_names import name_speaker
from layer_distillation.records.interruption import Interrupted, signals_as_exceptions
from layer_distillation.records.markdown_text import clean_text
from layer_distillation.runs.facts import describe_hardware
from layer_distillation.runs.failures import describe_free_space, is_unwritten, tell_reason

logger = logging.getLogger(__name__)

SCRIPT = "export_student.py"


class OneLineParser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        exit_with_error(message)


def exit_with_error(message: str, status: int = 2) -> NoReturn:
    print(f"{name_speaker(SCRIPT)}: error: {clean_text(message)}", file=sys.stderr)
    sys.exit(status)


def build_parser() -> OneLineParser:
    parser = OneLineParser(prog=name_speaker(SCRIPT), description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="The folder of a finished run.")
    add("--formats", default=DEFAULT_FORMATS, help=f"Some of {', '.join(FORMATS)} as a,b. Default: {DEFAULT_FORMATS}.")
    add("--opset", type=int, default=DEFAULT_OPSET, help=f"Of the ONNX files. Default: {DEFAULT_OPSET}.")
    add(
        "--max_metric_loss",
        type=float,
        default=DEFAULT_METRIC_LOSS,
        help="How much of the task's first metric a form may lose against the student in PyTorch without a warning. "
        f"Default: {DEFAULT_METRIC_LOSS}.",
    )
    add("--strict", action="store_true", help="Do not keep a form that loses more; the exit status is 1 then.")
    add("--trim_vocabulary", action="store_true", help="Also export the student with the tokens of its texts alone.")
    add(
        "--vocabulary_files",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="Further texts, a line each, whose tokens --trim_vocabulary keeps.",
    )
    add("--no_scores", action="store_true", help="Export only: needs neither the run's data nor its teacher.")
    add("--no_controls", action="store_true", help="Leave out the teacher, exported in the same way.")
    add("--cache_dir", help="Where the run's fine-tuned teacher is kept. Default: where the run kept it.")
    add(
        "--timing_seconds",
        type=float,
        default=TIMING_SECONDS,
        help="Most seconds of timing by turns, for each of 2 batch sizes and 2 numbers of threads. "
        f"Default: {TIMING_SECONDS:g}.",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    options = build_parser().parse_args(words)
    set_up_logging()
    try:
        with signals_as_exceptions():
            record = export_run(read_arguments(options, shlex.join([SCRIPT, *words])))
    except Interrupted as interrupted:
        print(f"{name_speaker(SCRIPT)}: stopped by {interrupted}; nothing was changed", file=sys.stderr)
        return interrupted.exit_status
    except ValueError as error:
        logger.debug("where it was found", exc_info=True)
        exit_with_error(str(error))
    except Exception as error:
        logger.debug("where it was found", exc_info=True)
        if not is_unwritten(error):
            raise
        free = describe_free_space([options.folder])
        exit_with_error(f"a file could not be written ({tell_reason(error)}); {free}: mend that and start again", 1)
    print(format_table(record))
    refused = [made for made in record.artifacts if made.warning and made.path is None]  # not those of earlier exports
    return int(options.strict and bool(refused))


def read_arguments(options: argparse.Namespace, command: str) -> ExportArguments:
    """Raises ValueError for what cannot be meant so."""
    return ExportArguments(
        folder=options.folder,
        formats=parse_formats(options.formats),
        opset=options.opset,
        max_metric_loss=options.max_metric_loss,
        strict=options.strict,
        with_scores=not options.no_scores,
        with_controls=not options.no_controls,
        trim_vocabulary=options.trim_vocabulary,
        vocabulary_files=tuple(options.vocabulary_files),
        cache_dir=options.cache_dir,
        timing_seconds=options.timing_seconds,
        command=command,
        hardware=describe_hardware(torch.device("cpu")),
    )


def set_up_logging() -> None:
    """Messages on stderr; the libraries' from errors on."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("layer_distillation.export").setLevel(logging.INFO)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()


if __name__ == "__main__":
    sys.exit(main())
