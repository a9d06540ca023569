"""DistillationTrainingArguments: the loss's flags beside those of `transformers.TrainingArguments`."""

import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from losses import HIDDEN_LOSSES

TERM_NAMES = ("ce", "kl", "hidden", "attention", "logit_cosine")


# Flags of TrainingArguments that would make a result wrong in silence: the value that is right, and what to do instead.
UNSUPPORTED = (
    ("dataloader_drop_last", False, "it would leave evaluated rows out too"),
    ("label_smoothing_factor", 0.0, "the teacher's soft labels take its place; raise --kl_weight or --temperature"),
    ("batch_eval_metrics", False, "eval_loss is computed over all rows at once"),
    ("eval_do_concat_batches", True, "eval_loss is computed over all rows at once"),
    ("bf16_full_eval", False, "it would cast the student that is saved; take --bf16"),
    ("fp16_full_eval", False, "it would cast the student that is saved; take --fp16"),
)
SAMPLING_STRATEGIES = ("random", "sequential")


@dataclass
class DistillationTrainingArguments(TrainingArguments):
    """transformers.TrainingArguments plus the loss; some defaults differ, so that the best student is what is kept."""

    ce_weight: float = field(default=0.5, metadata={"help": "Weight of the task's loss on the true labels."})
    kl_weight: float = field(
        default=0.5, metadata={"help": "Weight of T^2 KL(teacher || student); for regression of the squared error."}
    )
    hidden_weight: float = field(default=1.0, metadata={"help": "Weight of the hidden states' distance."})
    attention_weight: float = field(default=0.0, metadata={"help": "Weight of the attention matrices' distance."})
    logit_cosine_weight: float = field(default=0.0, metadata={"help": "Weight of 1 - cosine of the logits."})
    temperature: float = field(default=2.0, metadata={"help": "Softmax temperature T of the KL term."})
    hidden_loss: str = field(
        default="cosine", metadata={"help": "How hidden states are compared.", "choices": sorted(HIDDEN_LOSSES)}
    )
    layer_matching: str = field(
        default="block",
        metadata={
            "help": "Which teacher layer each student layer imitates: block (the end of its block), the name of a "
            "layer strategy, or a list such as 1,3,5."
        },
    )
    length_pool_batches: int = field(
        default=8,
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
    keep_checkpoints: bool = field(
        default=False, metadata={"help": "Keep the checkpoints of a finished run, for which only the student is left."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations in a row without a better student."}
    )

    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Compute in bfloat16 (default: where GPU or processor have it and nothing else is asked for; "
            "models narrower than about 256 are faster with false)."
        },
    )
    num_train_epochs: float = field(default=3.0, metadata={"help": "Passes over the training rows."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Training rows per process and step."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Evaluated rows per process and step."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of AdamW."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Warm-up: steps, or below 1 a share of all steps."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps or epoch."})
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

    def __post_init__(self) -> None:
        if not self.use_cpu and not torch.accelerator.is_available():
            self.use_cpu = True
        if self.bf16 is None:
            is_chosen = self.fp16 or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
            self.bf16 = not is_chosen and has_bfloat16(self.use_cpu)
        super().__post_init__()
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # pinned memory is for copies to a GPU; without one torch only warns
        weights = {name: getattr(self, f"{name}_weight") for name in TERM_NAMES}
        if min(weights.values()) < 0:
            name = min(weights, key=weights.__getitem__)
            raise ValueError(f"{name}_weight is {weights[name]}: a weight is at least 0")
        if sum(weights.values()) == 0:
            flags = ", ".join(f"--{name}_weight" for name in weights)
            raise ValueError(f"all weights are 0: set one of {flags} above 0")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}: it has to be above 0 (1 changes nothing)")
        for name, allowed, remedy in UNSUPPORTED:
            if getattr(self, name) != allowed:
                raise ValueError(f"--{name} {getattr(self, name)} is not supported: {remedy}")
        if self.train_sampling_strategy not in SAMPLING_STRATEGIES:
            raise ValueError(
                f"--train_sampling_strategy {self.train_sampling_strategy} is not supported, it reorders evaluated "
                f"rows too: take {' or '.join(SAMPLING_STRATEGIES)}, and --length_pool_batches against padding"
            )
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ValueError("--early_stopping_patience needs evaluations: set --eval_strategy to epoch or steps")
        if self.hidden_loss not in HIDDEN_LOSSES:
            raise ValueError(f"hidden_loss is {self.hidden_loss!r}: choose one of {', '.join(HIDDEN_LOSSES)}")


def has_bfloat16(use_cpu: bool) -> bool:
    """Whether bfloat16 products have instructions of their own here; elsewhere they are emulated, slower than fp32."""
    if use_cpu:
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
