"""Labels are matched by name, outputs reordered, and what does not match is refused with both lists."""

import math

import pytest
import torch
from datasets import Dataset

from conftest import make_bert
from layer_distillation.tasks.data import TaskData
from layer_distillation.teachers.label_matching import (
    LabelMatch,
    adopt_labels,
    match_head_to_task,
    match_labels,
    relabel_task,
    set_task_labels,
)


def test_names_decide_the_order_whatever_their_case():
    teacher, task = ["CONTRADICTION", "neutral", " entailment"], ["entailment", "neutral", "contradiction"]
    assert match_labels(teacher, task, "t") == LabelMatch(task, [0, 1, 2], teacher[::-1], is_by_name=True)


@pytest.mark.parametrize("teacher", [["LABEL_0", "LABEL_1"], ["0", "1"]])
def test_labels_without_a_name_are_taken_in_order_and_said_so(teacher, caplog):
    assert match_labels(teacher, ["no", "yes"], "t") == LabelMatch(["no", "yes"], [0, 1], teacher, is_by_name=False)
    assert "taken to be in the same order" in caplog.text


NAMED = ["NEGATIVE", "NEUTRAL", "POSITIVE"]


@pytest.mark.parametrize(
    ("teacher", "task", "indices"),
    [
        (NAMED, ["0", "1", "2"], [0, 1, 2]),
        (NAMED, ["-1", "0", "1"], [0, 1, 2]),
        (NAMED, ["2", "0", "1"], [2, 0, 1]),  # names of a ClassLabel in this order
        (NAMED, ["LABEL_0", "LABEL_1", "LABEL_2"], [0, 1, 2]),
        (NAMED, ["0", "2"], [0, 2]),
        (NAMED, ["1", "3"], [0, 2]),
        (["LABEL_0", "LABEL_1", "LABEL_2"], ["0", "1", "2"], [0, 1, 2]),
        (["LABEL_2", "LABEL_1", "LABEL_0"], ["0", "1", "2"], [2, 1, 0]),
        (["LABEL_0", "LABEL_1", "LABEL_2"], ["1", "2"], [1, 2]),
        (["LABEL_0", "LABEL_1", "LABEL_2"], ["1", "2", "3"], [0, 1, 2]),
    ],
)
def test_bare_numbers_take_the_teacher_s_names_in_its_order(teacher, task, indices):
    assert match_labels(teacher, task, "t") == LabelMatch(teacher, indices, teacher, is_by_name=False)


def test_data_that_lack_a_class_take_the_teacher_s_list():
    assert match_labels(NAMED, ["positive", "negative"], "t") == LabelMatch(NAMED, [2, 0], NAMED, is_by_name=True)


@pytest.mark.parametrize("teacher", [["cat", "dog"], ["no", "maybe", "never"], ["LABEL_0", "LABEL_1", "LABEL_2"]])
def test_a_true_mismatch_prints_both_lists(teacher):
    with pytest.raises(ValueError, match=r"\['(cat|no|LABEL_0)'.*\['no', 'yes'\].*rename the labels"):
        match_labels(teacher, ["no", "yes"], "t")


@pytest.mark.parametrize("numbers", [["1", "2"], ["0", "3"], ["5", "6"]])
def test_fewer_numbers_that_may_mean_several_classes_are_refused(numbers):
    with pytest.raises(ValueError, match="rename the labels"):
        match_labels(NAMED, numbers, "t")


@pytest.mark.parametrize("task", [["0", "1"], ["no", "yes"]])
def test_a_single_output_is_no_teacher_of_classes(task):
    with pytest.raises(
        ValueError, match=r"a single output, as a cross-encoder .* give a classifier with an output for"
    ):
        match_labels(["LABEL_0"], task, "t")


def make_data(label_names: list[str] | None, labels: list) -> TaskData:
    rows = Dataset.from_dict({"labels": labels})
    return TaskData("tiny", rows, {"validation": rows}, rows, ("text",), label_names, ("accuracy",), None, None)


def test_the_first_teacher_s_names_and_order_reach_labels_and_splits(caplog):
    model = make_bert(2, id2label=dict(enumerate(NAMED)))
    weight = model.classifier.weight.clone()
    data = make_data(["0", "2"], [0, 1, -100, 1])
    relabelled = relabel_task(data, adopt_labels(model, data, "t"))
    assert relabelled.label_names == NAMED
    assert [rows["labels"][:] for _, rows in relabelled.list_splits()] == [[0, 2, -100, 2]] * 3
    assert model.config.id2label == dict(enumerate(NAMED))
    assert torch.equal(model.classifier.weight, weight)
    assert relabelled.list_absent_labels() == ["NEUTRAL"]
    assert "no training row has the label ['NEUTRAL']" in caplog.text


def test_a_further_teacher_is_brought_into_the_order_of_the_first():
    first, second = make_bert(2, id2label=dict(enumerate(NAMED))), make_bert(2, id2label=dict(enumerate(NAMED[::-1])))
    weight = second.classifier.weight.clone()
    data = make_data(["0", "1", "2"], [0, 1, 2])
    data = relabel_task(data, adopt_labels(first, data, "first"))
    adopt_labels(second, data, "second")
    assert second.config.id2label == dict(enumerate(NAMED))
    assert torch.equal(second.classifier.weight, weight.flip(0))


@pytest.mark.parametrize(
    ("options", "labels", "is_refused"),
    [
        ({}, [0.0, 1.0, math.nan], True),
        ({"problem_type": "regression"}, [0.0, 1.0], False),
        ({}, [0.0, 1.0, 0.5], False),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, [0.0, 0.5], True),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, [0.0, 0.5], False),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, [0.2, 0.5], True),
    ],
)
def test_a_cross_encoder_s_single_logit_is_no_number_to_regress_on(options, labels, is_refused):
    model = make_bert(2, num_labels=1, **options)
    if is_refused:
        with pytest.raises(ValueError, match=r"looks like a cross-encoder's.* leave --label_kind numbers out"):
            adopt_labels(model, make_data(None, labels), "t")
    else:
        assert adopt_labels(model, make_data(None, labels), "t") is None


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
    assert match_labels(["US", "us"], ["us", "US"], "t").outputs == ["us", "US"]
    assert match_labels(["POSITIVE", "Negative"], ["negative", "positive"], "t").outputs == ["Negative", "POSITIVE"]


def test_a_head_of_other_labels_leaves_no_kind_of_problem_behind():
    """A pipeline goes by it: it would give the plain outputs of what was a regression, instead of probabilities."""
    config = make_bert(2, num_labels=1, problem_type="regression").config
    set_task_labels(config, ["no", "yes"])
    assert config.problem_type == "single_label_classification"
    set_task_labels(config, None)
    assert config.problem_type == "regression"


def test_a_teacher_of_several_labels_per_row_is_refused():
    model = make_bert(2, num_labels=2, problem_type="multi_label_classification")
    with pytest.raises(ValueError, match=r"the model t gives any number of labels to a row.*trained on single labels"):
        adopt_labels(model, make_data(["no", "yes"], [0, 1]), "t")
