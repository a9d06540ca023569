"""The teacher's outputs for one split, computed once and read from disk by every epoch, strategy, seed and process.

Filled by `teacher_store_filling.open_or_fill`. Per example the store holds the logits (float32) and, where a loss
needs them, the hidden states, attention matrices, queries, keys and values of some layers for real tokens only
(float16, ragged, memory-mapped shards). A store is named by what it depends on (teacher weights, token ids, layers,
version), is checked when opened, and appears under its name only when complete."""

import hashlib
import json
import logging
import math
import os
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

from layer_distillation.embedding.modules import count_outputs
from layer_distillation.outputs.compared import FLOAT32, make_mask
from layer_distillation.outputs.relation_targets import get_relation_width
from layer_distillation.records.token_counts import iterate_inputs, measure_lengths

logger = logging.getLogger(__name__)

STORE_VERSION = 2
MANIFEST_NAME, LOGITS_NAME = "manifest.json", "logits.npy"
LOGIT_STARTS_NAME = "logits-starts.npy"  # (rows + 1,), of logits per token: where each row's begin
STATES, ATTENTIONS, RELATIONS = "states", "attentions", "relations"  # of every token, pair of tokens, token
SHARD_SUFFIX = ".f16"
BYTES_PER_VALUE, BYTES_PER_LOGIT = 2, 4


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
    attention_layers: tuple[int, ...] = ()
    num_token_pairs: int = 0
    num_heads: int = 0
    relation_layers: tuple[int, ...] = ()
    relation_width: int = 0
    precision: str = FLOAT32  # what the teacher computed in
    version: int = STORE_VERSION
    is_per_token: bool = False  # it has logits for every real token, not for every row

    @property
    def kinds(self) -> list[str]:
        """What it holds beside the logits."""
        layers = {STATES: self.hidden_layers, ATTENTIONS: self.attention_layers, RELATIONS: self.relation_layers}
        return [kind for kind in layers if layers[kind]]

    @property
    def name(self) -> str:
        """The store's folder: a hash of everything above."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()[:24]

    def describe(self) -> dict[str, Any]:
        """As the manifest has it; stores of logits per row keep the names that they had when there were no others."""
        described = asdict(self)
        return described if self.is_per_token else {n: v for n, v in described.items() if n != "is_per_token"}

    @property
    def num_logits(self) -> int:
        return (self.num_tokens if self.is_per_token else self.num_rows) * self.num_labels

    def count_bytes(self) -> int:
        """Bytes on disk, but for the indices and the manifest."""
        states = self.num_tokens * len(self.hidden_layers) * self.hidden_size
        attentions = self.num_token_pairs * len(self.attention_layers) * self.num_heads
        relations = self.num_tokens * len(self.relation_layers) * 3 * self.relation_width
        return (states + attentions + relations) * BYTES_PER_VALUE + self.num_logits * BYTES_PER_LOGIT


class TeacherStore:
    """Read access to a complete store; `config` is the teacher's, whose weights need not be in memory."""

    def __init__(self, folder: Path, spec: StoreSpec, config: PreTrainedConfig) -> None:
        self.folder = folder
        self.spec = spec
        self.config = config
        self.further_stores: list[TeacherStore] = []  # further teachers' logits of the same rows
        self._open()

    def _open(self) -> None:
        """Maps every file now: what is mapped stays readable, even if the store is pruned while it is in use."""
        is_large = self.spec.is_per_token
        self.logits = np.load(self.folder / LOGITS_NAME, mmap_mode="r" if is_large else None)
        self._starts = np.load(self.folder / LOGIT_STARTS_NAME) if is_large else np.arange(self.spec.num_rows + 1)
        self._indices = {kind: np.load(self.folder / name_index(kind)) for kind in self.spec.kinds}
        shards = sorted(self.folder.glob(f"*{SHARD_SUFFIX}"))
        self._shards = {path.name: np.memmap(path, dtype=np.float16, mode="r") for path in shards}
        manifest = self.folder / MANIFEST_NAME
        self.fill_seconds: float = json.loads(manifest.read_text(encoding="utf-8"))["seconds"]
        os.utime(manifest)  # when it was used last

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: it maps the files itself instead of getting their contents."""
        return {"folder": self.folder, "spec": self.spec, "config": self.config, "further_stores": self.further_stores}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def check_rows(self, rows: Dataset) -> None:
        """Raises ValueError unless it is of these very rows, in this order: others would get a stranger's outputs."""
        if not isinstance(rows, Dataset):
            raise ValueError(f"training from a store needs a datasets.Dataset, got a {type(rows).__name__}")
        has_indices = "example_index" in rows.column_names
        indices = rows.with_format("numpy")["example_index"][:] if has_indices else None
        is_ordered = np.array_equal(indices, np.arange(self.spec.num_rows))
        fingerprints = {store.spec.rows_fingerprint for store in (self, *self.further_stores)}
        if not is_ordered or fingerprints != {fingerprint_rows(rows.with_format(None))}:
            raise ValueError(
                f"the store {self.folder} is of {self.spec.num_rows} other rows than the {len(rows)} of train_dataset "
                "(or its example_index does not count them from 0): fill a store for these, in their order"
            )

    def get_logits(self, rows: Sequence[int], attention_mask: Tensor | None = None) -> Tensor:
        """(rows, classes), float32; with further teachers (rows, teachers, classes).

        Args:
            attention_mask: (rows, tokens), for logits per token, which are (rows, tokens, classes) or (rows, teachers,
                tokens, classes), 0 where it says padding.
        """
        logits = [store._get_own_logits(rows, attention_mask) for store in (self, *self.further_stores)]
        return torch.stack(logits, dim=1) if self.further_stores else logits[0]

    def _get_own_logits(self, rows: Sequence[int], attention_mask: Tensor | None) -> Tensor:
        if not self.spec.is_per_token:
            return torch.from_numpy(self.logits[np.asarray(rows)])
        logits = torch.zeros((*attention_mask.shape, self.spec.num_labels))
        real = [self.logits[self._starts[row] : self._starts[row + 1]] for row in rows]
        logits[attention_mask.bool()] = torch.from_numpy(np.concatenate(real))
        return logits

    def get_all_logits(self) -> np.ndarray:
        """(rows, classes), or (rows, longest row, classes), 0 where a row has ended."""
        if not self.spec.is_per_token:
            return self.logits
        lengths = np.diff(self._starts)
        is_real = np.arange(lengths.max(initial=0)) < lengths[:, None]
        logits = np.zeros((*is_real.shape, self.spec.num_labels), np.float32)
        logits[is_real] = self.logits
        return logits

    def get_hidden_states(self, rows: Sequence[int], attention_mask: Tensor) -> Tensor:
        """(rows, layers, tokens, hidden), float16, zero where the mask (rows, tokens) says padding, on either side."""
        return self._get_token_values(STATES, rows, attention_mask, len(self.spec.hidden_layers), self.spec.hidden_size)

    def get_relations(self, rows: Sequence[int], attention_mask: Tensor) -> Tensor:
        """(rows, layers, 3, tokens, width), float16: queries, keys, values; zero where the mask says padding."""
        layout = (len(self.spec.relation_layers), 3, self.spec.relation_width)
        return self._get_token_values(RELATIONS, rows, attention_mask, *layout).transpose(2, 3)

    def _get_token_values(self, kind: str, rows: Sequence[int], attention_mask: Tensor, *layout: int) -> Tensor:
        """(rows, layers, tokens, ...) for a layout (layers, ...) of the values of a token."""
        values = np.zeros((*attention_mask.shape, math.prod(layout)), np.float16)
        is_real = attention_mask.bool().numpy()
        counts, firsts = is_real.sum(1), is_real.argmax(1)
        for group, row in zip(np.split(np.arange(len(values)), len(rows)), rows, strict=True):
            stored, done = self._map_row(kind, row).reshape(-1, values.shape[-1]), 0
            for place in group:
                real = slice(firsts[place], firsts[place] + counts[place])  # mostly one piece, copied as such
                where = real if is_real[place, real].all() else is_real[place]
                values[place, where] = stored[done : done + counts[place]]
                done += counts[place]
        return torch.from_numpy(values).unflatten(2, layout).transpose(1, 2)

    def get_attentions(self, rows: Sequence[int], attention_mask: Tensor) -> Tensor:
        """(rows, layers, heads, tokens, tokens), float16, zero where the mask (rows, tokens) says padding."""
        layout = (len(self.spec.attention_layers), self.spec.num_heads)
        num_inputs, num_tokens = attention_mask.shape
        attentions = torch.zeros((num_inputs, *layout, num_tokens, num_tokens), dtype=torch.float16)
        values = torch.cat([self._read_row(ATTENTIONS, row) for row in rows])
        sizes = [math.prod(layout) * int(length) ** 2 for length in attention_mask.sum(dim=1)]
        for target, pairs, mask in zip(attentions, values.split(sizes), attention_mask, strict=True):
            real = mask.nonzero().squeeze(1)
            target[:, :, real[:, None], real] = pairs.reshape(*layout, len(real), len(real))
        return attentions

    def _read_row(self, kind: str, row: int) -> Tensor:
        """All values of one example, flat."""
        return torch.from_numpy(np.array(self._map_row(kind, row)))

    def _map_row(self, kind: str, row: int) -> np.ndarray:
        """The same where they lie on disk."""
        shard, start, length = self._indices[kind][row]
        return self._shards[name_shard(kind, int(shard))][start : start + length]


