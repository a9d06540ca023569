"""The margin term by hand, on a batch as a trainer has it, and what its rows have to be."""

import pytest
import torch
from datasets import Dataset

from kind_training import make_collator, make_kind_rows, make_kind_trainer, make_model
from layer_distillation.losses.margins import count_group_rows, margin_loss
from test_distill_trainer import assert_same_weights
from tiny_training import OFF

ONLY_MARGIN = OFF | {"margin_weight": 1.0}


def test_two_queries_by_hand():
    """Margins of the student 1, 2 and 3, 5; of the teacher 2, 2 and 0, 4."""
    student, teacher = torch.tensor([3.0, 2, 1, 5, 2, 0]), torch.tensor([[2.0], [0], [0], [4], [4], [0]])
    assert margin_loss(student, teacher, 3).item() == pytest.approx((1 + 0 + 9 + 1) / 4)
    halves = [margin_loss(student[part], teacher[part], 3, num_rows=6) for part in (slice(0, 3), slice(3, 6))]
    assert sum(halves).item() == pytest.approx(11 / 4)
    assert margin_loss(teacher + 7.0, teacher, 3).item() == 0  # a shift of all logits changes no margin


def test_a_batch_of_the_trainer(tmp_path):
    rows = make_kind_rows("reranking", 8)
    trainer = make_kind_trainer(tmp_path, "reranking", rows, **ONLY_MARGIN)
    batch = make_collator("reranking")([{k: v for k, v in row.items() if k != "query_index"} for row in rows])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        ours, theirs = (model.eval()(**inputs).logits.reshape(4, 2) for model in (trainer.model, trainer.teacher))
        expected = ((ours[:, 0] - ours[:, 1]) - (theirs[:, 0] - theirs[:, 1])).square().mean()
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_micro_batches_of_whole_queries_add_up(tmp_path):
    """12 queries of 3 candidates, the last step a short one."""
    rows, weights = make_kind_rows("reranking", 33), []
    for index, row in enumerate(rows):
        row["query_index"] = index // 3
    for batch_size, steps in ((12, 1), (3, 4), (6, 2)):
        options = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps}
        trainer = make_kind_trainer(tmp_path / str(steps), "reranking", rows, **ONLY_MARGIN, **options)
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert_same_weights(weights[0], weights[1])
    assert_same_weights(weights[0], weights[2])
    assert any(not torch.equal(t, make_model("reranking", 2, 2).state_dict()[n]) for n, t in weights[0].items())


def test_an_epoch_keeps_queries_whole_and_changes_their_order(tmp_path):
    rows = make_kind_rows("reranking", 48)
    trainer = make_kind_trainer(tmp_path, "reranking", rows, per_device_train_batch_size=6)
    sampler = trainer._get_train_sampler()
    epochs = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert len(sampler) == len(order) == 48
        assert all(order[place + 1] == order[place] + 1 and order[place] % 2 == 0 for place in range(0, 48, 2))
        assert sorted(order) == list(range(48))
        epochs.append(order)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([0, 0, 1, 1, 1], "as many candidates for every query.*query 1 has 2, others up to 3"),
        ([0, 0, 1], "query 2 has 1"),
        ([0, 1, 0, 1], "sort the training rows by 'query_index'"),
    ],
)
def test_queries_of_different_sizes_are_refused(queries, message):
    with pytest.raises(ValueError, match=message):
        count_group_rows(Dataset.from_dict({"query_index": queries}))


def test_rows_kinds_and_batches_that_have_no_margins_are_refused(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "query_index"} for row in make_kind_rows("reranking", 8)]
    with pytest.raises(ValueError, match="give training rows with a column 'query_index'"):
        make_kind_trainer(tmp_path, "reranking", rows)
    with pytest.raises(ValueError, match=r"--margin_weight 1 compares the candidates .* a task of multi-label"):
        make_kind_trainer(tmp_path, "multi-label", margin_weight=1.0)
    rows = [row | {"labels": 3.0} for row in make_kind_rows("reranking", 8)]
    with pytest.raises(ValueError, match="has the score 3 in 'labels', row 0: scores of relevance are from 0 to 1"):
        make_kind_trainer(tmp_path, "reranking", rows)
    with pytest.raises(ValueError, match=r"2 candidates, and --per_device_train_batch_size 7 .* such as 6"):
        make_kind_trainer(tmp_path, "reranking", per_device_train_batch_size=7).train()
