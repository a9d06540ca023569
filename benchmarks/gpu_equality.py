"""Two processes that share one GPU against one process: the same global batches have to give the same weights."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.gpu_folder import ROOT, load_teacher, make_tokenizer, read_rows, read_sizes
from benchmarks.gpu_sick import make_arguments
from distill_trainer import DistillationTrainer
from layer_distillation.records.process_locks import leave_process_group
from student_init import build_student

GLOBAL_BATCH, STEPS = 32, 4
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
Show = Callable[..., None]


def compare_processes(folder: Path, work: Path, show: Show) -> None:
    """Largest difference of a weight, beside the largest move of one; both are of SGD in float32."""
    for num_processes in (1, 2):
        start_processes(folder, work / f"{num_processes}.pt", num_processes)
    one, two = (torch.load(work / f"{number}.pt") for number in (1, 2))
    start = build_student(load_teacher(folder), [0, 1]).state_dict()
    show(
        largest_difference=max(float((one[name] - two[name]).abs().max()) for name in one),
        largest_move=max(float((one[name].cpu() - start[name]).abs().max()) for name in one),
        backend="gloo",
    )


def start_processes(folder: Path, target: Path, num_processes: int) -> None:
    """By hand: torchrun would give each process a GPU of its own, and NCCL refuses to share one.

    Raises:
        RuntimeError: a process failed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.gpu_equality", str(folder), str(target)]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(num_processes), "LOCAL_RANK": "0"}
    ranks = [{"RANK": str(rank)} | shared if num_processes > 1 else {} for rank in range(num_processes)]
    children = [subprocess.Popen(command, cwd=ROOT, env=os.environ | rank, stdout=sys.stderr) for rank in ranks]
    try:
        failed = [status for status in [child.wait() for child in children] if status != 0]
    finally:
        for child in children:
            child.kill()
    if failed:
        raise RuntimeError(f"of {num_processes} processes {len(failed)} failed, with status {failed[0]}")


def train_part(folder: Path, target: Path) -> None:
    """This process's part of the training; the first one saves the weights."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    teacher = load_teacher(folder, **NO_DROPOUT)
    num_rows = min(GLOBAL_BATCH, read_sizes(folder).evaluated_rows) * STEPS
    settings = {"bf16": False, "optim": "sgd", "learning_rate": 0.05, "max_grad_norm": 0.0, "warmup_steps": 0}
    settings |= {"eval_strategy": "no", "logging_strategy": "no", "ddp_backend": "gloo" if world > 1 else None}
    trainer = DistillationTrainer(
        model=build_student(teacher, [0, 1]),
        args=make_arguments(
            target.parent, max_steps=STEPS, per_device_train_batch_size=GLOBAL_BATCH // world, **settings
        ),
        teacher=teacher,
        train_dataset=read_rows(folder, "sick_train", num_rows),
        processing_class=make_tokenizer(),
    )
    trainer.train()
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save({name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()}, target)
    leave_process_group()


if __name__ == "__main__":
    train_part(Path(sys.argv[1]), Path(sys.argv[2]))
