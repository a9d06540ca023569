"""What the stock class refuses by its flags alone is refused without it, and nothing else is."""

import inspect
import json

import pytest
from accelerate import PartialState
from transformers import Trainer, TrainingArguments

from layer_distillation.runs.command_line import parse_flags
from layer_distillation.step.stock import make_stock_flags
from layer_distillation.step.stock_checks import check_deepspeed, check_sharding, check_stock_flags

# Of the class with its own defaults: mistakes, and what the line about it names.
MISTAKES = [
    ({"eval_strategy": "steps", "logging_steps": 0}, "--logging_steps is 0"),
    ({"torch_empty_cache_steps": 0}, "--torch_empty_cache_steps is 0"),
    ({"logging_strategy": "steps", "logging_steps": 0}, "--logging_steps is 0"),
    ({"logging_strategy": "steps", "logging_steps": 1.5}, "--logging_steps is 1.5"),
    ({"eval_strategy": "steps", "eval_steps": 1.5}, "--eval_steps is 1.5"),
    ({"save_strategy": "steps", "save_steps": 1.5}, "--save_steps is 1.5"),
    ({"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "steps"}, "--save_strategy is steps"),
    (
        {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 5},
        "--save_steps is 5 and --eval_steps is 0.1",
    ),
    (
        {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 0.25},
        "--save_steps is 0.25 and --eval_steps is 0.1",
    ),
    (
        {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 4, "save_steps": 6},
        "--save_steps is 6 and --eval_steps is 4",
    ),
    ({"fp16": True, "bf16": True, "use_cpu": True}, "--fp16 and --bf16"),
    ({"fp16_full_eval": True, "bf16_full_eval": True, "use_cpu": True}, "--fp16_full_eval and --bf16_full_eval"),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "--lr_scheduler_type reduce_lr_on_plateau"),
    ({"lr_scheduler_type": "greedy"}, "--lr_scheduler_type greedy"),
    ({"warmup_steps": -1}, "--warmup_steps is -1"),
    ({"dataloader_prefetch_factor": 2}, "--dataloader_prefetch_factor needs"),
    ({"accelerator_config": '{"use_configured_state": true}'}, "use_configured_state"),
    ({"accelerator_config": '{"even_batch": true}'}, "'even_batch'"),
    ({"accelerator_config": "{even"}, "not valid JSON"),
    ({"accelerator_config": "no_such_file.json"}, "is not a file"),
    ({"fsdp": "full_shards"}, "--fsdp has 'full_shards'"),
    ({"fsdp": "hybrid_shard"}, "--fsdp has 'hybrid_shard'"),
    ({"fsdp": True, "fsdp_config": '{"auto_wrap_policy": "ALL"}'}, "auto_wrap_policy 'ALL'"),
]
RAISES = {"__post_init__": 2, "_validate_args": 17, "_process_fsdp_args": 1, "_apply_legacy_fsdp_to_config": 2}
CLEAN = [
    {},
    {"eval_strategy": "steps", "eval_steps": 4, "save_steps": 8, "load_best_model_at_end": True},
    {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 0.3, "load_best_model_at_end": True},
    {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "best", "load_best_model_at_end": True},
    {"lr_scheduler_type": "greedy", "eval_strategy": "epoch"},
    {"accelerator_config": '{"even_batches": true}', "lr_scheduler_kwargs": '{"num_cycles": 2}'},
    {"dataloader_prefetch_factor": 2, "dataloader_num_workers": 1},
    {"report_to": ["none"]},
]


def make_flags(**changes: object) -> dict[str, object]:
    return vars(make_stock_flags()()) | changes


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=lambda value: json.dumps(value)[:60])
def test_what_the_class_refuses_is_refused_without_it(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        check_stock_flags(make_flags(**changes), num_processes=2)
    PartialState._reset_state()  # that an earlier test made
    with pytest.raises((ValueError, TypeError, OSError)):
        TrainingArguments(str(tmp_path), **changes)


@pytest.mark.parametrize("changes", CLEAN, ids=str)
def test_what_the_class_takes_is_taken(tmp_path, changes):
    check_stock_flags(make_flags(**changes), num_processes=1)
    TrainingArguments(str(tmp_path), use_cpu=True, **changes)


def test_no_refusal_of_the_class_is_new():
    """Where a new transformers has another `raise ValueError`: add its mistake above, unless the machine decides it."""
    for name, count in RAISES.items():
        assert inspect.getsource(getattr(TrainingArguments, name)).count("raise ValueError") == count, name
    assert "Using fsdp only works in distributed training" in inspect.getsource(Trainer.__init__)


def test_sharding_needs_processes_to_shard_over():
    with pytest.raises(ValueError, match="here is one"):
        check_sharding(make_flags(fsdp=True), num_processes=1)
    with pytest.raises(ValueError, match="--fsdp and --use_cpu are both given: accelerate shards nothing on"):
        check_sharding(make_flags(fsdp=True, use_cpu=True), num_processes=2)
    with pytest.raises(ValueError, match="--fsdp and --deepspeed"):
        check_sharding(make_flags(fsdp=True, deepspeed="{}"), num_processes=2)


GROUP = {"RANK": "0", "WORLD_SIZE": "2"}
BY_ACCELERATE = {**GROUP, "ACCELERATE_USE_DEEPSPEED": "true"}
SECOND, THIRD = ({"zero_optimization": {"stage": stage}} for stage in (2, 3))


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        (SECOND, {}, "start with torchrun or accelerate launch"),
        (THIRD, GROUP, "ZeRO stage 3 shards the weights"),
        (json.dumps(THIRD), GROUP, "ZeRO stage 3 shards the weights"),
        (None, BY_ACCELERATE | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, "ZeRO stage 3 shards the weights"),
        ("nowhere.json", GROUP, "nowhere.json is not a file"),
        ({"zero_optimization": True}, GROUP, "zero_optimization True: give an object"),
        ('{"zero_optimization": null}', GROUP, "zero_optimization None: give an object"),
    ],
)
def test_what_deepspeed_cannot_do_here_is_refused(monkeypatch, settings, environment, message):
    monkeypatch.setattr("layer_distillation.step.stock_checks.find_spec", lambda name: name)
    with pytest.raises(ValueError, match=message):
        check_deepspeed(make_flags(deepspeed=settings), environment)


def test_deepspeed_below_stage_3_is_taken_and_asked_for(monkeypatch):
    for environment in (GROUP, {}):
        check_deepspeed(make_flags(deepspeed=None), environment)
    monkeypatch.setattr("layer_distillation.step.stock_checks.find_spec", lambda name: name)
    check_deepspeed(make_flags(deepspeed=SECOND), GROUP)
    check_deepspeed(make_flags(deepspeed=None), BY_ACCELERATE | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"})
    monkeypatch.setattr("layer_distillation.step.stock_checks.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install deepspeed"):
        check_deepspeed(make_flags(deepspeed=SECOND), GROUP)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--eval_strategy", "steps"], "--save_strategy is epoch"),
        (["--save_strategy", "steps"], "--eval_strategy is epoch"),
        (["--report_to", "wandbb"], "--report_to is 'wandbb'"),
        (["--lr_scheduler_kwargs", "x"], "--lr_scheduler_kwargs is 'x'"),
        (["--liger_kernel_config", "{}"], "from Python alone"),
        (["--eval_strategy", "epochs"], "did you mean epoch?"),
    ],
)
def test_a_mistake_in_a_stock_flag_is_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_flags(argv)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
