"""The flags of a sweep; all that it does not know itself is for its runs.

Entry: `parse_command_line`.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from layer_distillation.records.command_names import name_commands, name_speaker
from layer_distillation.sweep.plan import ClusterSettings, SweepSettings
from layer_distillation.sweep.tuning import parse_grid

SCRIPT = "run_all_strategies.sh"
DESCRIPTION = "Distils a student for every strategy and seed, and compares them."
EPILOG = """\
LAUNCH, from the environment, starts each run: "accelerate launch" (default), python, "torchrun --nproc_per_node 2", ...
Started again, the same command skips what is finished and goes on with what is not."""
NAMES, NUMBERS = r"\s*[a-z]+(\s+[a-z]+)*\s*", r"\s*[0-9]+(\s+[0-9]+)*\s*"
MAX_SEEDS = 5
HERE, RAY, SLURM = "here", "ray", "slurm"
ENGINES = (HERE, RAY, SLURM)
DEFAULT_CPUS, DEFAULT_ADDRESS = 2, "auto"
VARIED = ("seed", "output_dir", "layer_strategy", "student_layers")


class OneLineParser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        missing = re.fullmatch(r"argument (\S+): expected one argument", message)
        exit_with_error(f"{missing[1]} needs a value: see --help" if missing else message)


def exit_with_error(message: str, status: int = 2) -> NoReturn:
    """One line on stderr, and the exit status: 2 where the user can mend it."""
    print(f"{name_speaker(SCRIPT)}: error: {message}", file=sys.stderr)
    sys.exit(status)


def build_parser() -> OneLineParser:
    parser = OneLineParser(
        prog=name_speaker(SCRIPT),
        usage=name_commands("%(prog)s [options] [--] [recipe] [flags of run_distillation.py]"),
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=120),
    )
    for flag, metavar, default, text in (
        ("--strategies", '"top odd"', "top bottom odd even", "starts to compare (default: %(default)s)"),
        ("--seeds", '"42 43"', "42 43 44", "each start is trained once with each (default: %(default)s)"),
        ("--random", "N", "0", "also N random draws of layers, with the seeds from the first one on"),
        (
            "--max_seeds",
            "N",
            "",
            f"of a race: the most that an arm gets, counted on from --seeds (default: {MAX_SEEDS})",
        ),
        ("--jobs", "N", "", "runs at once, the machine's threads and cards divided between them (default: 1)"),
        ("--executor", "NAME", HERE, f"where the runs are made: {', '.join(ENGINES)} (default: %(default)s)"),
        ("--cpus_per_run", "N", "", f"on a cluster: processors of each run (default: {DEFAULT_CPUS})"),
        ("--cards_per_run", "N", "", "on a cluster: cards of each run (default: 0)"),
        ("--ray_address", "HOST:PORT", "", f"of the Ray cluster (default: {DEFAULT_ADDRESS}, the one of this machine)"),
        ("--output_root", "DIR", "runs", "DIR/<strategy>-seed<seed>, DIR/logs, DIR/comparison (default: %(default)s)"),
    ):
        parser.add_argument(flag, metavar=metavar, default=default, help=text)
    parser.add_argument(
        "--tune",
        metavar="FLAG=V,V",
        action="append",
        default=[],
        help="every arm, controls too, tries these values of a flag with the first seed, keeps the best on validation "
        "rows, and has the further seeds with it alone; several --tune: all combinations",
    )
    parser.add_argument(
        "--slurm",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an option of the jobs, as sbatch names it: partition=gpu, time=240; several --slurm: all of them",
    )
    for flag, text in (
        ("--scratch", "also fresh layers"),
        ("--without_teacher", "also every start trained on the labels alone (not the random draws)"),
        ("--race", "one seed for every start, further ones only for those that may still be the best"),
        ("--plan", "print the runs as JSON lines, with what is finished, and start none"),
    ):
        parser.add_argument(flag, action="store_true", help=text)
    return parser


def parse_command_line(argv: Sequence[str]) -> tuple[SweepSettings, bool]:
    """What is swept, and whether only the plan is wanted; ends the process with status 2 where a flag is wrong.

    The flags of the runs are looked at only for those that would undo the sweep: the rest is the check's to say.
    """
    own, passed = split_at_separator(argv)
    arguments, others = build_parser().parse_known_args(own)
    flags = [*others, *passed]
    try:
        check_run_flags(flags)
        check_values(arguments)
        tune = parse_grid(arguments.tune, flags)
    except ValueError as error:
        exit_with_error(str(error))
    seeds = arguments.seeds.split()
    settings = SweepSettings(
        strategies=arguments.strategies.split(),
        seeds=list_raced_seeds(seeds, int(arguments.max_seeds or MAX_SEEDS)) if arguments.race else seeds,
        random=int(arguments.random),
        scratch=arguments.scratch,
        without_teacher=arguments.without_teacher,
        output_root=Path(arguments.output_root),
        flags=flags,
        tune=tune,
        race=arguments.race,
        jobs=int(arguments.jobs or 1),
        cluster=None if arguments.executor == HERE else make_cluster(arguments),
    )
    return settings, arguments.plan


def make_cluster(arguments: argparse.Namespace) -> ClusterSettings:
    return ClusterSettings(
        engine=arguments.executor,
        jobs=int(arguments.jobs or 0),
        cpus=int(arguments.cpus_per_run or DEFAULT_CPUS),
        cards=int(arguments.cards_per_run or 0),
        ray_address=arguments.ray_address or DEFAULT_ADDRESS,
        slurm=dict(map(parse_option, arguments.slurm)),
    )


def parse_option(text: str) -> tuple[str, str | int]:
    """Whole numbers as such: submitit calculates with minutes. Raises ValueError for what is no option."""
    name, sign, value = text.partition("=")
    if not (re.fullmatch("[a-z_]+", name) and sign and value):
        raise ValueError(f'--slurm is "{text}": give a name and a value, such as partition=gpu')
    is_number = re.fullmatch("0|[1-9][0-9]*", value, re.ASCII) is not None
    if name == "time" and not is_number:
        raise ValueError(f"--slurm time is {value}: give minutes, such as time=240")
    return name, int(value) if is_number else value


def list_raced_seeds(seeds: Sequence[str], most: int) -> list[str]:
    """The first of the named ones, and on from the last of them, until there are as many."""
    named = list(dict.fromkeys(seeds))[:most]
    further, last = [], int(named[-1])
    while len(named) + len(further) < most:
        last += 1
        further += [str(last)] if str(last) not in named else []
    return named + further


def split_at_separator(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the first `--`, and those after it."""
    words = [*argv, "--"]
    place = words.index("--")
    return words[:place], list(argv[place + 1 :])


