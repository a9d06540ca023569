"""Milliseconds of a forward pass of student and teacher on this machine, and the size of their weights.

Entry: `measure_speed`.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)

BATCH_SIZES = (1, 32)
MOST_TOKENS = 128
MOST_ROUNDS = 11
BUDGET_SECONDS = 1.5  # per batch size; a round is begun only before it is spent
SEED = 0


def measure_speed(
    model_class: type[PreTrainedModel],
    teacher_config: PreTrainedConfig | None,
    student_config: PreTrainedConfig,
    row_tokens: int,
    device: torch.device,
    teacher_class: type[PreTrainedModel] | None = None,
    row_inputs: int | None = None,
) -> dict[str, Any]:
    """What a user of the student gains: teacher and student pass by turns, A B A B, so that both meet the same machine.

    Both are built anew from their configs, with random weights, and fed random tokens: what a pass costs does not
    depend on their values, and the teacher's may be gone from memory where training reads its outputs from the store.
    Both compute in float32 with the attention that transformers takes by itself, as whoever loads them gets them.

    Args:
        model_class: the student's, and the teacher's unless that has another.
        teacher_config: None where the teacher is no model; then the student alone is measured.
        row_tokens: how long the rows are; at most 128 are taken.
        row_inputs: how many inputs of that length a row is, where the models take several (multiple choice).

    Returns:
        `milliseconds` by batch size and model, each the fastest of `rounds`; `weight_bytes` by model; `tokens` of each
        row; `threads`. Empty where the memory does not suffice, as this must not cost a trained student.
    """
    tokens = min(MOST_TOKENS, row_tokens)
    made = {} if teacher_config is None else {"teacher": (teacher_class or model_class, teacher_config)}
    made["student"] = model_class, student_config
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.default_generator.manual_seed(SEED)
            models = {name: build_model(*kind, device) for name, kind in made.items()}
            shape = (tokens,) if row_inputs is None else (row_inputs, tokens)
            timings = {batch_size: time_models(models, (batch_size, *shape), device) for batch_size in BATCH_SIZES}
            weight_bytes = {name: count_weight_bytes(model) for name, model in models.items()}
    except torch.OutOfMemoryError:
        logger.warning("speed is not measured: teacher and student do not fit into the memory beside the training")
        return {}
    return {
        "tokens": tokens,
        "threads": torch.get_num_threads(),
        "milliseconds": {str(size): milliseconds for size, (milliseconds, _) in timings.items()},
        "rounds": {str(size): rounds for size, (_, rounds) in timings.items()},
        "weight_bytes": weight_bytes,
    }


def build_model(model_class: type[PreTrainedModel], config: PreTrainedConfig, device: torch.device) -> PreTrainedModel:
    """Through the dict that is saved, which keeps no choice of attention that training made."""
    return model_class._from_config(type(config).from_dict(config.to_dict()), dtype=torch.float32).to(device).eval()


def time_models(
    models: dict[str, PreTrainedModel], shape: tuple[int, ...], device: torch.device
) -> tuple[dict[str, float], int]:
    """Milliseconds of each model's fastest pass, and of how many; the first, a warm-up, counts only if it is alone.

    The fastest, because what makes a pass slower is whatever else the machine does meanwhile.
    """
    inputs = draw_inputs(models.values(), shape, device)
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    while not rounds or (len(rounds) < MOST_ROUNDS and time.perf_counter() - start < BUDGET_SECONDS):
        rounds.append({name: time_call(lambda model=model: model(**inputs), device) for name, model in models.items()})
    counted = rounds[1:] or rounds
    return {name: 1000 * min(seconds[name] for seconds in counted) for name in models}, len(counted)


def draw_inputs(
    models: Iterable[PreTrainedModel], shape: tuple[int, ...], device: torch.device
) -> dict[str, torch.Tensor]:
    """(rows, tokens) of random tokens that all models have, none of them padding."""
    num_tokens = min(model.get_input_embeddings().num_embeddings for model in models)
    return {
        "input_ids": torch.randint(1, num_tokens, shape).to(device),
        "attention_mask": torch.ones(shape, dtype=torch.long, device=device),
    }


def time_call(call: Callable[[], object], device: torch.device) -> float:
    """Seconds, until the device has finished."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def count_weight_bytes(model: PreTrainedModel) -> int:
    """Of the weights as they are saved: a tensor that two names share counts once."""
    tensors = {tensor.data_ptr(): tensor for tensor in model.state_dict().values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
