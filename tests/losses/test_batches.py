"""What a batch holds and how its items are counted."""

import torch

from conftest import make_rows, pad_rows
from layer_distillation.losses.batches import count_items, keep_rows, split_inputs

CPU = torch.device("cpu")


def test_counts_are_of_labels_rows_and_real_tokens():
    rows = make_rows(5)
    rows[2]["labels"] = -100
    counts = count_items([pad_rows(rows[:3], 20), pad_rows(rows[3:], 30)], CPU)
    tokens = sum(len(row["input_ids"]) for row in rows)
    assert {name: count.item() for name, count in counts.items()} == {
        **{"labelled_rows": 4, "items": 5, "rows": 5, "head_states": 5},
        "tokens": tokens,
    }


def test_labelled_rows_count_by_the_weights_of_their_classes():
    batch = pad_rows(make_rows(4)) | {"labels": torch.tensor([0, 2, -100, 2])}
    weights = torch.tensor([0.25, 7.0, 3.0])
    assert count_items([batch, batch], CPU, weights)["labelled_rows"].item() == 2 * 6.25


def test_a_missing_target_of_a_regression_is_no_label():
    batch = pad_rows(make_rows(3)) | {"labels": torch.tensor([0.5, float("nan"), -100.0])}
    assert count_items([batch], CPU)["labelled_rows"].item() == 2


def test_duplicates_keep_one_row_that_counts_nothing():
    batch = pad_rows(make_rows(4))
    assert len(keep_rows(batch, 3)["labels"]) == 3
    nothing = keep_rows(batch, 0)
    assert len(nothing["labels"]) == 1
    assert count_items([nothing], CPU)["rows"].item() == 0
    assert count_items([nothing, batch], CPU)["rows"].item() == 4


def test_what_is_not_the_model_s_is_kept_from_it():
    batch = pad_rows(make_rows(2)) | {
        "teacher_logits": torch.ones(2, 3),
        "teacher_hidden_states": torch.ones(2, 2, 5, 4),
    }
    model_inputs, labels, stored = split_inputs(batch)
    assert model_inputs.keys() == {"input_ids", "attention_mask"}
    assert labels.shape == (2,)
    assert [tuple(states.shape) for states in stored.hidden_states] == [(2, 5, 4), (2, 5, 4)]