class StoredOutputsCollator:
    """A collator that adds the teacher's outputs to a batch; in a data loader's worker it costs the step nothing."""

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]], store: TeacherStore) -> None:
        self.collate = collate
        self.store = store

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = self.collate(features)
        rows = [int(feature["example_index"]) for feature in features]
        mask = make_mask(batch)
        batch["teacher_logits"] = self.store.get_logits(rows, mask)
        spec, stored = self.store.spec, {}
        if spec.hidden_layers:
            stored["teacher_hidden_states"] = self.store.get_hidden_states(rows, mask)
        if spec.attention_layers:
            stored["teacher_attentions"] = self.store.get_attentions(rows, mask)
        if spec.relation_layers:
            stored["teacher_relations"] = self.store.get_relations(rows, mask)
        if len(mask) > len(rows):  # rows of several inputs: what a batch holds is told apart by rows
            stored = {name: values.unflatten(0, (len(rows), -1)) for name, values in stored.items()}
        return batch | stored


def make_spec(
    config: PreTrainedConfig,
    teacher_fingerprint: str,
    rows: Dataset,
    hidden_layers: Sequence[int] = (),
    attention_layers: Sequence[int] = (),
    relation_layers: Sequence[int] = (),
    is_per_token: bool = False,
    precision: str = FLOAT32,
) -> StoreSpec:
    """The spec of a store of a teacher's outputs for `rows`, without computing any."""
    lengths = measure_lengths(rows)
    return StoreSpec(
        teacher_fingerprint=teacher_fingerprint,
        rows_fingerprint=fingerprint_rows(rows),
        hidden_layers=tuple(hidden_layers),
        num_rows=len(rows),
        num_tokens=sum(lengths),
        num_labels=count_outputs(config),
        hidden_size=config.hidden_size,
        attention_layers=tuple(attention_layers),
        num_token_pairs=sum(len(ids) ** 2 for inputs in iterate_inputs(rows) for ids in inputs)
        if attention_layers
        else 0,
        num_heads=config.num_attention_heads if attention_layers else 0,
        relation_layers=tuple(relation_layers),
        relation_width=get_relation_width(config) if relation_layers else 0,
        precision=precision,
        is_per_token=is_per_token,
    )


