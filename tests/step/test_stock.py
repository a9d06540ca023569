"""The table of the stock flags is what the installed class says, and another version is asked itself."""

import dataclasses

import pytest
from transformers import HfArgumentParser
from transformers.debug_utils import DebugOption

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.runs.command_line import make_training_flags
from layer_distillation.step import stock


def list_actions(dataclass: type) -> dict[str, tuple]:
    """Flag -> all that decides what a text becomes."""
    actions = {}
    for action in HfArgumentParser(dataclass)._actions:
        choices = None if action.choices is None else [str(choice) for choice in action.choices]
        kept = (action.option_strings, action.dest, action.nargs, action.const, choices, action.help)
        actions[action.option_strings[0]] = (*kept, str(action.default), type(action).__name__)
    return actions


def test_the_table_is_what_the_installed_class_says():
    assert dataclasses.asdict(stock.load_stock_table()) == dataclasses.asdict(stock.describe_stock())


def test_the_flags_are_those_of_the_training_arguments():
    ours, theirs = list_actions(make_training_flags()), list_actions(DistillationTrainingArguments)
    assert ours.pop("--debug")[4] == [option.value for option in DebugOption]  # there by its type, not by its choices
    theirs.pop("--debug")
    assert ours == theirs


@pytest.mark.parametrize(
    ("flag", "text", "value"),
    [
        ("--save_steps", "0.5", 0.5),
        ("--tf32", "no", False),
        ("--bf16", "true", True),
        ("--max_steps", "7", 7),
        ("--lr_scheduler_type", "cosine", "cosine"),
        ("--activation_checkpointing", None, True),
        ("--fsdp", None, True),
        ("--include_for_metrics", "inputs", ["inputs"]),
    ],
)
def test_a_text_becomes_the_same_value(flag, text, value):
    argv = ["--output_dir=x", flag] + ([] if text is None else [text])
    for dataclass in (make_training_flags(), DistillationTrainingArguments):
        parser = HfArgumentParser(dataclass)
        assert vars(parser.parse_args(argv))[flag.removeprefix("--")] == value


def test_another_transformers_is_asked_itself(monkeypatch):
    other = stock.StockTable("0.0", [], [], [])
    monkeypatch.setattr(stock, "describe_stock", lambda: other)
    monkeypatch.setattr(stock.importlib.metadata, "version", lambda name: "0.0")
    assert stock.load_stock_table.__wrapped__() is other
