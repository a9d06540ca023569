"""Fills a teacher store: one pass of the teacher, all processes together, under a lock, renamed into place last."""

import json
import logging
import secrets
import shutil
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from layer_distillation.outputs.compared import ModelOutputs, compute_in, make_mask, run_model
from layer_distillation.outputs.store import (
    ATTENTIONS,
    LOGIT_STARTS_NAME,
    LOGITS_NAME,
    MANIFEST_NAME,
    RELATIONS,
    STATES,
    StoreSpec,
    TeacherStore,
    describe_file,
    name_index,
    name_shard,
    remove_damaged,
)
from layer_distillation.records.process_locks import agree_on_failure, hold_lock_together
from layer_distillation.records.token_counts import measure_lengths
from layer_distillation.teachers.arguments import TeacherArguments

logger = logging.getLogger(__name__)

SHARD_BYTES = 2**30
TOKENS_PER_BATCH = {"cpu": 2048}  # a processor's caches hold no more
OTHER_TOKENS_PER_BATCH = 8192
FLOAT32_SETTINGS = (  # each of which may be set by itself
    *(torch.backends.cuda.matmul, torch.backends.cudnn.conv),
    *(torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv),
)
UNFINISHED_SUFFIX = ".unfinished"


class HalfPrecisionError(ValueError):
    """A value that the store would hold in half precision does not fit it."""


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
        HalfPrecisionError: what the teacher answers does not fit it.
    """
    folder, state = root / spec.name, PartialState()
    with hold_lock_together(root / f"{spec.name}.lock"):
        with agree_on_failure():
            if state.is_main_process:
                remove_damaged(folder, spec)
        [is_there] = broadcast_object_list([folder.exists()])
        if not is_there:
            fill(folder, spec, teacher, rows, collate, device)
        with agree_on_failure():  # and none lets go of the lock before all have opened it
            return TeacherStore(folder, spec, teacher.config)


def locate_stores(arguments: TeacherArguments) -> Path:
    return Path(arguments.cache_dir).expanduser() / "teacher_outputs"


def fill(
    folder: Path,
    spec: StoreSpec,
    teacher: PreTrainedModel,
    rows: Dataset,
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    device: torch.device,
) -> None:
    """One pass of the teacher, each process over its part; the main process puts the parts together and renames.

    The parts lie in a folder of this fill's own: what a killed run's other processes still write comes into no other.
    """
    state, start = PartialState(), time.perf_counter()
    [token] = broadcast_object_list([secrets.token_hex(4)])
    unfinished = folder.with_suffix(f"{UNFINISHED_SUFFIX}-{token}")
    try:
        with agree_on_failure():
            if state.is_main_process:
                for left in folder.parent.glob(f"{folder.name}{UNFINISHED_SUFFIX}*"):
                    shutil.rmtree(left, ignore_errors=True)
                unfinished.mkdir()
        with agree_on_failure(), full_precision():
            write_part(unfinished, spec, teacher.to(device).eval(), rows, collate, device)
        with agree_on_failure():
            if state.is_main_process:
                join_parts(unfinished, spec, state.num_processes, start)
                unfinished.rename(folder)
    finally:  # renamed, or of no use to anyone
        if state.is_main_process:  # another process, stopped earlier, would take away what is being put together
            shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 products in float32, whatever training takes (TF32, say): a store serves runs that train in any."""
    settings = (torch.backends, *FLOAT32_SETTINGS)
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision


@torch.no_grad()
def write_part(
    folder: Path,
    spec: StoreSpec,
    teacher: PreTrainedModel,
    rows: Dataset,
    collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    device: torch.device,
) -> None:
    """This process's batches, in the spec's precision: logits and indices go to one file, the rest to own shards."""
    state = PartialState()
    writers = {kind: ShardWriter(folder, kind, state.process_index, state.num_processes) for kind in spec.kinds}
    logits: dict[int, np.ndarray] = {}
    columns = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in rows.column_names]
    batches = plan_batches(measure_lengths(rows), device)[state.process_index :: state.num_processes]
    for batch_rows in tqdm(
        batches, desc="the teacher's outputs", disable=None if state.is_main_process else True, leave=False
    ):
        batch = collate(rows.select(batch_rows).select_columns(columns).to_list())
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with compute_in(spec.precision, device):
            outputs = run_model(teacher, batch, spec.hidden_layers, spec.attention_layers, spec.relation_layers)
        mask = make_mask(batch)
        logits |= dict(zip(batch_rows, take_logits(outputs.logits, mask, spec), strict=True))
        values = take_real_values(outputs, mask)
        for kind, writer in writers.items():
            for row_values in join_inputs(values[kind], len(batch_rows)):
                writer.write(row_values)
    indices = {name_index(kind): writer.close() for kind, writer in writers.items()}
    done, none = np.array(list(logits), np.int64), np.empty((0, spec.num_labels), np.float32)
    lengths = np.array([len(row) for row in logits.values()], np.int64)
    stacked = np.concatenate([*logits.values(), none])
    np.savez(folder / f"part-{state.process_index}.npz", rows=done, logits=stacked, lengths=lengths, **indices)


def take_logits(logits: Tensor, attention_mask: Tensor, spec: StoreSpec) -> list[np.ndarray]:
    """Of every row its logits, (1, outputs), or those of its real tokens, (tokens, outputs)."""
    if not spec.is_per_token:
        return list(logits.float().cpu().numpy()[:, None])
    masks = attention_mask.bool().cpu().numpy()
    return [row[real] for row, real in zip(logits.float().cpu().numpy(), masks, strict=True)]


