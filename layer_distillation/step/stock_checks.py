"""What `transformers.TrainingArguments` refuses by its flags alone, without the seconds of its imports.

`tests/step/test_stock_checks.py` holds these checks against the class: each mistake here is one there too, and none of
its `raise ValueError` is missing.

Entry: `check_stock_flags`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from layer_distillation.step.stock import load_stock_table

Flags = Mapping[str, Any]

STEPS = "steps"
KEYWORD_FLAGS = ("lr_scheduler_kwargs", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs")
FILE_FLAGS = ("accelerator_config", "fsdp_config", "deepspeed")  # JSON, or a file with it
EVALUATED_SCHEDULES = ("reduce_lr_on_plateau", "greedy")
FSDP_OPTIONS = ("full_shard", "shard_grad_op", "offload", "auto_wrap")  # of FSDP 2
FSDP1_OPTIONS = ("no_shard", "hybrid_shard", "hybrid_shard_zero2")
WRAP_POLICIES = ("TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP")


def check_stock_flags(flags: Flags, num_processes: int) -> None:
    """Raises ValueError where the stock class, or the Trainer made with it, would."""
    check_steps(flags)
    check_best(flags)
    check_numbers_of_steps(flags)
    check_objects(flags)
    check_reporting(flags["report_to"])
    check_sharding(flags, num_processes)
    check_deepspeed(flags, os.environ)


def check_steps(flags: Flags) -> None:
    """By steps means a number of them: a whole one, or below 1 a share of all."""
    for what in ("logging", "eval", "save"):
        steps = flags[f"{what}_steps"]
        if flags[f"{what}_strategy"] != STEPS:
            continue
        if what == "eval" and not steps:
            what, steps = "logging", flags["logging_steps"]  # evaluated where it is logged
        if not steps or steps < 0:
            raise ValueError(f"--{what}_strategy steps, and --{what}_steps is {steps}: give a number above 0")
        if steps > 1 and steps != int(steps):
            raise ValueError(f"--{what}_steps is {steps:g}: give a whole number, or a share of all steps below 1")


def check_best(flags: Flags) -> None:
    """The best student can be kept only where every save follows an evaluation."""
    evaluated, saved = flags["eval_strategy"], flags["save_strategy"]
    if not flags["load_best_model_at_end"] or saved == "best":
        return
    if evaluated != saved:
        raise ValueError(
            f"--eval_strategy is {evaluated} and --save_strategy is {saved}: the best student is only known where both "
            "are the same (or --save_strategy is best); or give --load_best_model_at_end false"
        )
    if evaluated != STEPS:
        return
    eval_steps, save_steps = flags["eval_steps"] or flags["logging_steps"], flags["save_steps"]
    if (eval_steps < 1) != (save_steps < 1) or round(save_steps * 1e6) % round(eval_steps * 1e6):
        raise ValueError(
            f"--save_steps is {save_steps:g} and --eval_steps is {eval_steps:g}: the best student is only known where "
            "the first is a multiple of the second, both whole numbers or both shares"
        )


def check_numbers_of_steps(flags: Flags) -> None:
    """Numbers that only make sense above 0, and flags that need another."""
    if flags["warmup_steps"] < 0:
        raise ValueError(f"--warmup_steps is {flags['warmup_steps']:g}: give 0 or more")
    if (steps := flags["torch_empty_cache_steps"]) is not None and steps < 1:
        raise ValueError(f"--torch_empty_cache_steps is {steps}: give at least 1, or leave it out")
    if flags["dataloader_num_workers"] == 0 and flags["dataloader_prefetch_factor"] is not None:
        raise ValueError("--dataloader_prefetch_factor needs --dataloader_num_workers above 0: give both, or neither")
    if flags["fp16"] and flags["bf16"]:
        raise ValueError("--fp16 and --bf16 are both given: leave one out")
    if flags["fp16_full_eval"] and flags["bf16_full_eval"]:
        raise ValueError("--fp16_full_eval and --bf16_full_eval are both given: leave one out")
    if flags["lr_scheduler_type"] in EVALUATED_SCHEDULES and flags["eval_strategy"] == "no":
        raise ValueError(
            f"--lr_scheduler_type {flags['lr_scheduler_type']} looks at evaluations: set --eval_strategy to epoch or "
            "steps"
        )


def check_objects(flags: Flags) -> None:
    """Flags whose text is JSON, or the name of a file with it."""
    for name in (*KEYWORD_FLAGS, *FILE_FLAGS):
        if (text := flags[name]) is not None:
            read_object(name, text)
    if (text := flags["accelerator_config"]) is None:
        return
    settings, known = read_object("accelerator_config", text), load_stock_table().accelerator_keys
    if unknown := settings.keys() - set(known):
        raise ValueError(f"--accelerator_config has {sorted(unknown)[0]!r}: it can have {', '.join(known)}")
    if settings.get("use_configured_state"):
        raise ValueError(
            "--accelerator_config has use_configured_state, which needs a state made in Python: leave it out"
        )


def read_object(name: str, text: str) -> dict[str, Any]:
    """What the flag says, itself or in its file; raises ValueError where that is no object of JSON."""
    if not text.startswith("{") and name in KEYWORD_FLAGS:
        raise ValueError(f'--{name} is {text!r}: give an object of JSON, such as {{"name": 1}}')
    if not text.startswith("{") and not Path(text).is_file():
        raise ValueError(f'--{name} {text} is not a file: give one with JSON, or an object such as {{"name": 1}}')
    try:
        value = json.loads(text if text.startswith("{") else Path(text).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--{name} {text} is not valid JSON ({error}): correct it") from error
    if not isinstance(value, dict):
        raise ValueError(f'--{name} {text} holds no object of JSON, such as {{"name": 1}}: correct it')
    return value


def check_reporting(names: str | Sequence[str] | None) -> None:
    known = load_stock_table().integrations
    for name in [names] if isinstance(names, str) else names or []:
        if name not in ("none", "all", *known):
            raise ValueError(f"--report_to is {name!r}: choose none, all or one of {', '.join(known)}")


def check_sharding(flags: Flags, num_processes: int) -> None:
    """Fully sharded training: its options, and that there is something to shard over."""
    if not flags["fsdp"]:
        return
    if flags["deepspeed"]:
        raise ValueError("--fsdp and --deepspeed are both given: leave one out")
    settings = read_object("fsdp_config", flags["fsdp_config"]) if flags["fsdp_config"] else {}
    settings = {name.removeprefix("fsdp_"): value for name, value in settings.items()}
    version = int(settings.get("version", 2))
    options = FSDP_OPTIONS if version == 2 else (*FSDP_OPTIONS, *FSDP1_OPTIONS)
    for option in flags["fsdp"].split() if isinstance(flags["fsdp"], str) else []:
        if option not in options:
            raise ValueError(f"--fsdp has {option!r}: with version {version} it can have {', '.join(options)}")
    if (policy := settings.get("auto_wrap_policy", WRAP_POLICIES[0])) not in WRAP_POLICIES:
        raise ValueError(f"--fsdp_config has auto_wrap_policy {policy!r}: choose one of {', '.join(WRAP_POLICIES)}")
    if num_processes == 1 and not settings.get("xla"):
        raise ValueError(
            "--fsdp shards over several processes and there is one: use torchrun --nproc_per_node, or leave it out"
        )
    if flags["use_cpu"]:  # a silent whole copy in every process: see trainer/checks.py
        raise ValueError("--fsdp and --use_cpu are both given: accelerate shards nothing on processors, leave one out")


def check_deepspeed(flags: Flags, environment: Mapping[str, str]) -> None:
    """DeepSpeed, of the flag or of `accelerate launch`: that it is there, has a group of processes (one alone is one
    too), and leaves each of them the whole weights, which students are made of."""
    settings = flags["deepspeed"]
    if not settings and environment.get("ACCELERATE_USE_DEEPSPEED") != "true":
        return
    if find_spec("deepspeed") is None:
        raise ValueError("--deepspeed needs a package that is not installed: pip install deepspeed, or leave it out")
    if settings and not {"RANK", "WORLD_SIZE"} <= set(environment):
        raise ValueError(
            "--deepspeed shards over a group of processes and there is none: start with torchrun or accelerate launch"
        )
    settings = settings or environment.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")
    if isinstance(settings, str):
        settings = read_object("deepspeed", settings)
    asked = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    zero = (settings or {}).get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise ValueError(f'--deepspeed has zero_optimization {zero!r}: give an object, such as {{"stage": 2}}')
    if zero.get("stage", asked) in (3, "3"):
        raise ValueError("DeepSpeed's ZeRO stage 3 shards the weights that students are made of: take stage 1 or 2")
