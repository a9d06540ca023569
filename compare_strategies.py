"""Compares the strategies of finished runs: tables, paired statistics over rows and seeds, a verdict, pictures.

    python compare_strategies.py runs/sick
    python compare_strategies.py runs --output_dir comparison --metric macro_f1 --split validation
    python compare_strategies.py runs --vary loss

A run is known by its run_record.json and predictions.npz, never by its folder's name. Loads no torch.
"""

import argparse
import difflib
import errno
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from layer_distillation.comparison.files import add_pictures, format_text, write_file, write_reports
from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.grouping import ANSWERED_ARGUMENTS, ROW_ARGUMENTS, START_ARGUMENTS, Unit, group_runs
from layer_distillation.comparison.page import format_page
from layer_distillation.comparison.race_runs import RacePlan
from layer_distillation.comparison.report import list_blocks
from layer_distillation.comparison.results import UnitResult, analyse_unit
from layer_distillation.comparison.runs import VARIED_LOSS, LeftOut, Run, read_runs
from layer_distillation.comparison.statistics import TaskRanks
from layer_distillation.comparison.tasks import summarize_tasks
from layer_distillation.layers.strategies import show_strategy
from layer_distillation.records.command_names import name_commands, name_speaker
from layer_distillation.records.locks import hold_lock
from layer_distillation.records.run_record import HARMLESS_ARGUMENTS
from layer_distillation.records.tuning import list_tuned

logger = logging.getLogger(__name__)

SCRIPT = "compare_strategies.py"
PAGE_NAME = "comparison.html"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class OneLineParser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        exit_with_error(message)


def exit_with_error(message: str, status: int = 2) -> NoReturn:
    """One line on stderr, and the exit status: 2 where the user can mend it."""
    print(f"{name_speaker(SCRIPT)}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def build_parser() -> OneLineParser:
    parser = OneLineParser(prog=name_speaker(SCRIPT), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="Folders or archives of runs, or folders above some."
    )
    parser.add_argument("--output_dir", type=Path, default=Path("comparison"), help="Default: comparison.")
    parser.add_argument(
        "--split",
        default="auto",
        help="The rows of the statistics: validation, test, or the name of an evaluation set. Default: test where it "
        "is labelled, else validation.",
    )
    parser.add_argument("--metric", help="One of the task's metrics. Default: its first.")
    parser.add_argument(
        "--vary",
        action="extend",
        nargs="+",
        default=[],
        metavar="FLAG",
        help=name_commands(
            "Flags of run_distillation.py whose values make arms too, such as layer_matching or num_train_epochs; "
            f"{VARIED_LOSS}: all flags of the loss together. Default: runs of other settings than most are left out."
        ),
    )
    parser.add_argument(
        "--race",
        type=int,
        nargs="+",
        metavar="SEED",
        help="The runs come from a race over these seeds: its verdict, whose error holds over all of its looks.",
    )
    parser.add_argument("--race_draws", type=int, metavar="N", help="Draws of random layers that the race could take.")
    parser.add_argument("--resamples", type=int, default=10_000, help="Resamples of the rows. Default: 10000.")
    parser.add_argument("--no_pictures", action="store_true", help="Write no PNG files.")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    try:
        compare(arguments)
    except (ValueError, OSError) as error:
        logger.debug("where it was found", exc_info=True)
        is_full = isinstance(error, OSError) and error.errno in FULL_DISK
        exit_with_error(str(error), status=1 if is_full else 2)
    return 0


def compare(arguments: argparse.Namespace) -> None:
    """Raises ValueError where the runs or the arguments cannot be meant so, OSError where nothing can be written."""
    if arguments.resamples < 100:
        raise ValueError(f"--resamples is {arguments.resamples}: a variance needs at least 100, the default is 10000")
    if arguments.race and len(set(arguments.race)) < max(2, len(arguments.race)):
        raise ValueError(f"--race {' '.join(map(str, arguments.race))}: name two seeds or more, each once")
    varied = [name.removeprefix("--") for name in arguments.vary]
    runs, left_out = read_runs(find_run_folders(arguments.runs), varied)
    warn_about(left_out)
    if not runs:
        raise ValueError(f"none of {len(left_out)} runs can be compared ({left_out[0].folder}: {left_out[0].reason})")
    check_varied(varied, runs)
    if arguments.race:
        check_raced(runs)
    units = group_runs(runs)
    for unit in units:
        warn_about(unit.left_out)
    units, alone = split_off_lone_arms(units)
    left_out += alone
    race = RacePlan(arguments.race, arguments.race_draws) if arguments.race else None
    results = [analyse_unit(unit, arguments.split, arguments.metric, arguments.resamples, race) for unit in units]
    ranks = summarize_tasks(results)
    blocks = list_blocks(results, ranks, left_out)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    with hold_lock(arguments.output_dir / ".lock"):
        write_reports(arguments.output_dir, blocks, results, ranks, left_out)
        write_file(arguments.output_dir / PAGE_NAME, format_page(results, ranks, left_out))
        print(format_text(blocks))
        if not arguments.no_pictures:
            add_pictures(arguments.output_dir, blocks, draw_where_possible(results, ranks, arguments.output_dir))
    logger.info("written to %s: open %s in a browser", arguments.output_dir, arguments.output_dir / PAGE_NAME)


def check_varied(varied: Sequence[str], runs: Sequence[Run]) -> None:
    """Raises ValueError for what is no argument of any run, or makes arms already."""
    known = {VARIED_LOSS, *(name for run in runs for name in run.record.arguments)}
    for name in varied:
        if name in ("seed", "data_seed", *START_ARGUMENTS):
            raise ValueError(f"--vary {name}: starts make arms already, and seeds are what an arm is averaged over")
        if name in HARMLESS_ARGUMENTS:
            raise ValueError(f"--vary {name}: it changes no student, leave it out")
        if name in ROW_ARGUMENTS or name.startswith(ANSWERED_ARGUMENTS):
            raise ValueError(f"--vary {name}: arms are compared on the same rows and with one teacher, leave it out")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]}?" if near else f": give flags of {name_commands('run_distillation.py')}"
            raise ValueError(f"--vary {name}: no run has such a setting{hint}")