def take_real_values(outputs: ModelOutputs, attention_mask: Tensor) -> dict[str, list[np.ndarray]]:
    """Per input, float16: hidden states (real tokens, layers, hidden), attentions (layers, heads, real, real tokens),
    relations (real tokens, layers, 3, width).

    Raises:
        HalfPrecisionError: a value does not fit half precision.
    """
    mask = attention_mask.bool().cpu()
    values: dict[str, list[Tensor]] = {STATES: [], ATTENTIONS: [], RELATIONS: []}
    if outputs.hidden_states:
        states = fetch_stacked(outputs.hidden_states, dim=2)
        values[STATES] = [row[real] for row, real in zip(states, mask, strict=True)]
    if outputs.attentions:
        attentions = fetch_stacked(outputs.attentions, dim=1)
        values[ATTENTIONS] = [row[..., real, :][..., real] for row, real in zip(attentions, mask, strict=True)]
    if outputs.relations:
        relations = fetch_stacked(outputs.relations, dim=1).movedim(3, 1)
        values[RELATIONS] = [row[real] for row, real in zip(relations, mask, strict=True)]
    if not all(torch.isfinite(row).all() for rows in values.values() for row in rows):
        raise HalfPrecisionError("the teacher's intermediate outputs overflow half precision")
    return {kind: [row.numpy() for row in rows] for kind, rows in values.items()}


def join_inputs(values: list[np.ndarray], num_rows: int) -> list[np.ndarray]:
    """Of each row's inputs one after the other, flat, where a row has several, as in multiple choice."""
    step = len(values) // num_rows
    if step == 1:
        return values
    starts = range(0, len(values), step)
    return [np.concatenate([own.ravel() for own in values[start : start + step]]) for start in starts]


def fetch_stacked(layers: Sequence[Tensor], dim: int) -> Tensor:
    """In half precision, in one copy from the device."""
    return torch.stack(tuple(layers), dim=dim).half().cpu()


class ShardWriter:
    """Appends float16 arrays to shards of about a gibibyte; process p of n writes the shards p, p + n, p + 2n, ..."""

    def __init__(self, folder: Path, kind: str, process_index: int, num_processes: int) -> None:
        self.folder, self.kind, self.shard, self.step = folder, kind, process_index, num_processes
        self.file, self.size, self.index = None, 0, array("q")

    def write(self, values: np.ndarray) -> None:
        if self.file is None or (self.size + values.size) * values.itemsize > SHARD_BYTES:
            self._open_next()
        self.index.extend((self.shard, self.size, values.size))
        self.file.write(values.tobytes())
        self.size += values.size

    def _open_next(self) -> None:
        if self.file is not None:
            self.file.close()
            self.shard += self.step
        self.file, self.size = (self.folder / name_shard(self.kind, self.shard)).open("wb"), 0

    def close(self) -> np.ndarray:
        """(arrays, 3): shard, first value there and number of values of everything written."""
        if self.file is not None:
            self.file.close()
        return np.array(self.index).reshape(-1, 3)


def plan_batches(lengths: Sequence[int], device: torch.device) -> list[list[int]]:
    """Row numbers in batches of as many padded tokens as suit the device, longest first: hardly any is padding."""
    most_tokens = TOKENS_PER_BATCH.get(device.type, OTHER_TOKENS_PER_BATCH)
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches: list[list[int]] = []
    for row in order:
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > most_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def join_parts(folder: Path, spec: StoreSpec, num_parts: int, start: float) -> None:
    """Logits and indices in the order of the rows, and the manifest that makes the store complete.

    Raises:
        RuntimeError: the parts do not hold every row once.
        ValueError: the logits are not all numbers.
    """
    logits = np.full((spec.num_tokens if spec.is_per_token else spec.num_rows, spec.num_labels), np.nan, np.float32)
    parts = [np.load(folder / f"part-{process}.npz") for process in range(num_parts)]
    lengths = np.zeros(spec.num_rows, np.int64)
    for part in parts:
        lengths[part["rows"]] = part["lengths"]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    indices = {name_index(kind): np.zeros((spec.num_rows, 3), np.int64) for kind in spec.kinds}
    times_written = np.zeros(spec.num_rows, np.int64)
    for process, part in enumerate(parts):
        with part:
            times_written[part["rows"]] += 1
            logits[list_places(starts, part["rows"])] = part["logits"]
            for name, index in indices.items():
                index[part["rows"]] = part[name]
        (folder / f"part-{process}.npz").unlink()
    if not (times_written == 1).all():
        raise RuntimeError(f"the parts of {folder} do not hold every row once: start the command again")
    if not np.isfinite(logits).all():
        raise ValueError("the teacher's logits are not all finite numbers: check the teacher's weights")
    starts = {LOGIT_STARTS_NAME: starts} if spec.is_per_token else {}
    finish_store(folder, spec, {LOGITS_NAME: logits, **starts, **indices}, start)


def finish_store(folder: Path, spec: StoreSpec, arrays: Mapping[str, np.ndarray], start: float) -> None:
    """Writes the arrays by their files' names, and the manifest that makes the store complete."""
    for name, values in arrays.items():
        np.save(folder / name, values)
    files = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
    manifest = {"spec": spec.describe(), "files": files, "seconds": time.perf_counter() - start}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")


def list_places(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where the values of these rows stand, row by row."""
    return np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows] or [np.empty(0, np.int64)])
