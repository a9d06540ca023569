"""Fills a teacher store: one pass of the teacher, all processes together, under a lock, renamed into place last."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from filelock import FileLock
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from locks import acquire_with_notice
from teacher_outputs import run_model
from teacher_store import (
    INDEX_NAME,
    LOGITS_NAME,
    MANIFEST_NAME,
    StoreSpec,
    TeacherStore,
    describe_file,
    name_shard,
    remove_damaged,
)

logger = logging.getLogger(__name__)

SHARD_BYTES = 2**30
TOKENS_PER_BATCH = 8192


def open_or_fill(
    root: Path,
    spec: StoreSpec,
    teacher: PreTrainedModel,
    rows: Dataset,
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    device: torch.device,
) -> TeacherStore:
    """The store of `spec` under `root`; filled first where it is missing or damaged, by all processes together.

    Raises:
        OSError: it cannot be written (a full disk, say); nothing half-written stays.
    """
    folder, state = root / spec.name, PartialState()
    lock = FileLock(root / f"{spec.name}.lock")
    if state.is_main_process:
        root.mkdir(parents=True, exist_ok=True)
        acquire_with_notice(lock)
        remove_damaged(folder, spec)
    try:
        state.wait_for_everyone()
        if not folder.exists():
            fill(folder, spec, teacher, rows, collate, device)
        state.wait_for_everyone()
    finally:
        lock.release()
    return TeacherStore(folder, spec, teacher.config)


def fill(
    folder: Path,
    spec: StoreSpec,
    teacher: PreTrainedModel,
    rows: Dataset,
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    device: torch.device,
) -> None:
    """One pass of the teacher, each process over its part; the main process puts the parts together and renames."""
    state = PartialState()
    unfinished = folder.with_suffix(".unfinished")
    if state.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
    state.wait_for_everyone()
    try:
        write_part(unfinished, spec, teacher.to(device).eval(), rows, collate, device)
        state.wait_for_everyone()
        if state.is_main_process:
            join_parts(unfinished, spec)
            unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@torch.no_grad()
def write_part(
    folder: Path,
    spec: StoreSpec,
    teacher: PreTrainedModel,
    rows: Dataset,
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    device: torch.device,
) -> None:
    """This process's batches, in float32: logits and index go to one file, hidden states to shards of their own."""
    state = PartialState()
    writer = ShardWriter(folder, state.process_index, state.num_processes)
    done, logits, index = [], [], []
    columns = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in rows.column_names]
    batches = plan_batches([len(ids) for ids in rows["input_ids"]])[state.process_index :: state.num_processes]
    for batch_rows in tqdm(batches, desc="teacher outputs", disable=not state.is_main_process, leave=False):
        batch = collate(rows.select(batch_rows).select_columns(columns).to_list())
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        outputs = run_model(teacher, batch, spec.hidden_layers)
        done += batch_rows
        logits.append(outputs.logits.float().cpu().numpy())
        if spec.hidden_layers:
            states = torch.stack(outputs.hidden_states, dim=2).half()  # (rows, tokens, layers, hidden)
            if not torch.isfinite(states).all():
                raise ValueError("the teacher's hidden states overflow half precision: take --teacher_outputs live")
            mask = batch["attention_mask"].bool()
            index += [writer.write(row[real].cpu().numpy()) for row, real in zip(states, mask, strict=True)]
    writer.close()
    index_array = np.array(index, dtype=np.int64).reshape(-1, 3)
    part = folder / f"part-{state.process_index}.npz"
    empty = np.zeros((0, spec.num_labels), np.float32)
    np.savez(part, rows=np.array(done, np.int64), logits=np.concatenate([empty, *logits]), index=index_array)


class ShardWriter:
    """Appends float16 arrays to shards of about a gibibyte; process p of n writes the shards p, p + n, p + 2n, ..."""

    def __init__(self, folder: Path, process_index: int, num_processes: int) -> None:
        self.folder, self.shard, self.step = folder, process_index, num_processes
        self.file, self.tokens, self.bytes = None, 0, 0

    def write(self, states: np.ndarray) -> tuple[int, int, int]:
        """Appends (tokens, layers, hidden); returns shard, first token there, and tokens."""
        if self.file is None or self.bytes + states.nbytes > SHARD_BYTES:
            self._open_next()
        start = self.tokens
        self.file.write(states.tobytes())
        self.tokens, self.bytes = self.tokens + len(states), self.bytes + states.nbytes
        return self.shard, start, len(states)

    def _open_next(self) -> None:
        if self.file is not None:
            self.file.close()
            self.shard += self.step
        self.file, self.tokens, self.bytes = (self.folder / name_shard(self.shard)).open("wb"), 0, 0

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def plan_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Row numbers in batches of about TOKENS_PER_BATCH padded tokens, longest first, so that hardly any is padding."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches: list[list[int]] = []
    for row in order:
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > TOKENS_PER_BATCH:
            batches.append([])
        batches[-1].append(row)
    return batches


def join_parts(folder: Path, spec: StoreSpec) -> None:
    """Logits and index in the order of the rows, and the manifest that makes the store complete."""
    logits = np.full((spec.num_rows, spec.num_labels), np.nan, np.float32)
    index = np.zeros((spec.num_rows, 3), np.int64)
    for path in sorted(folder.glob("part-*.npz")):
        with np.load(path) as part:
            logits[part["rows"]] = part["logits"]
            if spec.hidden_layers:
                index[part["rows"]] = part["index"]
        path.unlink()
    if not np.isfinite(logits).all():
        raise ValueError("the teacher's logits are not all finite numbers: check the teacher's weights")
    np.save(folder / LOGITS_NAME, logits)
    np.save(folder / INDEX_NAME, index)
    files = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST_NAME).write_text(json.dumps({"spec": asdict(spec), "files": files}), encoding="utf-8")
