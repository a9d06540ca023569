"""The teacher's outputs for one split, computed once and read from disk by every epoch, strategy, seed and process.

Filled by `teacher_store_filling.open_or_fill`. Per example the store holds the logits (float32) and, where a loss
needs them, the hidden states of some layers for real tokens only (float16, ragged, memory-mapped shards). A store is
named by what it depends on (teacher weights, token ids, layers, version), is checked when opened, and appears under
its name only when complete."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

STORE_VERSION = 1
MANIFEST_NAME, LOGITS_NAME, INDEX_NAME = "manifest.json", "logits.npy", "index.npy"
BYTES_PER_HIDDEN_VALUE, BYTES_PER_LOGIT = 2, 4


class DamagedStoreError(Exception):
    """The files of a store are not what its manifest says."""


@dataclass(frozen=True)
class StoreSpec:
    """All that a store's contents depend on, and its sizes."""

    teacher_fingerprint: str
    rows_fingerprint: str
    hidden_layers: tuple[int, ...]
    num_rows: int
    num_tokens: int
    num_labels: int
    hidden_size: int
    version: int = STORE_VERSION

    @property
    def name(self) -> str:
        """The store's folder: a hash of everything above."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]

    def count_bytes(self) -> int:
        """Bytes on disk, but for the index and the manifest."""
        states = self.num_tokens * len(self.hidden_layers) * self.hidden_size * BYTES_PER_HIDDEN_VALUE
        return states + self.num_rows * self.num_labels * BYTES_PER_LOGIT


class TeacherStore:
    """Read access to a complete store; `config` is the teacher's, whose weights need not be in memory."""

    def __init__(self, folder: Path, spec: StoreSpec, config: PreTrainedConfig) -> None:
        self.folder = folder
        self.spec = spec
        self.config = config
        self.logits = np.load(folder / LOGITS_NAME)
        self.index = np.load(folder / INDEX_NAME)
        self._shards: dict[int, np.ndarray] = {}

    def get_logits(self, rows: Sequence[int]) -> Tensor:
        """(rows, classes), float32."""
        return torch.from_numpy(self.logits[np.asarray(rows)])

    def get_hidden_states(self, rows: Sequence[int], attention_mask: Tensor) -> Tensor:
        """(rows, layers, tokens, hidden), float16, zero where the mask (rows, tokens) says padding, on either side."""
        shape = (*attention_mask.shape, len(self.spec.hidden_layers), self.spec.hidden_size)
        states = torch.zeros(shape, dtype=torch.float16)
        real_tokens = [torch.from_numpy(self._read_row(row)) for row in rows]
        states[attention_mask.bool()] = torch.cat(real_tokens)
        return states.transpose(1, 2)

    def _read_row(self, row: int) -> np.ndarray:
        """(tokens, layers, hidden) of one example."""
        shard, start, length = self.index[row]
        return np.array(self._open_shard(int(shard))[start : start + length])

    def _open_shard(self, shard: int) -> np.ndarray:
        if shard not in self._shards:
            layout = (-1, len(self.spec.hidden_layers), self.spec.hidden_size)
            path = self.folder / name_shard(shard)
            self._shards[shard] = np.memmap(path, dtype=np.float16, mode="r").reshape(layout)
        return self._shards[shard]


class StoredOutputsCollator:
    """A collator that adds the teacher's outputs to a batch; in a data loader's worker it costs the step nothing."""

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]], store: TeacherStore) -> None:
        self.collate = collate
        self.store = store

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = self.collate(features)
        rows = [int(feature["example_index"]) for feature in features]
        batch["teacher_logits"] = self.store.get_logits(rows)
        if self.store.spec.hidden_layers:
            batch["teacher_hidden_states"] = self.store.get_hidden_states(rows, batch["attention_mask"])
        return batch


def make_spec(
    config: PreTrainedConfig, teacher_fingerprint: str, rows: Dataset, hidden_layers: Sequence[int]
) -> StoreSpec:
    """The spec of a store of a teacher's outputs for `rows`, without computing any."""
    return StoreSpec(
        teacher_fingerprint=teacher_fingerprint,
        rows_fingerprint=fingerprint_rows(rows),
        hidden_layers=tuple(hidden_layers),
        num_rows=len(rows),
        num_tokens=sum(len(ids) for ids in rows["input_ids"]),
        num_labels=config.num_labels,
        hidden_size=config.hidden_size,
    )


def fingerprint_rows(rows: Dataset) -> str:
    """sha256 of what the teacher reads: token ids and, where there are any, segment ids, in order."""
    columns = [name for name in ("input_ids", "token_type_ids") if name in rows.column_names]
    digest = hashlib.sha256(json.dumps(columns).encode())
    for batch in rows.select_columns(columns).iter(1000):
        digest.update(json.dumps(batch).encode())
    return digest.hexdigest()


def remove_damaged(folder: Path, spec: StoreSpec) -> None:
    """A store that fails its check is removed, so that it is filled again and never used."""
    if not folder.exists():
        return
    try:
        check_store(folder, spec)
    except DamagedStoreError as error:
        logger.warning("the teacher store %s is damaged (%s): it is made anew", folder, error)
        shutil.rmtree(folder)


def check_store(folder: Path, spec: StoreSpec) -> None:
    """Raises DamagedStoreError unless every file has the size and the checksum of the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        if manifest["spec"] != json.loads(json.dumps(asdict(spec))):
            raise DamagedStoreError("its manifest describes another store")
        for name, expected in manifest["files"].items():
            if describe_file(folder / name) != expected:
                raise DamagedStoreError(f"{name} was truncated or altered")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(f"unreadable: {error}") from error


def describe_file(path: Path) -> dict[str, int | str]:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(2**24):
            digest.update(block)
    return {"bytes": path.stat().st_size, "xxh3": digest.hexdigest()}


def name_shard(shard: int) -> str:
    return f"states-{shard:05d}.f16"
