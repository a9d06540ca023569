"""Distils a shallow student out of some layers of a teacher.

    accelerate launch run_distillation.py --layer_strategy odd
    accelerate launch run_distillation.py recipes/sick_minilm.yaml --train_file ... --layer_strategy even

Layers are numbered from the input: `top` (`first`) are those nearest the input, `bottom` (`last`) nearest the output.
The stages of a run are in `layer_distillation/runs/stages.py`.
"""

import sys
from collections.abc import Sequence

from layer_distillation.runs.command_line import exit_with_error, parse_flags
from layer_distillation.runs.flag_checks import check_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    flags = parse_flags(sys.argv[1:] if argv is None else argv)
    try:
        check_arguments(flags)
    except ValueError as error:
        exit_with_error(str(error))
    from layer_distillation.runs import stages  # seconds of torch, for which no help and no wrong flag has to wait

    return stages.run_command(flags)


def run() -> int:
    """`main` as a whole process, which is what the command `distil` is, too."""
    return main()


if __name__ == "__main__":
    sys.exit(run())
