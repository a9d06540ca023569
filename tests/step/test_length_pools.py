"""Batches of similar length, every row once, the same for a seed and epoch."""

import pytest
import torch
from datasets import Dataset
from torch.utils.data import RandomSampler

from conftest import make_rows
from layer_distillation.step.length_pools import LengthSortedSampler, PooledLengthSampler
from tiny_training import make_trainer

LENGTHS = torch.randint(3, 60, (203,), generator=torch.Generator().manual_seed(0)).tolist()

MANY_LENGTHS = 3 * LENGTHS


def count_padding(order: list[int], lengths: list[int], batch_rows: int = 8) -> int:
    batches = [order[start : start + batch_rows] for start in range(0, len(order), batch_rows)]
    return sum(
        max(lengths[row] for row in batch) * len(batch) - sum(lengths[row] for row in batch) for batch in batches
    )


def test_every_row_once_and_the_short_batch_last():
    order = list(PooledLengthSampler(LENGTHS, 8, 4, seed=0))
    assert sorted(order) == list(range(203))
    tail = order[-3:]
    assert LENGTHS[tail[0]] <= LENGTHS[tail[1]] <= LENGTHS[tail[2]]  # it came sorted out of one pool


def test_pools_save_most_of_the_padding():
    plain, pooled = (
        count_padding(list(PooledLengthSampler(MANY_LENGTHS, 8, pool, seed=0)), MANY_LENGTHS) for pool in (1, 8)
    )
    assert pooled < 0.35 * plain


@pytest.mark.parametrize(("num_rows", "pool_rows"), [(7, 7), (127, 8), (128, 16), (511, 56), (512, 64), (9999, 64)])
def test_a_pool_is_never_more_than_an_eighth_of_the_rows(num_rows, pool_rows):
    """Steps of 8 rows, pools of 8 steps where there are 64 of them."""
    sampler = PooledLengthSampler([3] * num_rows, min(8, num_rows), 8, seed=0)
    assert sampler.pool_batches * sampler.batch_rows == pool_rows


def test_an_epoch_has_its_own_order_and_the_same_one_again():
    first, second = PooledLengthSampler(LENGTHS, 8, 4, seed=1), PooledLengthSampler(LENGTHS, 8, 4, seed=1)
    assert list(first) == list(second)
    second.set_epoch(1)
    assert list(first) != list(second)
    first.set_epoch(1)
    assert list(first) == list(second)


def test_the_trainer_draws_another_order_in_every_epoch(tmp_path):
    trainer = make_trainer(tmp_path, length_pool_batches=2)
    trainer.train_dataset = Dataset.from_list(make_rows(130))
    loader = trainer.get_train_dataloader()
    orders = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        orders.append([row for batch in loader for row in batch["example_index"].tolist()])
    assert trainer.sampler.pool_batches == 2
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(130))
    assert orders[0] != orders[1]


def test_a_step_holds_the_same_rows_however_it_is_split(tmp_path):
    """The unit of sorting is the optimizer step: 130 rows in steps of 8, two in a pool, whole or in four parts."""
    orders = []
    for rows, steps in ((8, 1), (2, 4)):
        options = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": steps}
        trainer = make_trainer(tmp_path, num_rows=130, **options)
        orders.append([row for batch in trainer.get_train_dataloader() for row in batch["example_index"].tolist()])
    assert trainer.sampler.pool_batches == 2
    assert orders[0] == orders[1]


def test_rows_that_are_no_dataset_get_the_stock_sampler(tmp_path):
    trainer = make_trainer(tmp_path)
    assert isinstance(trainer._get_train_sampler(make_rows(22)), RandomSampler)


def test_evaluated_rows_are_sorted():
    sampler = LengthSortedSampler([3, 9, 1, 9, 5])
    assert list(sampler) == sampler.order.tolist() == [1, 3, 4, 0, 2]
