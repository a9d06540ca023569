"""What a run takes of the machine, estimated before it starts from its teacher's weights. For `check.py`, with torch.

Entry: `estimate_needs`.
"""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open

from layer_distillation.runs.arguments import RunArguments
from layer_distillation.sweep.plan import Needs

# Of the recorded runs of results/: the built-in task's (0.4 million parameters) peak at 0.74 GB, MiniLM's (23 million)
# at 1.6 to 2.9 GB by the length of their rows, half of them below 1.8 GB.
PROCESS_BYTES = 750_000_000  # of the libraries and the data
BYTES_PER_PARAMETER = 45  # of the teacher: it, the student, gradients, Adam, activations


def estimate_needs(arguments: RunArguments) -> Needs:
    """Memory of the run on its device, and on which cards it would run here."""
    parameters = sum(
        count_parameters(name, arguments.teacher.teacher_revision)
        for name in [arguments.teacher.teacher_model_name_or_path, *arguments.teacher.additional_names]
        if name is not None  # the built-in teacher's are too few to count
    )
    num_cards = 0 if arguments.training.use_cpu else torch.cuda.device_count()
    card_bytes = torch.cuda.get_device_properties(0).total_memory if num_cards else 0
    return Needs(PROCESS_BYTES + BYTES_PER_PARAMETER * parameters, num_cards, card_bytes)


@cache
def count_parameters(name: str, revision: str) -> int:
    """Of a model's folder, or of one of the Hub that is in its cache; 0 where it is yet to be downloaded."""
    cached = name if Path(name).is_dir() else try_to_load_from_cache(name, "config.json", revision=revision)
    if not isinstance(cached, str):
        return 0
    folder = Path(cached) if Path(cached).is_dir() else Path(cached).parent
    pickled = sum(path.stat().st_size for path in folder.glob("pytorch_model*.bin")) // 4
    return sum(map(math.prod, list_shapes(folder))) or pickled


def list_shapes(folder: Path) -> Iterator[list[int]]:
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="numpy") as weights:
            yield from (weights.get_slice(name).get_shape() for name in weights.keys())  # noqa: SIM118 - no mapping