def check_run_flags(flags: Sequence[str]) -> None:
    """Raises ValueError for a flag that the sweep gives each run itself, or that must not be seen by others."""
    for flag in flags:
        name = flag.split("=")[0].replace("-", "_").removeprefix("__")
        if flag.startswith("--") and name in VARIED:
            raise ValueError(f"{flag} differs between the runs: use --strategies, --seeds and --output_root")
        if flag.startswith("--") and name == "hub_token":
            raise ValueError("--hub_token would show in the list of processes: run hf auth login, or set HF_TOKEN")


def check_values(arguments: argparse.Namespace) -> None:
    """Raises ValueError where a value cannot be meant so."""
    if not re.fullmatch(NAMES, arguments.strategies):
        raise ValueError(f'--strategies is "{arguments.strategies}": give names, such as "top odd"')
    if not re.fullmatch(NUMBERS, arguments.seeds, re.ASCII):
        raise ValueError(f'--seeds is "{arguments.seeds}": give whole numbers, such as "42 43"')
    if not re.fullmatch("[0-9]+", arguments.random):
        raise ValueError(f'--random is "{arguments.random}": give the number of draws')
    check_executor(arguments)
    check_race(arguments)
    if not arguments.output_root:
        raise ValueError("--output_root is empty: name a folder")


def check_executor(arguments: argparse.Namespace) -> None:
    """Raises ValueError where what is said of it cannot be, or is of another one."""
    if arguments.executor not in ENGINES:
        raise ValueError(f'--executor is "{arguments.executor}": give one of {", ".join(ENGINES)}')
    if not re.fullmatch("(0*[1-9][0-9]*)?", arguments.jobs, re.ASCII):
        raise ValueError(f'--jobs is "{arguments.jobs}": give how many runs may be at work at once, 1 or more')
    if not re.fullmatch("(0*[1-9][0-9]*)?", arguments.cpus_per_run, re.ASCII):
        raise ValueError(f'--cpus_per_run is "{arguments.cpus_per_run}": give a number of processors, 1 or more')
    if not re.fullmatch("[0-9]*", arguments.cards_per_run, re.ASCII):
        raise ValueError(f'--cards_per_run is "{arguments.cards_per_run}": give a number of cards')
    for flag, value, engines in (
        ("--cpus_per_run", arguments.cpus_per_run, (RAY, SLURM)),
        ("--cards_per_run", arguments.cards_per_run, (RAY, SLURM)),
        ("--ray_address", arguments.ray_address, (RAY,)),
        ("--slurm", arguments.slurm, (SLURM,)),
    ):
        if value and arguments.executor not in engines:
            raise ValueError(f"{flag} is for --executor {' or '.join(engines)}: add that, or leave it out")
    for text in arguments.slurm:
        parse_option(text)


def check_race(arguments: argparse.Namespace) -> None:
    """Raises ValueError where the flags of a race do not go together."""
    if arguments.max_seeds and not arguments.race:
        raise ValueError("--max_seeds is for a race: add --race, or leave it out; --seeds names those of a sweep")
    if arguments.max_seeds and not re.fullmatch("[0-9]+", arguments.max_seeds, re.ASCII):
        raise ValueError(f'--max_seeds is "{arguments.max_seeds}": give the most seeds that an arm may get')
    most = int(arguments.max_seeds or MAX_SEEDS)
    if most < 2:
        raise ValueError(
            f"--max_seeds is {most}: a race needs 2 or more, as one does not say what another would change"
        )
    kinds = len(set(arguments.strategies.split())) + arguments.scratch + arguments.without_teacher
    if arguments.race and kinds + bool(int(arguments.random)) < 2:
        raise ValueError("--race needs two kinds of runs or more: name several strategies, or add controls")
    if arguments.race and int(arguments.random) > most:
        raise ValueError(f"--random is {arguments.random}: a race of {most} seeds has at most {most} draws")
