"""Rows without any gold label are a task for a teacher that is known; what labels there are stay labels."""

import json

import numpy as np
import pytest

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import load_task

TEXTS = ["good", "bad", "fine"]


def load(folder, train, validation, teacher=("no", "yes"), **flags):
    for name, columns in {"train": train, "validation": validation}.items():
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    files = {f"{name}_file": str(folder / f"{name}.json") for name in ("train", "validation")}
    return load_task(DataArguments(**files, **flags), teacher)


def test_a_file_of_texts_alone_has_the_teachers_labels_and_none_of_its_own(tmp_path):
    data = load(tmp_path, {"text": TEXTS}, {"text": TEXTS[:2]})
    assert data.label_names == ["no", "yes"]
    assert data.train["labels"][:] == [-100] * 3
    assert data.metric_names == ("agreement",)
    assert data.is_taught_alone
    assert data.is_scored_by_teacher
    assert data.list_absent_labels() == []


def test_a_teacher_of_one_output_makes_it_a_regression(tmp_path):
    data = load(tmp_path, {"text": TEXTS}, {"text": TEXTS}, teacher=("LABEL_0",))
    assert data.is_regression
    assert np.isnan(data.train["labels"]).all()
    assert data.metric_names == ("pearson_to_teacher",)


def test_labels_of_the_validation_rows_are_used(tmp_path):
    data = load(tmp_path, {"text": TEXTS}, {"text": TEXTS, "label": ["b", "a", "b"]})
    assert data.label_names == ["a", "b"]
    assert data.first_validation["labels"][:] == [1, 0, 1]
    assert data.metric_names == ("accuracy", "macro_f1")
    assert data.is_taught_alone
    assert not data.is_scored_by_teacher


def test_a_column_of_empty_labels_is_no_gold_label(tmp_path):
    assert load(tmp_path, {"text": TEXTS, "label": ["", None, ""]}, {"text": TEXTS}).is_taught_alone


def test_a_further_column_may_be_the_label_and_is_asked_for(tmp_path):
    with pytest.raises(
        ValueError, match=r"\['text', 'topic'\]: name one with --label_column, or none where no row has"
    ):
        load(tmp_path, {"text": TEXTS, "topic": TEXTS}, {"text": TEXTS})
    data = load(tmp_path, {"text": TEXTS, "topic": TEXTS}, {"text": TEXTS}, label_column="none")
    assert data.is_taught_alone


def test_none_ignores_the_labels_of_the_training_rows(tmp_path):
    rows = {"text": TEXTS, "label": ["b", "a", "b"]}
    data = load(tmp_path, rows, rows, label_column="none")
    assert data.train["labels"][:] == [-100] * 3
    assert data.first_validation["labels"][:] == [1, 0, 1]


def test_without_a_teacher_labels_are_needed_as_ever(tmp_path):
    with pytest.raises(ValueError, match="neither 'label' nor 'labels'"):
        load(tmp_path, {"text": TEXTS}, {"text": TEXTS}, teacher=())


@pytest.mark.parametrize(
    ("validation", "flags", "remedy"),
    [
        ({"text": TEXTS, "label": ["a", "", "b"]}, {}, "1 of 3 rows have no label"),
        ({"text": TEXTS}, {"metrics": "f1"}, "--metrics f1 scores gold labels, and no row has one"),
        ({"text": TEXTS}, {"label_column": "gold"}, "no column 'gold'"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path, validation, flags, remedy):
    with pytest.raises(ValueError, match=remedy):
        load(tmp_path, {"text": TEXTS}, validation, **flags)
