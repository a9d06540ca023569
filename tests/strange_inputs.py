"""What a run makes of an input, up to the first training step; and the table of all inputs that the tests try.

python tests/strange_inputs.py   # Markdown: every input of tests/test_strange_*.py, run now, and what it gave
"""

import contextlib
import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import datasets
import transformers

import run_distillation
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.runs.preparation import PreparedRun
from tiny_project import write_csv, write_teacher

OUTCOME_CHARACTERS = 200


@dataclass(frozen=True)
class StrangeInput:
    """One input: `write` makes it in a folder and returns the flags of a run on it.

    Either `remedy`, a pattern that the one line of the refusal holds, or `check`, which looks at what was made of it
    and returns that in a few words.
    """

    name: str
    write: Callable[[Path], list[str]]
    remedy: str | None = None
    check: Callable[["Accepted"], str] | None = None


class Accepted(Exception):
    """Everything is read, checked and built: the next stage would train."""

    def __init__(self, run: PreparedRun, arguments: RunArguments) -> None:
        super().__init__()
        self.run, self.arguments = run, arguments


@dataclass(frozen=True)
class Refused:
    status: object
    lines: list[str]


def try_input(flags: list[str]) -> Accepted | Refused:
    """Runs the command up to its first training; any exception that is not meant for a user comes through."""

    def stop(run: PreparedRun, arguments: RunArguments, *_: object) -> None:
        raise Accepted(run, arguments)

    printed = io.StringIO()
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    with (
        mock.patch.object(run_distillation, "distil", stop),
        mock.patch.object(
            run_distillation, "logging_redirect_tqdm", contextlib.nullcontext
        ),  # no messages: lines count
        mock.patch(
            "layer_distillation.teachers.loading.fine_tune_once",
            side_effect=AssertionError("the teacher would be trained"),
        ),
        contextlib.redirect_stderr(printed),
    ):
        try:
            run_distillation.main(flags)
        except Accepted as accepted:
            return accepted
        except SystemExit as stopped:
            return Refused(stopped.code, printed.getvalue().strip().splitlines())
    raise AssertionError("the run ended without training or refusing")


def check_outcome(case: StrangeInput, outcome: Accepted | Refused) -> None:
    """Accepted with the right result, or exit status 2 and one printable line with the remedy."""
    if case.remedy is None:
        case.check(outcome)
        return
    assert outcome.status == 2
    assert len(outcome.lines) == 1, outcome.lines
    assert outcome.lines[0].isprintable()
    assert re.search(case.remedy, outcome.lines[0]), outcome.lines[0]


def make_flags(folder: Path, **values: object) -> list[str]:
    """A complete tiny run in `folder` with an encoder that takes any labels; `values` replace its flags, None drops."""
    teacher = folder / "encoder"
    if "teacher_model_name_or_path" not in values and not teacher.exists():
        write_teacher(teacher, has_head=False)
    if "train_file" not in values:
        values["train_file"] = write_csv(folder / "train.csv", 6)
    if "validation_file" not in values:
        values["validation_file"] = write_csv(folder / "validation.csv", 6, seed=1)
    flags = {
        "teacher_model_name_or_path": teacher,
        "allow_untrained_teacher": True,
        "cache_dir": folder / "cache",
        "output_dir": folder / "run",
        "max_length": 16,
        "use_cpu": True,
        "disable_tqdm": True,
    } | values
    return [f"--{name}={value}" for name, value in flags.items() if value is not None]


def describe_outcome(case: StrangeInput, folder: Path) -> tuple[str, str]:
    """accepted or refused, and what was made of it or the line, without the names of folders."""
    outcome = try_input(case.write(folder))
    if isinstance(outcome, Accepted):
        return "accepted", case.check(outcome)
    assert outcome.status == 2, (case.name, outcome)
    line = " ".join(outcome.lines).removeprefix("run_distillation.py: error: ")
    for path in (f"{folder}/", str(folder), str(Path.cwd())):
        line = line.replace(path, "")
    return "refused", line if len(line) <= OUTCOME_CHARACTERS else line[: OUTCOME_CHARACTERS - 3] + "..."


def format_table(title: str, cases: list[StrangeInput]) -> tuple[list[str], list[str]]:
    """Markdown lines, and the word for each case."""
    lines, words = [f"### {title}", "", "| input | outcome | read as, or the one line |", "|---|---|---|"], []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            word, text = describe_outcome(case, Path(folder))
        words.append(word)
        lines.append(f"| {escape_cell(case.name)} | {word} | {escape_cell(text)} |")
    return [*lines, ""], words


def escape_cell(text: str) -> str:
    """Nothing in it ends a cell, opens a tag or steers a terminal."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    for character, escaped in {"\\": "\\\\", "&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "`": "\\`"}.items():
        shown = shown.replace(character, escaped)
    return shown


def main() -> None:
    from test_strange_data import DATA_INPUTS
    from test_strange_kinds import KIND_INPUTS
    from test_strange_models import MODEL_INPUTS
    from test_strange_recipes import RECIPE_INPUTS
    from test_stranger_kinds import MORE_KIND_INPUTS

    groups = {"Data files": DATA_INPUTS, "Rows of other kinds": KIND_INPUTS + MORE_KIND_INPUTS}
    groups |= {"Recipes and flags": RECIPE_INPUTS, "Model folders": MODEL_INPUTS}
    tables, words = [], []
    for title, cases in groups.items():
        lines, outcomes = format_table(title, cases)
        tables += lines
        words += outcomes
    print(f"{len(words)} inputs: {words.count('accepted')} accepted, {words.count('refused')} refused.\n")
    print("\n".join(tables).rstrip())


if __name__ == "__main__":
    main()
