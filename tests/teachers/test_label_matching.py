"""Labels are matched by name, outputs reordered, and what does not match is refused with both lists."""

import pytest
import torch

from conftest import make_bert
from layer_distillation.teachers.label_matching import match_head_to_task, match_labels, set_task_labels


def test_names_decide_the_order_whatever_their_case():
    assert match_labels(
        ["CONTRADICTION", "neutral", " entailment"], ["entailment", "neutral", "contradiction"], "t"
    ) == [
        2,
        1,
        0,
    ]


@pytest.mark.parametrize("teacher_labels", [["LABEL_0", "LABEL_1"], ["0", "1"]])
def test_labels_without_a_name_are_taken_in_order_and_said_so(teacher_labels, caplog):
    assert match_labels(teacher_labels, ["no", "yes"], "t") == [0, 1]
    assert "taken to be in the same order" in caplog.text


@pytest.mark.parametrize("teacher_labels", [["cat", "dog"], ["no", "yes", "maybe"]])
def test_a_true_mismatch_prints_both_lists(teacher_labels):
    with pytest.raises(ValueError, match=r"\['(cat|no)'.*\['no', 'yes'\].*rename the labels"):
        match_labels(teacher_labels, ["no", "yes"], "t")


def test_a_permuted_head_gives_permuted_logits():
    names = {0: "c", 1: "a", 2: "b"}
    model = make_bert(2, id2label=names, label2id={name: index for index, name in names.items()})
    inputs = {"input_ids": torch.tensor([[5, 6, 7]])}
    with torch.no_grad():
        before = model(**inputs).logits
        match_head_to_task(model, ["a", "b", "c"], "t")
        after = model(**inputs).logits
    torch.testing.assert_close(after, before[:, [1, 2, 0]], rtol=1e-5, atol=1e-6)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_a_classifier_is_no_teacher_for_a_regression():
    with pytest.raises(ValueError, match="regression with one output, and the model t has 3"):
        match_head_to_task(make_bert(2), None, "t")


def test_labels_that_differ_in_capitals_alone_are_told_apart():
    assert match_labels(["US", "us"], ["us", "US"], "t") == [1, 0]
    assert match_labels(["POSITIVE", "Negative"], ["negative", "positive"], "t") == [1, 0]


def test_a_head_of_other_labels_leaves_no_kind_of_problem_behind():
    """A pipeline goes by it: it would give the plain outputs of what was a regression, instead of probabilities."""
    config = make_bert(2, num_labels=1, problem_type="regression").config
    set_task_labels(config, ["no", "yes"])
    assert config.problem_type == "single_label_classification"
    set_task_labels(config, None)
    assert config.problem_type == "regression"
