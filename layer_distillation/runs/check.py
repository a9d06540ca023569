"""Says of several runs, before any of them is started, which are finished.

    python check_runs.py ::: [recipe.yaml] [flags of a run] ::: [recipe.yaml] [flags of the next one]

One line per run, `finished` or `open`. The flags go through the parser of run_distillation.py, so that a mistake in
any of them ends it in one line with status 2 before anything is trained.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from layer_distillation.records.checkpoints import list_checkpoints
from layer_distillation.records.run_record import FINISHED, find_damage
from layer_distillation.runs.command_line import exit_with_error, parse_command_line
from layer_distillation.runs.preparation import check_arguments, open_record

SEPARATOR = ":::"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    try:
        states = [check_run(flags) for flags in split_runs(sys.argv[1:] if argv is None else argv)]
    except ValueError as error:
        exit_with_error(str(error))
    print("\n".join(states))
    return 0


def split_runs(argv: Sequence[str]) -> list[list[str]]:
    """The flags of each run.

    Raises:
        ValueError: the first word is not the separator.
    """
    if not argv or argv[0] != SEPARATOR:
        raise ValueError(f"got {list(argv[:1])}: begin every run's flags with {SEPARATOR}")
    runs: list[list[str]] = []
    for word in argv:
        if word == SEPARATOR:
            runs.append([])
        else:
            runs[-1].append(word)
    return runs


def check_run(flags: Sequence[str]) -> str:
    """`finished` where the run's own command would find nothing left to do, else `open`.

    Raises:
        ValueError: the flags cannot be meant so.
    """
    arguments = parse_command_line(flags)
    check_arguments(arguments)
    folder = Path(arguments.training.output_dir)
    try:
        record = open_record(folder, arguments)
    except ValueError:
        # Another run is there, which is for the command itself to say: its launcher may set what defaults go by.
        return "open"
    is_finished = record.status == FINISHED and find_damage(folder) is None
    is_cleared = arguments.training.keep_checkpoints or not list_checkpoints(folder)
    return "finished" if is_finished and is_cleared and not arguments.training.push_to_hub else "open"


if __name__ == "__main__":
    sys.exit(main())
