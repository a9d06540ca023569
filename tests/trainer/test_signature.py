"""docs/TRAINER_ARGUMENTS.md says what becomes of every argument of the installed Trainer and TrainingArguments."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import transformers
from accelerate import ParallelismConfig
from transformers import Trainer, TrainingArguments

from distill_trainer import DistillationTrainer, DistillationTrainingArguments

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "TRAINER_ARGUMENTS.md").read_text(encoding="utf-8")
TRAINER_TABLE, ARGUMENTS_TABLE = (
    dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", part, flags=re.MULTILINE))
    for part in PAGE.split("## TrainingArguments")
)
LIBRARY = "\n".join(
    path.read_text(encoding="utf-8")
    for path in Path(transformers.__file__).parent.glob("**/*.py")
    if path.name.startswith("train") or path.parent.name == "integrations"
)
OURS = "\n".join(
    path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.py"), *ROOT.glob("layer_distillation/**/*.py")]
)

# Each refused argument, with a value that is not taken, and what the line says to do.
REFUSED = {
    "label_smoothing_factor": (0.1, "raise --kl_weight or --temperature"),
    "dataloader_drop_last": (True, "leave evaluated rows out"),
    "batch_eval_metrics": (True, "over all rows at once"),
    "eval_do_concat_batches": (False, "over all rows at once"),
    "eval_use_gather_object": (True, "what is gathered are tensors"),
    "bf16_full_eval": (True, "take --bf16"),
    "fp16_full_eval": (True, "take --fp16"),
    "average_tokens_across_devices": (False, "over the rows of all processes"),
    "parallelism_config": (ParallelismConfig(), r"a row of text split over processes has no \[CLS\]"),
    "length_column_name": ("size", "--length_pool_batches measures the rows"),
    "label_names": (["target"], "name the labels' column `labels` or `label`"),
}
# Values of arguments that are used otherwise.
REFUSED_VALUES = {
    "train_sampling_strategy": (
        {"train_sampling_strategy": "group_by_length"},
        "--length_pool_batches against padding",
    ),
    "greater_is_better": ({"greater_is_better": True}, "leave --greater_is_better out"),
    "max_steps": ({"max_steps": 5, "intermediate_epochs": 1.0}, "without --max_steps"),
    "activation_checkpointing": (
        {"activation_checkpointing": True, "relation_weight": 1.0},
        "leave one of the two out",
    ),
    "gradient_accumulation_steps": ({"gradient_accumulation_steps": 2, "rkd_weight": 1.0}, "or --rkd_weight 0"),
}


def test_every_argument_of_the_installed_version_has_its_line():
    assert list(TRAINER_TABLE) == list(inspect.signature(Trainer.__init__).parameters)[1:]
    assert list(ARGUMENTS_TABLE) == [field.name for field in dataclasses.fields(TrainingArguments)]
    assert {*TRAINER_TABLE.values(), *ARGUMENTS_TABLE.values()} <= {"used", "stock", "refused", "script"}


def test_what_is_said_to_be_refused_is_what_is_tried():
    assert {name for name, here in ARGUMENTS_TABLE.items() if here == "refused"} == REFUSED.keys()
    assert {ARGUMENTS_TABLE[name] for name in REFUSED_VALUES} == {"used"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_argument_is_refused_and_says_what_to_do(tmp_path, name):
    value, remedy = REFUSED[name]
    with pytest.raises(ValueError, match=rf"(?s)--{name} .* is not supported: .*{remedy}"):
        DistillationTrainingArguments(str(tmp_path), use_cpu=True, **{name: value})


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_a_value_that_is_said_to_be_refused_is(tmp_path, name):
    options, remedy = REFUSED_VALUES[name]
    with pytest.raises(ValueError, match=remedy):
        DistillationTrainingArguments(str(tmp_path), use_cpu=True, **options)


@pytest.mark.parametrize("name", [name for name, here in ARGUMENTS_TABLE.items() if here == "stock"])
def test_a_stock_argument_is_read_by_the_library(name):
    assert re.search(rf"\b(args|self|training_args)\.{name}\b|[\"']{name}[\"']", LIBRARY)


@pytest.mark.parametrize("name", [name for name, here in ARGUMENTS_TABLE.items() if here == "used"])
def test_a_used_argument_is_read_or_given_a_default_here(name):
    assert re.search(rf"\.{name}\b|\b{name}: |[\"']{name}[\"']", OURS)


def test_no_argument_of_the_stock_trainer_is_lost_on_the_way():
    """All are taken by name, and what is neither ours nor stock's is no argument."""
    own = inspect.signature(DistillationTrainer.__init__).parameters
    assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values())
    with pytest.raises(TypeError, match="unexpected keyword argument 'tokenizer'"):
        DistillationTrainer(model_init=lambda: None, args=None, tokenizer=None)
