"""DistillationTrainingArguments: the loss's flags beside those of `transformers.TrainingArguments`."""

import math
import multiprocessing
import os
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from layer_distillation.losses.functions import ATTENTION_LOSSES, HIDDEN_LOSSES
from layer_distillation.losses.schedules import Schedule, parse_schedules

PREDICTION_TERMS = ("ce", "kl", "logit_cosine")
STATE_TERMS = ("hidden", "pkd", "rkd")  # they compare the hidden states of matched layers
INTERMEDIATE_TERMS = (*STATE_TERMS, "attention", "embedding", "relation")
TERM_NAMES = (*PREDICTION_TERMS, *INTERMEDIATE_TERMS)
SCHEDULED_NAMES = ("temperature", *(f"{name}_weight" for name in TERM_NAMES))
SECOND_STAGES = ("all", "prediction")

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
GPU_LOADER_WORKERS = 2


@dataclass
class DistillationTrainingArguments(TrainingArguments):
    """transformers.TrainingArguments plus the loss; some defaults differ, so that the best student is what is kept."""

    hub_token: str | None = field(
        default=None,
        metadata={
            "help": "Token for --push_to_hub. Better not here, where everyone on this machine sees it in the list of "
            "processes: run `hf auth login`, or set HF_TOKEN."
        },
    )
    ce_weight: float = field(default=0.5, metadata={"help": "Weight of the task's loss on the true labels."})
    kl_weight: float = field(
        default=0.5, metadata={"help": "Weight of T^2 KL(teacher || student); for regression of the squared error."}
    )
    hidden_weight: float = field(default=10.0, metadata={"help": "Weight of the hidden states' distance."})
    attention_weight: float = field(default=0.0, metadata={"help": "Weight of the attention matrices' distance."})
    logit_cosine_weight: float = field(default=0.0, metadata={"help": "Weight of 1 - cosine of the logits."})
    pkd_weight: float = field(
        default=10.0,
        metadata={
            "help": "Weight of the distance of matched layers' normalized states where the head reads them: [CLS], a "
            "decoder's last token, or the mean of all."
        },
    )
    embedding_weight: float = field(default=0.0, metadata={"help": "Weight of the embedding outputs' distance."})
    relation_weight: float = field(
        default=0.0, metadata={"help": "Weight of the KL of query, key and value relations of one teacher layer."}
    )
    rkd_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the difference in how far apart a batch's rows are, by matched layers' states where the "
            "head reads them; it depends on what rows are together, so no accumulation and one process."
        },
    )
    pkd_last_layer: bool = field(
        default=True,
        metadata={"help": "Whether --pkd_weight compares the student's last layer too; the paper leaves it to the KL."},
    )
    relation_layer: int | None = field(
        default=None,
        metadata={"help": "Teacher layer whose relations the student's last layer imitates (default: its last)."},
    )
    relation_heads: int = field(
        default=12, metadata={"help": "Relation heads, a divisor of both widths; attention heads may differ."}
    )
    temperature: float = field(default=1.0, metadata={"help": "Softmax temperature T of the KL term."})
    hidden_loss: str = field(
        default="cosine", metadata={"help": "How hidden states are compared.", "choices": sorted(HIDDEN_LOSSES)}
    )
    attention_loss: str = field(
        default="mse",
        metadata={
            "help": "How attention is compared: mse (scores) or kl (distributions).",
            "choices": sorted(ATTENTION_LOSSES),
        },
    )
    schedules: str = field(
        default="",
        metadata={
            "help": "Weights or a temperature that change from their own flag's value to an end, by linear or cosine, "
            "such as hidden_weight=cosine:0,temperature=linear:1; all others stay constant."
        },
    )
    intermediate_epochs: float = field(
        default=0.0,
        metadata={
            "help": "First epochs in which only hidden, pkd, rkd, attention, embedding and relation terms count."
        },
    )
    second_stage: str = field(
        default="prediction",
        metadata={
            "help": "What counts after --intermediate_epochs: prediction (ce, kl, logit_cosine) or all terms.",
            "choices": list(SECOND_STAGES),
        },
    )
    layer_matching: str = field(
        default="block",
        metadata={
            "help": "Which teacher layer each student layer imitates: block (the end of its block), the name of a "
            "layer strategy (but scratch), a list such as 1,3,5, or best (the layer that it resembles most before "
            "training, by CKA on --calibration_rows, in ascending order)."
        },
    )
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
    dataloader_num_workers: int | None = field(
        default=None,
        metadata={"help": "Processes that read and pad the batches to come (default: 2 beside a CUDA GPU, else none)."},
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
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = count_loader_workers(self.use_cpu)
        super().__post_init__()
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # pinned memory is for copies to a GPU; without one torch only warns
        self._check_numbers()
        self._check_loss()
        self._check_stages()
        self._check_training()

    @property
    def parsed_schedules(self) -> dict[str, Schedule]:
        """Field name -> how it changes."""
        return parse_schedules(self.schedules, SCHEDULED_NAMES)

    def get_largest_weights(self) -> dict[str, float]:
        """Term name -> the larger of the two ends of its weight; 0 for a term that is off all the time."""
        schedules, weights = self.parsed_schedules, {}
        for name in TERM_NAMES:
            flag = f"{name}_weight"
            weights[name] = max(getattr(self, flag), schedules[flag].end if flag in schedules else 0.0)
        return weights

    def _check_numbers(self) -> None:
        """nan and infinity pass every comparison below, or end as a loss that is no number, hours later."""
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"--{name} is {value}: give a finite number")

    def _check_loss(self) -> None:
        weights = {name: getattr(self, f"{name}_weight") for name in TERM_NAMES}
        if min(weights.values()) < 0:
            name = min(weights, key=weights.__getitem__)
            raise ValueError(f"{name}_weight is {weights[name]}: a weight is at least 0")
        if sum(self.get_largest_weights().values()) == 0:
            flags = ", ".join(f"--{name}_weight" for name in weights)
            raise ValueError(f"all weights are 0: set one of {flags} above 0")
        schedules = self.parsed_schedules
        temperatures = [self.temperature] + ([schedules["temperature"].end] if "temperature" in schedules else [])
        if not min(temperatures) > 0:
            raise ValueError(f"temperature is {min(temperatures)}: it has to be above 0 (1 changes nothing)")
        for name, choices in (
            ("hidden_loss", HIDDEN_LOSSES),
            ("attention_loss", ATTENTION_LOSSES),
            ("second_stage", SECOND_STAGES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        self._check_batches(self.get_largest_weights())

    def _check_batches(self, weights: dict[str, float]) -> None:
        """Raises ValueError where a batch is run in a way that a term cannot follow."""
        if weights["rkd"] > 0 and self.gradient_accumulation_steps * self.world_size > 1:
            raise ValueError(
                f"--rkd_weight compares the rows of one whole batch: with --gradient_accumulation_steps "
                f"{self.gradient_accumulation_steps} and {self.world_size} processes it would be another loss; take 1 "
                "of each, or --rkd_weight 0"
            )
        if weights["relation"] > 0 and self.activation_checkpointing:
            raise ValueError(
                "--relation_weight needs what --activation_checkpointing throws away: leave one of the two out"
            )
        if weights["relation"] > 0 and self.n_gpu > 1:
            raise ValueError(f"--relation_weight needs one process per GPU: use torchrun --nproc_per_node {self.n_gpu}")

    def _check_stages(self) -> None:
        if self.intermediate_epochs == 0:
            return
        if not 0 < self.intermediate_epochs < self.num_train_epochs or self.max_steps > 0:
            raise ValueError(
                f"--intermediate_epochs {self.intermediate_epochs:g} has to leave epochs for the second stage: take "
                f"more than 0 and less than --num_train_epochs {self.num_train_epochs:g}, without --max_steps"
            )
        weights = self.get_largest_weights()
        for stage, names in (("first", INTERMEDIATE_TERMS), ("second", PREDICTION_TERMS)):
            if sum(weights[name] for name in names) == 0:
                flags = ", ".join(f"--{name}_weight" for name in names)
                raise ValueError(f"--intermediate_epochs has nothing to do in its {stage} stage: set one of {flags}")

    def _check_training(self) -> None:
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


def has_bfloat16(use_cpu: bool) -> bool:
    """Whether bfloat16 products have instructions of their own here; elsewhere they are emulated, slower than fp32."""
    if use_cpu:
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def count_loader_workers(use_cpu: bool) -> int:
    """Some beside a CUDA GPU, where processes are forked: a spawned one imports everything anew in every epoch. A
    processor has no better use of its cores than the step itself."""
    is_forked = multiprocessing.get_start_method() == "fork"
    return GPU_LOADER_WORKERS if torch.cuda.is_available() and is_forked and not use_cpu else 0
