"""Columns of soft labels are read as a teacher's logits, drawn with their rows, or refused in one line."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.files import RawSplit
from layer_distillation.tasks.loading import load_task
from layer_distillation.tasks.soft_labels import list_readings, take_soft_labels
from layer_distillation.tasks.transfer_set import add_transfer_set
from soft_projects import COLUMNS, write_soft_csv

PROBABILITIES = {"a": [0.7, 0.0], "b": [0.1, 0.4], "c": [0.2, 0.6]}


def take(columns: dict[str, list], names: str = "a,b,c", kind: str | None = None) -> np.ndarray:
    flags = DataArguments(task_name=None, train_file=None)
    flags.soft_label_columns, flags.soft_label_kind = names, kind
    rest, soft = take_soft_labels({"train": RawSplit("train.csv", {"text": ["x", "y"], **columns})}, flags)
    assert list(rest["train"].columns) == ["text"]
    return soft.logits["train"]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_probabilities_become_logits_whose_softmax_they_are(temperature):
    """At T the teacher's distribution is p^(1/T), normalised: what its own logits, of which log p is a shift, give."""
    logits = take(PROBABILITIES)
    expected = np.array([[0.7, 0.1, 0.2], [1e-6, 0.4, 0.6]]) ** (1 / temperature)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(
        softmax(logits / temperature, axis=1), expected / expected.sum(1, keepdims=True), rtol=1e-5
    )


def test_logits_stay_as_they_are_and_text_of_numbers_is_read():
    assert take({"a": ["1.5", "-2"], "b": [" 0 ", "1e1"]}, "a, b", "logits").tolist() == [[1.5, 0.0], [-2.0, 10.0]]


@pytest.mark.parametrize("encode", [list, json.dumps])
def test_a_single_column_holds_lists_or_their_json(encode):
    cells = [encode(row) for row in ([0.25, 0.75], [1.0, 0.0])]
    np.testing.assert_allclose(np.exp(take({"scores": cells}, "scores")), [[0.25, 0.75], [1.0, 1e-6]], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "names", "remedy"),
    [
        (
            {"a": [0.7, -0.1]},
            "a,b,c",
            "data row 2 has the soft label -0.1: a probability is not negative; .*kind logits",
        ),
        (
            {"a": [0.6, 0.0]},
            "a,b,c",
            r"row 1 has soft labels that sum to 0.9: probabilities sum to 1 .*kind logits",
        ),
        ({"a": [0.7, ""]}, "a,b,c", "data row 2 has '' among its soft labels: every row needs a finite number"),
        ({"a": [0.7, "nan"]}, "a,b,c", "data row 2 has 'nan' among its soft labels"),
        ({"a": [0.7, None]}, "a,b,c", "data row 2 has None among"),
        ({}, "a,b,d", "no column 'd', its columns are .*--soft_label_columns"),
        ({"a": [0.7, 0.3]}, "a", "data row 1 has 0.7 as its soft labels: a single column holds lists"),
        (
            {"a": [[0.5, 0.5], [1.0]]},
            "a",
            "data row 2 has 1 soft labels, and data row 1 has 2: give one",
        ),
        ({"a": ["[0.5, 0.5", "x"]}, "a", "a single column holds lists"),
    ],
)
def test_what_is_no_distribution_is_refused_with_its_row(changes, names, remedy):
    with pytest.raises(ValueError, match=remedy):
        take(PROBABILITIES | changes, names)


@pytest.mark.parametrize(
    ("flags", "remedy"),
    [
        ({"soft_label_columns": "a,a"}, "give different names of columns"),
        ({"soft_label_columns": " ,"}, "give different names of columns"),
        ({"soft_label_kind": "logits"}, "--soft_label_kind logits goes with --soft_label_columns"),
        ({"soft_label_columns": "a,b", "task_name": "sst2"}, "goes with --dataset_name or --train_file"),
        ({"soft_label_columns": "a,b", "zero_shot_labels": "a,b", "dataset_name": "x"}, "leave one of them out"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(flags, remedy):
    with pytest.raises(ValueError, match=remedy):
        DataArguments(**flags)


def load(folder, **flags):
    files = {"train_file": folder / "train.csv", "validation_file": folder / "validation.csv"}
    return load_task(
        DataArguments(
            **{name: str(path) for name, path in files.items()}, soft_label_columns=",".join(COLUMNS), **flags
        )
    )


def test_soft_labels_are_drawn_with_their_rows_and_evaluation_files_need_none(tmp_path):
    write_soft_csv(tmp_path / "train.csv", 30)
    write_soft_csv(tmp_path / "validation.csv", 9, columns=[])
    data = load(tmp_path, max_train_samples=7)
    assert set(data.soft_labels.logits) == {"train"}
    assert data.text_columns == ("text",)
    said = data.soft_labels.logits["train"].argmax(axis=1)  # in the order of the columns, red, green, blue
    assert [["red", "green", "blue"][choice] for choice in said] == [text.split()[1] for text in data.train["text"]]


def test_some_of_the_columns_in_an_evaluation_file_are_refused(tmp_path):
    write_soft_csv(tmp_path / "train.csv", 12)
    write_soft_csv(tmp_path / "validation.csv", 9, columns=COLUMNS[:2])
    with pytest.raises(ValueError, match=r"validation\.csv has no column 'p_blue'"):
        load(tmp_path)


def test_unlabelled_rows_need_soft_labels_too(tmp_path):
    for name in ("train", "validation", "more"):
        write_soft_csv(tmp_path / f"{name}.csv", 12)
    write_soft_csv(tmp_path / "bare.csv", 12, columns=[])
    data = load(tmp_path)
    flags = {"train_file": str(tmp_path / "train.csv"), "validation_file": str(tmp_path / "validation.csv")}
    flags["soft_label_columns"] = ",".join(COLUMNS)
    more = add_transfer_set(
        data, DataArguments(**flags, unlabeled_file=str(tmp_path / "more.csv"), max_unlabeled_samples=5)
    )
    assert more.soft_labels.logits["unlabelled"].shape == (5, 3)
    with pytest.raises(ValueError, match=r"bare\.csv has no column 'p_red'"):
        add_transfer_set(data, DataArguments(**flags, unlabeled_file=str(tmp_path / "bare.csv")))


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["p_neg", "p_neu", "p_pos"], ["neg", "neu", "pos"]),
        (["neg.prob", "pos.prob"], ["neg", "pos"]),
        (["neg", "pos"], ["neg", "pos"]),
        (["my p_neg", "my p_pos"], ["neg", "pos"]),
    ],
)
def test_a_common_beginning_or_end_is_no_part_of_a_class(columns, names):
    assert list_readings(columns)[0] == names
