"""Of every kind: training rows without any gold label are learned from the teacher alone; so is a task without any."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import run_distillation
from compare_strategies import main as compare
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.loading import load_task
from test_run_distillation import replace_flag
from tiny_kinds import TAGS, TINY_KINDS, make_kind_project, write_json_lines

KINDS = ["token-classification", "multi-label", "multiple-choice", "question-answering"]
SCORED_BY_TEACHER = KINDS[:-1]  # answers have to be scored against answers


def strip_files(folder: Path, kind: str, splits: tuple[str, ...]) -> None:
    """The files of a project, some without their label column."""
    column = TINY_KINDS[kind].label_column
    for split in splits:
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        write_json_lines(
            folder / f"{split}.jsonl", [{name: row[name] for name in row if name != column} for row in rows]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_gold_labels_of_the_validation_rows_tell_kind_and_names_and_score(tmp_path, kind):
    flags = make_kind_project(tmp_path, kind)
    strip_files(tmp_path, kind, ("train",))
    run_distillation.main(flags)
    record = read_run_record(tmp_path / "run")
    assert record.task["kind"] == kind
    assert record.task["without_gold"] == ["train"]
    assert record.arguments["ce_weight"] == 0
    assert record.arguments["metric_for_best_model"] == "loss"
    assert {"loss", *record.task["metric_names"]} <= record.metrics["test"].keys()
    if kind in ("token-classification", "multi-label"):
        assert record.task["label_names"] == list(TINY_KINDS[kind].config["id2label"].values())


@pytest.mark.parametrize("kind", KINDS)
def test_none_takes_the_labels_of_the_training_rows_away(tmp_path, kind):
    flags = make_kind_project(tmp_path, kind, label_column="none")
    arguments = {flag.partition("=")[0][2:]: flag.partition("=")[2] for flag in flags}
    files = {name: arguments[name] for name in ("train_file", "validation_file", "test_file")}
    names = list(TINY_KINDS[kind].config.get("id2label", {0: "a", 1: "b"}).values())
    data = load_task(DataArguments(**files, label_column="none"), names)
    assert data.kind.name == kind
    assert [split for split, rows in data.list_splits() if not data.has_labels(rows)] == ["train"]
    with pytest.raises(ValueError, match="no column 'none'"):
        load_task(DataArguments(**files, label_column="none"))


def decide_all_labels_but_one(folder: Path) -> None:
    """That one is given to about half of the rows; else hardly any row gets the same labels twice."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        model.classifier.bias.fill_(-5.0)
        model.classifier.weight[-1] *= 30
        rows = torch.randint(5, model.config.vocab_size, (200, 8), generator=torch.Generator().manual_seed(0))
        model.classifier.bias[-1] -= model(rows).logits[:, -1].mean()
    model.save_pretrained(folder)


@pytest.mark.parametrize("kind", SCORED_BY_TEACHER)
def test_without_any_gold_label_agreement_is_what_is_compared(tmp_path, kind):
    flags = make_kind_project(tmp_path, kind, task_type=kind)
    strip_files(tmp_path, kind, ("train", "validation", "test"))
    if kind == "multi-label":
        decide_all_labels_but_one(tmp_path / "teacher")
    for strategy in ("even", "top"):
        run_distillation.main(replace_flag(flags, output_dir=tmp_path / "runs" / strategy, layer_strategy=strategy))
    record = read_run_record(tmp_path / "runs" / "even")
    assert record.task["metric_names"] == ["agreement"]
    assert record.arguments["metric_for_best_model"] == "kl_to_teacher"
    arrays = np.load(tmp_path / "runs" / "even" / "predictions.npz")
    both = [arrays[f"test.{model}_logits"] for model in ("student", "teacher")]
    if kind == "multi-label":
        same = ((both[0] >= 0) == (both[1] >= 0)).all(axis=1)
    else:
        same = both[0].argmax(axis=1) == both[1].argmax(axis=1)
    assert 0 < same.mean() < 1
    assert record.metrics["test"]["agreement"] == pytest.approx(same.mean(), abs=1e-12)
    assert compare([str(tmp_path / "runs"), "--output_dir", str(tmp_path / "compared"), "--no_pictures"]) == 0
    report = (tmp_path / "compared" / "comparison.md").read_text()
    assert "No gold label was seen" in report
    assert f"{same.mean():.4f}" in report


