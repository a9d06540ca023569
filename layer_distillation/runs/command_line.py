"""From `run_distillation.py [recipe.yaml] --flags` to typed flags, through one strict parser and without torch.

A recipe is turned into flags placed before the user's, so that types, choices, unknown keys and precedence are the
parser's business alone. Whatever is wrong ends in one line on stderr and exit status 2.
"""

import os
import re
import shlex
import sys
from argparse import SUPPRESS, Action
from collections.abc import Sequence
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from layer_distillation.losses.flags import LossFlags
from layer_distillation.records.command_names import name_commands, name_speaker
from layer_distillation.records.markdown_text import clean_text
from layer_distillation.records.suggestions import suggest
from layer_distillation.runs.flag_checks import check_training
from layer_distillation.runs.help_pages import format_help_page
from layer_distillation.runs.recipes import BUILT_IN_RECIPE, describe_missing, find_recipe, list_shipped_names
from layer_distillation.step.flags import TrainingFlags
from layer_distillation.step.stock import make_stock_flags
from layer_distillation.students.arguments import StudentArguments
from layer_distillation.tasks.arguments import DataArguments, name_task
from layer_distillation.teachers.arguments import TeacherArguments

SCRIPT = "run_distillation.py"
DATA_SOURCES = ("task_name", "dataset_name", "train_file")
NO_VALUES = ("", "null", "~")
OTHER_RECIPES = {yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value", type(None): "nothing"}
MAX_NAME_CHARACTERS = 100
TYPE_NAMES = {"int": "a whole number", "float": "a number"}


@dataclass
class RunTrainingFlags(LossFlags, TrainingFlags):
    """What `make_training_flags` makes, for those who read it: with every field of the stock class as well."""


@dataclass
class RunFlags:
    """All that one run was told, checked without torch; `runs/arguments.py` makes its `RunArguments` of it."""

    student: StudentArguments
    data: DataArguments
    teacher: TeacherArguments
    training: RunTrainingFlags
    recipe: str | None
    command: str
    given: frozenset[str]  # names of the flags that recipe or command line give


class OneLineParser(HfArgumentParser):
    """Reports a mistake in one line, with a suggestion where a name is nearly right."""

    def error(self, message: str) -> NoReturn:
        choice = re.match(r"argument (\S+?)(?:/\S+)?: invalid choice: '(.*)' \(choose from (.*)\)$", message)
        value = re.match(r"argument (\S+?)(?:/\S+)?: invalid (\w+) value: (.*)$", message)
        if choice:
            flag, got, valid = choice.groups()
            names = [name.strip("'\" ") for name in valid.split(",")]
            message = f"{flag} is {got!r}{suggest(got, names)}: choose one of {', '.join(names)}"
        elif value and value[2] in TYPE_NAMES:
            message = f"{value[1]} is {value[3]}: give {TYPE_NAMES[value[2]]}"
        exit_with_error(message)

    def format_help(self, is_whole: bool = False) -> str:
        return format_help_page(self, is_whole)


class WholeHelp(Action):
    """--help_all: every flag."""

    def __call__(self, parser: OneLineParser, *_: Any) -> NoReturn:
        parser._print_message(parser.format_help(is_whole=True), sys.stdout)
        parser.exit()


def exit_with_error(message: str, status: int = 2, is_shared: bool = True) -> NoReturn:
    """One line on stderr, and the exit status: 2 where the user can mend it.

    Args:
        is_shared: every process of the run has this to say, and the first one does.
    """
    rank = os.environ.get("RANK", "0")
    if rank == "0" or not is_shared:
        process = "" if rank == "0" else f" in process {rank}"
        print(f"{name_speaker(SCRIPT)}: error{process}: {clean_text(message)}", file=sys.stderr)
    sys.exit(status)


@cache
def make_training_flags() -> type:
    """The fields of `DistillationTrainingArguments` in a dataclass that does no more than hold them."""
    return make_dataclass("AllTrainingFlags", [], bases=(RunTrainingFlags, make_stock_flags()))


def make_parser() -> OneLineParser:
    parser = OneLineParser(
        (StudentArguments, DataArguments, TeacherArguments, make_training_flags()),
        prog=name_speaker(SCRIPT),
        allow_abbrev=False,
        usage="%(prog)s [recipe] [--flag value ...]",
        description="Distils a shallow student out of some layers of a teacher. Without flags: the built-in task, "
        "nothing is downloaded.",
    )
    parser.add_argument("--help_all", "--help-all", action=WholeHelp, nargs=0, default=SUPPRESS, help="Every flag.")
    return parser


def parse_flags(argv: Sequence[str]) -> RunFlags:
    """The effective flags; ends the process with status 2 where they are wrong, and with 0 where help is asked for."""
    parser = make_parser()
    recipe, flags = split_recipe(parser, list(argv))
    if recipe is None and not any(is_given(source, flags) for source in DATA_SOURCES):
        recipe = BUILT_IN_RECIPE
    if recipe is not None:
        flags = drop_overruled(read_recipe(recipe, parser), flags) + flags
    check_known(parser, flags)
    if not any(is_given(source, flags) for source in DATA_SOURCES):
        parser.error(f"{recipe} names no data: add --train_file and --validation_file, --task_name or --dataset_name")
    try:
        if not is_given("output_dir", flags):
            flags.append(f"--output_dir={choose_output_dir(parser, flags)}")
        student, data, teacher, training = parser.parse_args_into_dataclasses(flags)
        check_training(training)
    except ValueError as error:
        exit_with_error(str(error))
    command = write_command(argv, training.hub_token)
    given = frozenset(name for name in list_flags(parser) if is_given(name, flags))
    return RunFlags(student, data, teacher, training, str(recipe) if recipe else None, command, given)


def write_command(argv: Sequence[str], secret: str | None) -> str:
    """The command with the flags as typed, without the secret; by one name however the run was started."""
    words = [SCRIPT, *argv]
    return shlex.join([word.replace(secret, "***") for word in words] if secret else words)


def split_recipe(parser: OneLineParser, argv: list[str]) -> tuple[Path | None, list[str]]:
    """The recipe, where the first word is no flag, and the rest."""
    if not argv or argv[0].startswith("-"):
        return None, argv
    path = find_recipe(argv[0])
    if path is None:
        parser.error(describe_missing(argv[0], suggest(Path(argv[0]).stem, list_shipped_names())))
    return path, argv[1:]


def read_recipe(path: Path, parser: OneLineParser) -> dict[str, str]:
    """The recipe's keys and values as text, every key checked against the flags.

    From YAML's nodes and not its objects: a value stays the text that it is (YAML would read "no" as False), a key that
    is there twice shows, and lists of aliases of lists do not multiply.
    """
    root = compose_recipe(path, parser)
    if not isinstance(root, yaml.MappingNode):
        parser.error(f"{path} holds {OTHER_RECIPES[type(root)]}, not flags and values, such as temperature: 2.0")
    names, recipe = list_flags(parser), {}
    for key_node, value_node in root.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or a mapping"
        if key not in names:
            parser.error(f"{path} has the unknown key {key!r}{suggest(key, names)}: keys are the flags without --")
        name, value = key.replace("-", "_"), read_value(value_node)
        if value is None:
            parser.error(f"{path} has no plain value for {name}: give one value, or a list of layers or columns")
        if name in recipe:
            parser.error(f"{path} has the key {name!r} twice: leave one out")
        recipe[name] = value
    return recipe


def compose_recipe(path: Path, parser: OneLineParser) -> yaml.Node | None:
    """The nodes of a recipe, None where it is empty. A tag is refused: it would be ignored, whatever it asks for."""
    try:
        text = path.read_text(encoding="utf-8")
        tags = [token.value for token in yaml.scan(text) if isinstance(token, yaml.TagToken)]
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except UnicodeDecodeError as error:
        parser.error(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8")
    except yaml.YAMLError as error:
        parser.error(f"{path} is not valid YAML: {error}")
    except RecursionError:
        parser.error(f"{path} is nested too deep: a recipe holds flags and values, such as temperature: 2.0")
    if tags:
        parser.error(f"{path} has the tag {''.join(filter(None, tags[0]))!r}: values are plain here, leave it out")
    return root


def read_value(node: yaml.Node) -> str | None:
    """A value's text, those of a list with commas between; None for what is empty or holds others in turn."""
    entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if any(not isinstance(entry, yaml.ScalarNode) or entry.value in NO_VALUES for entry in entries):
        return None
    return ",".join(entry.value for entry in entries) or None


def list_flags(parser: OneLineParser) -> list[str]:
    """Every flag's name, without dashes in front."""
    return [option[2:] for action in parser._actions for option in action.option_strings if option.startswith("--")]


def drop_overruled(recipe: dict[str, str], flags: Sequence[str]) -> list[str]:
    """The recipe as flags, without what the user's flags exclude: own data or layers replace the recipe's."""
    kept = dict(recipe)
    for alternatives, goes_with in ALTERNATIVES:
        if any(is_given(name, flags) for name in alternatives):
            kept = {name: value for name, value in kept.items() if name not in {*alternatives, *goes_with}}
    return [f"--{name}={value}" for name, value in kept.items()]


ALTERNATIVES = (
    (("layer_strategy", "student_layers", "student_model_name_or_path"), ()),
    (
        DATA_SOURCES,
        ("dataset_config_name", "validation_split", "validation_file", "test_file")
        + ("unlabeled_file", "max_unlabeled_samples", "soft_label_columns", "soft_label_kind")
        + ("zero_shot_labels", "hypothesis_template"),
    ),
)


def is_given(name: str, flags: Sequence[str]) -> bool:
    """True if `--name value`, `--name=value` or its spelling with dashes is among the flags."""
    return any(flag.split("=")[0].replace("-", "_") == f"__{name}" for flag in flags)


def check_known(parser: OneLineParser, flags: Sequence[str]) -> None:
    """Ends the process at the first flag that does not exist, with the nearest one that does, or at the first word that
    belongs to none."""
    _, unknown = parser.parse_known_args(flags)
    if unknown and not unknown[0].startswith("-"):
        parser.error(
            f"{unknown[0]!r} is no flag, and the flag before it has its value: a recipe comes first, and a list is one "
            "word, as a,b"
        )
    if unknown:
        name = unknown[0].split("=")[0]
        valid = [f"--{flag}" for flag in list_flags(parser)]
        parser.error(f"unknown argument {name}{suggest(name, valid)}: {name_commands(SCRIPT)} --help_all lists all")


def choose_output_dir(parser: OneLineParser, flags: Sequence[str]) -> str:
    """`runs/<task>/<strategy>-seed<seed>`, from the flags alone."""
    values = vars(parser.parse_known_args(flags)[0])
    data, student = (
        part(**{field.name: values[field.name] for field in fields(part)}) for part in (DataArguments, StudentArguments)
    )
    if len(student.run_name) > MAX_NAME_CHARACTERS:
        raise ValueError("--student_layers names too many layers for the name of a folder: give --output_dir")
    return f"runs/{name_task(data)}/{student.run_name}-seed{values['seed']}"
