"""Gradients of a student that torch shards over processes (FSDP 2), its teacher in a store, and those of a whole one.

torchrun --nproc_per_node 2 tests/sharded_gradients.py FOLDER

Prints, from the main process, the largest gradient and the largest difference of any.
"""

import copy
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from datasets import Dataset
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from conftest import make_bert, make_rows, pad_rows
from layer_distillation.outputs.store import StoredOutputsCollator, TeacherStore, make_spec
from layer_distillation.records.process_locks import leave_process_group
from layer_distillation.teachers.store_filling import open_or_fill
from tiny_training import make_trainer


def compute_gradients(trainer, model, batch) -> dict[str, torch.Tensor]:
    """The mean over the processes, whole."""
    trainer.compute_loss(model, dict(batch)).backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        if isinstance(parameter.grad, DTensor):
            gradients[name] = parameter.grad.full_tensor()
        elif parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            gradients[name] = parameter.grad / dist.get_world_size()
    return gradients


def make_store(folder: Path, layers: list[int]) -> tuple[TeacherStore, Dataset]:
    rows, teacher = Dataset.from_list(make_rows(8)), make_bert(4, seed=1)
    spec = make_spec(teacher.config, "0", rows, layers)
    return open_or_fill(folder, spec, teacher, rows, pad_rows, torch.device("cpu")), rows


def main(folder: Path) -> None:
    trainer = make_trainer(folder, attention_weight=0.0)
    store, rows = make_store(folder / "stores", trainer.layer_matching)
    own = list(range(dist.get_rank(), len(rows), dist.get_world_size()))
    batch = StoredOutputsCollator(pad_rows, store)([rows[row] for row in own])
    trainer.teacher.forward = None  # its outputs come from the store alone
    whole, sharded = trainer.model, copy.deepcopy(trainer.model)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in sharded.bert.encoder.layer:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    expected, found = (compute_gradients(trainer, model, batch) for model in (whole, sharded))
    assert expected.keys() == found.keys()
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    difference = max((expected[name] - found[name]).abs().max().item() for name in expected)
    shards = sum(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    if dist.get_rank() == 0:
        print(f"sharded {shards} largest {largest} difference {difference}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_process_group()
