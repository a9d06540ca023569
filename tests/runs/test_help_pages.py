"""The help is short, grouped, true and as wide as the terminal; it and every mistake in a flag come without torch."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from layer_distillation.layers.strategies import SEARCHED_STRATEGY_NAMES
from layer_distillation.losses.flags import ATTENTION_LOSS_NAMES, HIDDEN_LOSS_NAMES
from layer_distillation.losses.functions import ATTENTION_LOSSES, HIDDEN_LOSSES
from layer_distillation.runs.command_line import list_flags, make_parser, make_training_flags, parse_flags
from layer_distillation.runs.help_pages import MAIN_FLAGS, ORDER
from layer_distillation.students.layer_search import SEARCHED_STRATEGIES
from layer_distillation.tasks.answer_flags import AnswerFlags
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.file_checks import FILE_ENDINGS
from layer_distillation.tasks.files import READERS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "datasets", "evaluate", "transformers.training_args", "transformers.trainer", "accelerate", "sklearn")
CODE = """
import contextlib, runpy, sys
sys.argv = sys.argv[1:]
status = 0
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stopped:
    status = stopped.code or 0
loaded = [name for name in {heavy} if name in sys.modules]
print(f"loaded: {{loaded}}")
sys.exit(status)
"""


def run_light(script: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CODE.format(heavy=HEAVY), str(ROOT / script), *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def show(whole: bool, monkeypatch, columns: int = 80) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    return make_parser().format_help(is_whole=whole)


def list_shown(page: str) -> list[str]:
    return re.findall(r"^  --(\w+)", page, re.MULTILINE)


def test_the_help_shows_the_flags_that_matter_in_groups(monkeypatch):
    page = show(False, monkeypatch)
    assert re.findall(r"^(\w+):$", page, re.MULTILINE) == list(MAIN_FLAGS)
    assert list_shown(page) == [name for names in MAIN_FLAGS.values() for name in names]
    assert 20 <= len(list_shown(page)) <= 30


def test_the_whole_help_shows_every_flag_once(monkeypatch):
    page = show(True, monkeypatch)
    assert re.findall(r"^(\w[\w ]*):$", page, re.MULTILINE) == list(ORDER)
    names = {name.replace("-", "_") for name in list_flags(make_parser())}
    expected = {name for name in names if not name.startswith("no_")} - {"help", "help_all"}
    assert sorted(list_shown(page)) == sorted(expected)


def test_flags_of_the_data_stand_with_the_data(monkeypatch):
    shown = show(True, monkeypatch).split("\ndata:\n")[1].split("\nstudent:\n")[0]
    own = {field.name for field in dataclasses.fields(DataArguments)}
    of_teachers = {field.name for field in dataclasses.fields(AnswerFlags)}
    assert set(list_shown(shown)) == own - of_teachers


def test_a_default_is_the_one_that_counts(monkeypatch):
    page = " ".join(show(True, monkeypatch).split())
    for field in dataclasses.fields(make_training_flags()):
        if isinstance(field.default, float):
            text = page[page.index(f"--{field.name} ") :]
            assert f"(default: {field.default:g})" in text[: text.index(" --", 3)], field.name


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("whole", [False, True])
def test_no_line_is_wider_than_the_terminal(monkeypatch, columns, whole):
    lines = show(whole, monkeypatch, columns).splitlines()
    assert max(len(line) for line in lines if "runs/<task>" not in line) <= columns


@pytest.mark.parametrize("script", ["run_distillation.py", "preview_strategies.py", "compare_strategies.py"])
def test_help_comes_without_torch(script):
    shown = run_light(script, "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--layer_stategy", "odd"], "unknown argument --layer_stategy (did you mean --layer_strategy?)"),
        (["--push_to_hub", "--hub_model_id", "no//name"], "a push"),
        (["--early_stopping_patience=2", "--eval_strategy=no"], "--early_stopping_patience needs evaluations"),
    ],
)
def test_a_mistake_in_the_flags_shows_without_torch(argv, message):
    refused = run_light("run_distillation.py", *argv)
    assert refused.returncode == 2
    assert refused.stdout == "loaded: []\n"
    assert refused.stderr.count("\n") == 1
    assert message in refused.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--kl_weight", "much"], "--kl_weight is 'much': give a number"),
        (["--max_steps", "1.5"], "--max_steps is '1.5': give a whole number"),
        (["--kl_weight", "-1"], "kl_weight is -1.0: a weight is at least 0"),
        (["--temperature", "0"], "temperature is 0.0"),
        (["--learning_rate", "nan"], "--learning_rate is nan"),
        (["--layer_matching", "blok"], "did you mean block?"),
        (["--layer_matching", "1,x"], "need whole numbers with commas"),
        (["--schedules", "kl_weight=linear"], "--schedules"),
        (["--intermediate_epochs", "9"], "--intermediate_epochs 9"),
        (["--rkd_weight", "1", "--gradient_accumulation_steps", "2"], "--rkd_weight"),
        (["--relation_weight", "1", "--gradient_checkpointing"], "--relation_weight needs"),
        (["--dataloader_drop_last", "true"], "--dataloader_drop_last True is not supported"),
        (["--train_sampling_strategy", "group_by_length"], "--train_sampling_strategy group_by_length"),
        (["--load_best_model_at_end", "--save_strategy", "no"], "--save_strategy is no"),
        (["--student_layers", "0,1", "--layer_strategy", "odd"], "leave one out"),
        (["--teacher_seeds", "1,1"], "twice"),
        (["--optim", "adam"], "--optim is 'adam'"),
    ],
)
def test_a_mistake_is_found_by_the_flags_alone(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_flags(argv)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_the_names_that_flags_offer_are_those_that_the_code_has():
    assert set(FILE_ENDINGS) == READERS.keys()
    assert set(SEARCHED_STRATEGY_NAMES) == SEARCHED_STRATEGIES.keys()
    assert set(HIDDEN_LOSS_NAMES) == HIDDEN_LOSSES.keys()
    assert set(ATTENTION_LOSS_NAMES) == ATTENTION_LOSSES.keys()
