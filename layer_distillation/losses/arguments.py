"""DistillationTrainingArguments: `transformers.TrainingArguments` with the loss's flags and the training's."""

import multiprocessing
import os
from dataclasses import dataclass

import torch
from transformers import TrainingArguments

from layer_distillation.losses.flags import BATCH_TERMS, LossFlags
from layer_distillation.losses.schedules import format_layers, format_schedules
from layer_distillation.step.flags import TrainingFlags, check_numbers, check_supported
from layer_distillation.tasks.metric_directions import choose_direction

GPU_LOADER_WORKERS = 2


@dataclass
class DistillationTrainingArguments(LossFlags, TrainingFlags, TrainingArguments):
    """transformers.TrainingArguments plus the loss; some defaults differ, so that the best student is what is kept."""

    def __post_init__(self) -> None:
        if not self.use_cpu and not torch.accelerator.is_available():
            self.use_cpu = True
        if self.bf16 is None:
            is_chosen = self.fp16 or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
            self.bf16 = not is_chosen and has_bfloat16(self.use_cpu)
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = count_loader_workers(self.use_cpu)
        self.greater_is_better = choose_direction(self.metric_for_best_model, self.greater_is_better)
        has_own_loading = self.accelerator_config is not None
        super().__post_init__()
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # pinned memory is for copies to a GPU; without one torch only warns
        elif self.device.type == "cuda" and self.dataloader_pin_memory and not has_own_loading:
            self.accelerator_config.non_blocking = True  # the processor would wait for every copy of a batch
        self.check()

    def check(self) -> None:
        """Raises ValueError for values that cannot be meant. The trainer asks again before each training, as they may
        be set on the object; lists and mappings become the text that they stand for."""
        self.layer_matching, self.schedules = format_layers(self.layer_matching), format_schedules(self.schedules)
        for name in ("class_weights", "matryoshka_dims"):
            if isinstance(getattr(self, name), (list, tuple)):
                setattr(self, name, ",".join(map(str, getattr(self, name))))
        check_numbers(vars(self))
        self.check_loss()
        weights = self.get_largest_weights()
        # No other term asks for the number of processes.
        if any(weights[name] > 0 for name in (*BATCH_TERMS, "relation")):
            self.check_batches(self.gradient_accumulation_steps, self.world_size, self.activation_checkpointing)
        if weights["relation"] > 0 and self.n_gpu > 1:
            raise ValueError(f"--relation_weight needs one process per GPU: use torchrun --nproc_per_node {self.n_gpu}")
        self.check_stages(self.num_train_epochs, self.max_steps)
        check_supported(vars(self))


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
