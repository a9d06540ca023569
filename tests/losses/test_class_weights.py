"""Weights of the classes: as they are named, balanced by training rows, or refused."""

import logging

import pytest
import torch
from datasets import Dataset

from conftest import make_bert
from distill_trainer import DistillationTrainingArguments
from layer_distillation.losses.class_weights import check_class_weights, resolve_class_weights, weigh_labels
from layer_distillation.losses.flags import parse_class_weights

CPU = torch.device("cpu")
ROWS = Dataset.from_dict({"labels": [0, 0, 0, 2, -100, 2, 0, 0]})


def test_numbers_are_in_the_order_of_the_labels_and_said(caplog):
    config = make_bert(2, id2label={0: "no", 1: "maybe", 2: "yes"}).config
    with caplog.at_level(logging.INFO):
        assert resolve_class_weights("1,2.5,0.5", config, ROWS, CPU).tolist() == [1.0, 2.5, 0.5]
    assert "class weights of the cross-entropy: no 1, maybe 2.5, yes 0.5" in caplog.text


@pytest.mark.parametrize("rows", [ROWS, list(ROWS)])
def test_balanced_is_scikit_learn_s_over_the_classes_that_have_rows(rows):
    weights = resolve_class_weights("balanced", make_bert(2).config, rows, CPU)
    assert weights.tolist() == pytest.approx([7 / (2 * 5), 1.0, 7 / (2 * 2)])
    assert weigh_labels(torch.tensor([2, -100, 0]), weights).tolist() == pytest.approx([7 / 4, 0.0, 7 / 10])


def test_nothing_is_weighted_unless_asked_for_and_trained():
    assert resolve_class_weights(None, make_bert(2).config, ROWS, CPU) is None
    assert resolve_class_weights("balanced", make_bert(2).config, None, CPU) is None


@pytest.mark.parametrize("text", ["1,0,2", "1,-2", "a,b", "1,nan,2", "1,inf", "", "1,,2"])
def test_what_is_no_weight_is_refused(text):
    with pytest.raises(ValueError, match="give balanced, or a finite number above 0 for each class"):
        DistillationTrainingArguments("x", class_weights=text, use_cpu=True)


def test_a_misspelt_name_is_suggested():
    with pytest.raises(ValueError, match=r"did you mean balanced\?"):
        parse_class_weights("balance")


def test_weights_that_nothing_weighs_are_refused():
    with pytest.raises(ValueError, match="weighs --ce_weight, which is 0"):
        DistillationTrainingArguments("x", class_weights="balanced", ce_weight=0.0, use_cpu=True)
    with pytest.raises(ValueError, match="on a regression: numbers have no classes"):
        check_class_weights("balanced", None)
    with pytest.raises(ValueError, match=r"1,2 has 2 numbers for the 3 labels \['a', 'b', 'c'\]: .* in this order"):
        check_class_weights("1,2", ["a", "b", "c"])
