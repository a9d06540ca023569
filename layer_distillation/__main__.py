"""The command `distil`, or `python -m layer_distillation`: `run_distillation.py`, whose imports take seconds, after a
look at the flags."""

import gc
import sys

from layer_distillation.runs.front_door import read_flags


def main() -> int:
    """Runs the command line; returns the exit status."""
    read_flags(sys.argv[1:])
    gc.disable()  # as in run_distillation.py itself
    import run_distillation  # torch and all: neither help nor a wrong flag has to wait for it

    gc.freeze()
    gc.enable()
    return run_distillation.main()


if __name__ == "__main__":
    sys.exit(main())