def fingerprint_rows(rows: Dataset, further: Sequence[str] = ()) -> str:
    """sha256 of what the teacher reads: token ids and, where there are any, segment ids and `further` columns, in
    order."""
    columns = [name for name in ("input_ids", "token_type_ids", *further) if name in rows.column_names]
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
    """Raises DamagedStoreError unless it is whole and every file has the size and the checksum of the manifest."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        if manifest["spec"] != json.loads(json.dumps(spec.describe())):
            raise DamagedStoreError("its manifest describes another store")
        for name, expected in manifest["files"].items():
            if describe_file(folder / name) != expected:
                raise DamagedStoreError(f"{name} was truncated or altered")
        sizes = {name: file["bytes"] for name, file in manifest["files"].items()}
        values = sum(size for name, size in sizes.items() if name.endswith(SHARD_SUFFIX))
        logits_bytes = spec.num_logits * BYTES_PER_LOGIT
        if (
            values + logits_bytes != spec.count_bytes()
            or not {*map(name_index, spec.kinds), LOGITS_NAME, *[LOGIT_STARTS_NAME] * spec.is_per_token} <= sizes.keys()
        ):
            raise DamagedStoreError("files are missing from it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(f"unreadable: {error}") from error


def describe_file(path: Path) -> dict[str, int | str]:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "xxh3": digest.hexdigest()}


def name_shard(kind: str, shard: int) -> str:
    return f"{kind}-{shard:05d}{SHARD_SUFFIX}"


def name_index(kind: str) -> str:
    """File of (rows, 3): the shard of every row's values, where they begin there, and how many they are."""
    return f"{kind}-index.npy"
