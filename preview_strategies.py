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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from layer_distillation.layers.strategies import (
    FIXED_STRATEGIES,
    LAYER_STRATEGIES,
    LAYER_STRATEGY_ALIASES,
    SEARCHED_STRATEGY_NAMES,
)
from layer_distillation.records.command_names import name_commands, name_speaker
from layer_distillation.records.suggestions import suggest
from layer_distillation.runs.command_line import RunFlags, is_given, parse_flags
from layer_distillation.runs.flag_checks import check_arguments

logger = logging.getLogger(__name__)

SCRIPT = "preview_strategies.py"


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
    run_flags = parse_flags(flags)
    folder = Path(run_flags.training.output_dir)
    folder = folder if is_given("output_dir", flags) else folder.parent / "preview"
    # Nothing is pushed, and what the scoring creates on its way is created where the tables go.
    training = replace(run_flags.training, output_dir=str(folder), push_to_hub=False, hub_token=None)
    run_flags = replace(run_flags, training=training)
    try:
        check_arguments(run_flags)
    except ValueError as error:
        exit_with_error(str(error))
    return preview(run_flags, preview_arguments, folder)


def preview(flags: RunFlags, preview_arguments: PreviewArguments, folder: Path) -> int:
    """Makes the tables and shows them; loads torch and all that takes seconds. Returns the exit status."""
    from layer_distillation.runs.arguments import complete_arguments
    from layer_distillation.runs.console import set_up_logging
    from layer_distillation.runs.failures import describe_failure
    from layer_distillation.runs.preview import preview_strategies
    from layer_distillation.runs.preview_report import format_preview, write_preview

    arguments = complete_arguments(flags)
    set_up_logging(arguments.training)
    try:
        tables = preview_strategies(arguments, preview_arguments.strategies, preview_arguments.rows)
        write_preview(tables, folder)
    except ValueError as error:
        logger.debug("where it was found", exc_info=True)
        exit_with_error(str(error))
    except Exception as error:
        if (message := describe_failure(error, arguments.training, arguments.teacher.cache_dir)) is None:
            raise
        exit_with_error(message, status=1)
    print(format_preview(tables, folder))
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
        help=f"Comma-separated, also random, scratch, {', '.join(SEARCHED_STRATEGY_NAMES)}. "
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
    valid = [*LAYER_STRATEGIES, *LAYER_STRATEGY_ALIASES, *SEARCHED_STRATEGY_NAMES]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in valid:
            exit_with_error(f"--strategies has {name!r}{suggest(name, valid)}: choose from {', '.join(valid)}")
    return tuple(dict.fromkeys(LAYER_STRATEGY_ALIASES.get(name, name) for name in names))


if __name__ == "__main__":
    sys.exit(main())