def check_raced(runs: Sequence[Run]) -> None:
    """Raises ValueError where trials would be arms: the race was between the chosen ones."""
    names = sorted({name for run in runs for name in list_tuned(run.record) if name in run.varied_arguments})
    if names:
        raise ValueError(
            f"--race with --vary {' '.join(names)}: the arms that were raced had the values chosen for them, "
            "leave one of the two out"
        )


def warn_about(left_out: Sequence[LeftOut]) -> None:
    for left in left_out:
        logger.warning("left out: %s: %s", left.folder, left.reason)


def split_off_lone_arms(units: list[Unit]) -> tuple[list[Unit], list[LeftOut]]:
    """A unit with one arm is no comparison: its runs are named, and an error where there is no other unit."""
    comparable = [unit for unit in units if len(unit.arms) > 1]
    if not comparable:
        names = "; ".join(f"{unit.name}: {show_strategy(unit.arms[0].name)}" for unit in units)
        raise ValueError(f"there is one arm only ({names}): give runs of at least two strategies with equal settings")
    lone = [unit for unit in units if len(unit.arms) == 1]
    alone = [
        LeftOut(run.folder, f"{show_strategy(unit.arms[0].name)} is the only arm of {unit.name}")
        for unit in lone
        for run in unit.runs
    ]
    warn_about(alone)
    return comparable, alone + [left for unit in lone for left in unit.left_out]


def draw_where_possible(results: Sequence[UnitResult], ranks: TaskRanks | None, folder: Path) -> list[Path]:
    """Pictures are extra: without matplotlib the comparison is there all the same, and a line says what is missing."""
    try:
        from layer_distillation.comparison.pictures import draw_pictures  # here, because it loads matplotlib
    except ModuleNotFoundError as error:
        logger.warning("no pictures: the module %s is not installed", error.name)
        return []
    return draw_pictures(results, ranks, folder)


if __name__ == "__main__":
    sys.exit(main())