def test_answers_need_gold_in_the_validation_rows(tmp_path, capsys):
    flags = make_kind_project(tmp_path, "question-answering", task_type="question-answering")
    strip_files(tmp_path, "question-answering", ("train", "validation"))
    with pytest.raises(SystemExit):
        run_distillation.main(flags)
    assert "validation.jsonl has no answers in 'answers' to score by: fill them in" in capsys.readouterr().err


def load(folder: Path, train: list[dict], validation: list[dict], teacher: tuple[str, ...] = ("x", "y"), **flags):
    files = {"train_file": train, "validation_file": validation}
    paths = {name: str(write_json_lines(folder / f"{name}.jsonl", rows)) for name, rows in files.items()}
    return load_task(DataArguments(**paths, **flags), teacher)


WORDS = {"tokens": ["a", "b"]}
TAGGED = WORDS | {"tags": ["O", "B-a"]}
MARKED = {"text": "a", "p": 1, "q": 0}
CHOICES = {"id": "x7", "question": "a", "choices": ["b", "c"]}


def test_tags_that_validation_rows_have_are_the_names(tmp_path):
    data = load(tmp_path, [WORDS, WORDS], [TAGGED], tuple(TAGS))
    assert data.label_names == ["B-a", "O"]
    assert data.train["labels"][:] == [[-100, -100]] * 2
    assert data.metric_names[0] == "entity_f1"


def test_tags_of_null_are_none_and_the_teachers_names_are_left(tmp_path):
    data = load(tmp_path, [WORDS | {"tags": None}], [WORDS], tuple(TAGS))
    assert data.label_names == TAGS
    assert data.is_scored_by_teacher


@pytest.mark.parametrize(
    ("train", "validation", "label"),
    [
        (WORDS | {"tags": None}, [WORDS | {"ner_tags": ["O", "B-a"]}], [1, 0]),
        ({"text": "a", "labels": None}, [{"text": "b", "label": ["x", "y"]}], [1.0, 1.0]),
        ({"text": "a", "label": ""}, [{"text": "b", "labels": "x"}, {"text": "c", "labels": "y"}], 0),
        (CHOICES | {"label": None}, [CHOICES | {"answerKey": "B"}], 1),
        (CHOICES, [CHOICES | {"answer": 1}], 1),
    ],
)
def test_an_empty_column_makes_way_for_that_of_the_validation_rows(tmp_path, train, validation, label):
    data = load(tmp_path, [train], validation)
    assert data.is_taught_alone
    assert data.first_validation["labels"][0] == label


def test_a_column_for_each_label_may_lack_in_the_training_rows(tmp_path):
    data = load(tmp_path, [{"text": "a"}], [MARKED], label_columns="p,q")
    assert np.isnan(data.train["labels"]).all()
    assert data.first_validation["labels"][:] == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("train", "validation", "flags", "remedy"),
    [
        ([WORDS | {"entities": ["O", "O"]}], [WORDS], {}, "none of the columns ner_tags, tags"),
        ([TAGGED], [WORDS], {}, "has no column 'tags'"),
        ([WORDS], [TAGGED, WORDS | {"tags": None}], {}, "1 of 2 rows have no tags"),
        ([WORDS], [WORDS | {"tags": ["O", "O"]}], {}, r"has 1 tags in 'tags' \('O'\)"),
        ([{"text": "a", "labels": ["x"]}, {"text": "a", "labels": ["y"]}], [{"text": "b"}], {}, "no column 'labels'"),
        ([{"text": "a", "topics": ["x"]}], [{"text": "b", "topics": ["x"]}], {"task_type": "multi-label"}, "neither"),
        ([{"text": "a", "p": 1}], [MARKED], {"label_columns": "p,q"}, "no column 'q'"),
        ([MARKED, MARKED], [{"text": "b"}], {"label_columns": "p,q"}, "no column 'p'"),
        ([CHOICES], [CHOICES | {"label": 1}], {"label_column": "right"}, "no column 'right'"),
        ([CHOICES | {"right": 1}], [CHOICES | {"right": 0}], {}, "no column 'label'.*none where no row has one"),
        ([CHOICES | {"right": "B"}], [CHOICES], {}, "no column 'label'"),
    ],
)
def test_what_may_be_labels_is_not_taken_for_none(tmp_path, train, validation, flags, remedy):
    with pytest.raises(ValueError, match=remedy):
        load(tmp_path, train, validation, **flags)
