"""The front door of a run: help, and every mistake that the flags alone show, in a moment and without torch.

Entry: `read_flags`.
"""

from collections.abc import Sequence

from layer_distillation.runs.command_line import RunFlags, exit_with_error, parse_flags
from layer_distillation.runs.flag_checks import check_arguments


def read_flags(argv: Sequence[str]) -> RunFlags:
    """The effective flags, checked; ends the process with status 2 where they are wrong, with 0 where help is asked."""
    flags = parse_flags(argv)
    try:
        check_arguments(flags)
    except ValueError as error:
        exit_with_error(str(error))
    return flags
