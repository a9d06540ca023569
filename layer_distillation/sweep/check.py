"""Says of several runs, before any of them is started, which are finished: the child process that may load torch.

Entry: `main`, for `states.py`: a JSON list of flags per line of stdin, for each a JSON object on stdout: its `state`,
`finished` or `open`, and its `needs`.
Its one argument is the first word of the sweep's command line.
The flags go through the parser of run_distillation.py, so that a mistake in any of them ends it in one line with
status 2 before anything is trained.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layer_distillation.comparison.entries import TEACHER_TERMS
from layer_distillation.comparison.runs import TEACHER_ARGUMENTS
from layer_distillation.records.checkpoints import list_checkpoints
from layer_distillation.records.run_record import FINISHED, find_damage
from layer_distillation.runs.arguments import RunArguments, parse_command_line
from layer_distillation.runs.command_line import exit_with_error
from layer_distillation.runs.flag_checks import check_arguments
from layer_distillation.runs.preparation import open_record
from layer_distillation.runs.reporters import check_reporters
from layer_distillation.sweep.needs import estimate_needs
from layer_distillation.sweep.plan import OPEN


def main() -> int:
    """Returns the exit status."""
    try:
        described = [json.dumps(check_run(json.loads(line))) for line in sys.stdin]
    except ValueError as error:
        exit_with_error(str(error))
    print("\n".join(described))
    return 0


def check_run(flags: Sequence[str]) -> dict[str, Any]:
    """Raises ValueError where the flags cannot be meant so."""
    arguments = parse_command_line(flags)
    check_tuned(arguments)
    return {"state": find_state(arguments), "needs": dataclasses.asdict(estimate_needs(arguments))}


def check_tuned(arguments: RunArguments) -> None:
    """Raises ValueError for a value that makes another arm: the comparison would take it for a start's control."""
    names = (arguments.student.tuned_flags or "").split(",")
    weights = arguments.training.get_largest_weights()
    own = [name for name in names if name in TEACHER_ARGUMENTS]
    if own and not any(weights[name.removesuffix("_weight")] for name in TEACHER_TERMS):
        given = arguments.to_dict()
        values = " ".join(f"{name}={given[name]}" for name in own)
        raise ValueError(
            f"--tune: with {values} no term of the teacher is left, which is what --without_teacher trains: leave that "
            "value out, or set another of the teacher's weights above 0"
        )


def find_state(arguments: RunArguments) -> str:
    """`finished` where the run's own command would find nothing left to do, else `open`.

    Raises:
        ValueError: the flags cannot be meant so.
    """
    check_arguments(arguments)
    check_reporters(arguments.training.report_to)
    folder = Path(arguments.training.output_dir)
    try:
        record = open_record(folder, arguments)
    except ValueError:
        # Another run is there, which is for the command itself to say: its launcher may set what defaults go by.
        return OPEN
    is_finished = record.status == FINISHED and find_damage(folder) is None
    is_cleared = arguments.training.keep_checkpoints or not list_checkpoints(folder)
    return FINISHED if is_finished and is_cleared and not arguments.training.push_to_hub else OPEN


if __name__ == "__main__":
    sys.argv = sys.argv[1:]  # the sweep's: errors go by the command that the user typed
    sys.exit(main())
