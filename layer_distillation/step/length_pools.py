"""Samplers whose batches hold rows of similar length: for training hardly less random than a plain shuffle, for
evaluation sorted (`trainer/evaluation.py` puts the outputs back into the order of the rows)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import TrainingArguments

from layer_distillation.records.token_counts import measure_lengths

FEWEST_POOLS = 8  # of an epoch: a small data set would be sorted whole, and every batch hold one kind of sentence


class PooledLengthSampler(Sampler[int]):
    """Shuffles the rows, sorts each pool of a few batches by length, and shuffles the order of the batches.

    The stock LengthGroupedSampler sorts 50 batches at a time: of a small data set that is a complete sort, and every
    batch then holds one kind of sentence. A pool of `pool_batches` keeps each batch a random draw from its pool.

    Args:
        lengths: tokens of every row.
        batch_rows: rows of one optimizer step, of all processes and micro-batches together, so that an epoch has the
            same steps however they are split; a shorter step stays last.
        pool_batches: batches that are sorted together, but never over an eighth of all; 1 is a plain shuffle.
        seed: with the epoch it decides the order, so that a resumed run and every process draw the same.
    """

    def __init__(self, lengths: Sequence[int], batch_rows: int, pool_batches: int, seed: int) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.batch_rows = batch_rows
        self.pool_batches = max(1, min(pool_batches, len(lengths) // batch_rows // FEWEST_POOLS))
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        rows = torch.randperm(len(self.lengths), generator=generator)
        batches = [
            batch
            for pool in rows.split(self.batch_rows * self.pool_batches)
            for batch in pool[self.lengths[pool].argsort(stable=True)].split(self.batch_rows)
        ]
        short = [batch for batch in batches if len(batch) < self.batch_rows]
        full = [batch for batch in batches if len(batch) == self.batch_rows]
        order = torch.randperm(len(full), generator=generator).tolist()
        for batch in [*(full[index] for index in order), *short]:
            yield from batch.tolist()


class GroupedSampler(Sampler[int]):
    """Rows in groups of equally many that stay together, one after the other, each as long as its longest row.

    Args:
        lengths: tokens of every row.
        group_rows: rows of a group, a divisor of `batch_rows`.
        The rest is `PooledLengthSampler`'s.
    """

    def __init__(self, lengths: Sequence[int], group_rows: int, batch_rows: int, pool_batches: int, seed: int) -> None:
        longest = torch.as_tensor(lengths).reshape(-1, group_rows).amax(dim=1)
        self.groups = PooledLengthSampler(longest.tolist(), batch_rows // group_rows, pool_batches, seed)
        self.group_rows = group_rows

    def set_epoch(self, epoch: int) -> None:
        self.groups.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.groups) * self.group_rows

    def __iter__(self) -> Iterator[int]:
        for group in self.groups:
            yield from range(group * self.group_rows, (group + 1) * self.group_rows)


def make_pooled_sampler(
    rows: Any, args: TrainingArguments, step_rows: int, pool_batches: int, group_rows: int = 1
) -> PooledLengthSampler | GroupedSampler | None:
    """For tokenized rows that are to be shuffled; None where the stock sampler does.

    Args:
        group_rows: so many rows stay together, from the first one on.
    """
    seed = args.seed if args.data_seed is None else args.data_seed
    if group_rows > 1 and args.train_sampling_strategy == "random":
        return GroupedSampler(measure_lengths(rows), group_rows, step_rows, pool_batches, seed)
    is_pooled = pool_batches > 1 and args.train_sampling_strategy == "random"
    if not (is_pooled and isinstance(rows, Dataset) and "input_ids" in rows.column_names):
        return None
    return PooledLengthSampler(measure_lengths(rows), step_rows, pool_batches, seed)


class LengthSortedSampler(Sampler[int]):
    """All rows, the longest first: little padding, and what does not fit the memory shows at once. `order` tells which.

    Args:
        lengths: tokens of every row.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.order = np.argsort(-np.asarray(lengths), kind="stable")

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.tolist())
