"""TrainingFlags: what a user says of the training beside its loss, and where our defaults differ from the stock ones.

Checked without torch. `losses/arguments.py` puts them, the loss's flags and `transformers.TrainingArguments` together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Flags of TrainingArguments that would make a result wrong in silence: the value that is right, and what to do instead.
UNSUPPORTED = (
    ("dataloader_drop_last", False, "it would leave evaluated rows out too"),
    ("label_smoothing_factor", 0.0, "the teacher's soft labels take its place; raise --kl_weight or --temperature"),
    ("batch_eval_metrics", False, "eval_loss is computed over all rows at once"),
    ("eval_do_concat_batches", True, "eval_loss is computed over all rows at once"),
    ("average_tokens_across_devices", True, "the means are over the rows of all processes, exactly"),
    ("eval_use_gather_object", False, "what is gathered are tensors; it fails under several processes"),
    ("parallelism_config", None, "a row of text split over processes has no [CLS], and no state to compare"),
    ("length_column_name", "length", "it is read by group_by_length alone; --length_pool_batches measures the rows"),
    ("bf16_full_eval", False, "it would cast the student that is saved; take --bf16"),
    ("fp16_full_eval", False, "it would cast the student that is saved; take --fp16"),
)
STRATEGIES = ("no", "steps", "epoch")
SAMPLING_STRATEGIES = ("random", "sequential")
TRAINED_TYPES = ("float32", "bfloat16")  # a weight in float16 has no optimizer here: its gradients are not unscaled


@dataclass
class StepFlags:
    """How a step is computed: all but the sizes of the batches changes seconds, and nothing else."""

    length_pool_batches: int = field(
        default=4,
        metadata={
            "help": "Sort the rows of this many batches by length together, so that less is padding; 1: plain shuffle."
        },
    )
    trim_embedding: bool = field(
        default=True,
        metadata={
            "help": "Train only the embeddings of tokens that the training rows hold; the others have no gradient, so "
            "nothing else changes but the seconds (with --weight_decay they are not decayed either)."
        },
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Compute in bfloat16 (default: where GPU or processor have it and nothing else is asked for; "
            "models narrower than about 256 are faster with false)."
        },
    )
    teacher_bf16: bool = field(
        default=False,
        metadata={
            "help": "Compute the teacher outputs that are imitated in bfloat16: a fraction of the time, off by about a "
            "hundredth. What is scored stays exact."
        },
    )
    dataloader_num_workers: int | None = field(
        default=None,
        metadata={"help": "Processes that read and pad the batches to come (default: 2 beside a CUDA GPU, else none)."},
    )
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Training rows per process and step."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Evaluated rows per process and step."})


@dataclass
class TrainingFlags(StepFlags):
    """How long and how fast the student learns, what of it is kept, and who is told; the best student is what stays."""

    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "Where checkpoints, the student and its record go (default: runs/<task>/<strategy>-seed<seed>)."
        },
    )
    seed: int = field(default=42, metadata={"help": "Of the order of the rows, dropout, and what is drawn anew."})
    push_to_hub: bool = field(default=False, metadata={"help": "Push the finished student, the best one, to the Hub."})
    hub_model_id: str | None = field(
        default=None, metadata={"help": "Its name there, such as user/name (default: the name of the folder)."}
    )
    hub_token: str | None = field(
        default=None,
        metadata={
            "help": "Token for --push_to_hub. Better not here, where everyone on this machine sees it in the list of "
            "processes: run `hf auth login`, or set HF_TOKEN."
        },
    )
    student_dtype: str = field(
        default="float32",
        metadata={
            "help": "Type of the student's weights while it trains, whatever type it comes in; bfloat16 halves their "
            "memory and rounds small updates away. --bf16 computes in bfloat16 with weights in float32.",
            "choices": list(TRAINED_TYPES),
        },
    )
    keep_checkpoints: bool = field(
        default=False, metadata={"help": "Keep the checkpoints of a finished run, for which only the student is left."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations in a row without a better student."}
    )
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the training rows."})
    learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak learning rate of AdamW (default: by the number of steps and the student's width)."},
    )
    warmup_steps: float = field(default=0.1, metadata={"help": "Warm-up: steps, or below 1 a share of all steps."})
    eval_strategy: str = field(
        default="epoch", metadata={"help": "When to evaluate: no, steps or epoch.", "choices": [*STRATEGIES]}
    )
    save_strategy: str = field(
        default="epoch",
        metadata={"help": "When to save: no, steps, epoch or best.", "choices": [*STRATEGIES, "best"]},
    )
    logging_strategy: str = field(
        default="epoch", metadata={"help": "When to log: no, steps or epoch.", "choices": [*STRATEGIES]}
    )
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best student, not the last."})
    metric_for_best_model: str = field(
        default="loss", metadata={"help": "What chooses the best student: loss (the task's) or one of its metrics."}
    )
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept beside the best one."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Leave off: it hides non-finite losses, on which this trainer stops."}
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "On a resume, early stopping goes on with its count."}
    )
    report_to: None | str | list[str] = field(  # noqa: RUF036 - in this order, or HfArgumentParser 5.23 fails
        default="none", metadata={"help": "Where to report to, such as wandb."}
    )


def check_numbers(values: Mapping[str, Any]) -> None:
    """nan and infinity pass every comparison, or end as a loss that is no number, hours later."""
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name} is {value}: give a finite number")


def check_supported(values: Mapping[str, Any]) -> None:
    """Raises ValueError where a flag, stock or ours, would make a result wrong in silence."""
    for name, allowed, remedy in UNSUPPORTED:
        if values[name] != allowed:
            raise ValueError(f"--{name} {values[name]} is not supported: {remedy}")
    if values["student_dtype"] not in TRAINED_TYPES:
        raise ValueError(f"student_dtype is {values['student_dtype']!r}: choose one of {', '.join(TRAINED_TYPES)}")
    if values["label_names"] not in (None, ["labels"]):
        raise ValueError(
            f"--label_names {values['label_names']} is not supported: name the labels' column `labels` or `label`"
        )
    if values["train_sampling_strategy"] not in SAMPLING_STRATEGIES:
        raise ValueError(
            f"--train_sampling_strategy {values['train_sampling_strategy']} is not supported, it reorders evaluated "
            f"rows too: take {' or '.join(SAMPLING_STRATEGIES)}, and --length_pool_batches against padding"
        )
    if values["early_stopping_patience"] is not None and values["eval_strategy"] == "no":
        raise ValueError("--early_stopping_patience needs evaluations: set --eval_strategy to epoch or steps")
