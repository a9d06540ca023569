"""Pushes the student of a finished run to the Hub; needs neither the data nor the teacher, and loads no torch.

    python push_student.py runs/sick/odd-seed42 --hub_model_id user/name
    python push_student.py runs/sick/odd-seed42 --hub_model_id user/name --comparison runs/comparison
    python push_student.py runs/sick/odd-seed42 --hub_model_id user/name --with onnx-int8

The token is that of `hf auth login` or HF_TOKEN. With a comparison the model card says how the strategy fared in it.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from layer_distillation.cards.artifacts import find_artifacts
from layer_distillation.cards.publish import PushError, describe_failed_push, push_folder
from layer_distillation.cards.push_target import PushTarget, check_push
from layer_distillation.cards.scores import read_comparison_row
from layer_distillation.records.command_names import name_commands, name_speaker
from layer_distillation.records.export_record import read_export_record
from layer_distillation.records.interruption import Interrupted, signals_as_exceptions
from layer_distillation.records.run_record import check_finished

SCRIPT = "push_student.py"


class OneLineParser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        print_error(" ".join(message.split()))
        sys.exit(2)


def build_parser() -> OneLineParser:
    parser = OneLineParser(prog=name_speaker(SCRIPT), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="RUN", help="The folder of a finished run.")
    parser.add_argument("--hub_model_id", help="user/name on the Hub. Default: the folder's name, with your account.")
    # None where it is not given: the Hub decides, as it does in a run.
    parser.add_argument("--hub_private_repo", action="store_true", default=None, help="Only you can see it.")
    parser.add_argument("--hub_revision", help="The branch to push to. Default: main.")
    parser.add_argument(
        "--comparison", type=Path, help=name_commands("What compare_strategies.py wrote, for the model card.")
    )
    parser.add_argument(
        "--with",
        dest="forms",
        default="",
        metavar="FORMATS",
        help=name_commands(
            "Forms that export_student.py made, such as onnx-int8,onnx; they go with the student. trimmed: the "
            "folder of the one with fewer tokens."
        ),
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    folder, comparison = arguments.folder, arguments.comparison
    name = arguments.hub_model_id or folder.resolve().name
    forms = tuple(filter(None, arguments.forms.split(",")))
    target = PushTarget(name, arguments.hub_private_repo, arguments.hub_revision, forms=forms)
    try:
        record = check_finished(folder)
        row = read_comparison_row(comparison, record, folder) if comparison else None
        find_artifacts(read_export_record(folder), forms)
        check_push(target)
    except ValueError as error:
        print_error(" ".join(str(error).split()))
        return 2
    try:
        with signals_as_exceptions():
            print(f"pushed to {push_folder(folder, target, row)}")
    except Interrupted as interrupted:
        print_error(describe_failed_push(f"stopped by {interrupted}", folder, target, comparison))
        return interrupted.exit_status
    except PushError as error:
        print_error(describe_failed_push(str(error), folder, target, comparison))
        return 1
    return 0


def print_error(message: str) -> None:
    print(f"{name_speaker(SCRIPT)}: error: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
