"""Which rows are asked; scores of made-up answers: the run's own where they are its own, changes, regressions."""

import numpy as np
import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from conftest import make_bert
from layer_distillation.export.scoring import (
    complete_splits,
    find_headline,
    measure_change,
    predict,
    read_run,
    score_artifact,
)
from layer_distillation.export.subjects import Subject
from layer_distillation.records.export_record import Artifact
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.data import TaskData
from simulated_runs import write_run
from tiny_project import write_tokenizer

REGRESSION = {"num_classes": 1, "metric_names": ("pearson", "spearmanr")}


def read(folder, **options):
    path = write_run(folder, **options)
    return read_run(path, read_run_record(path))


def list_logits(run, model: str = "student") -> dict[str, np.ndarray]:
    return {split: run.arrays[f"{split}.{model}_logits"] for split in ("validation", "test")}


@pytest.mark.parametrize("options", [{}, REGRESSION], ids=["classes", "numbers"])
def test_the_students_own_answers_have_its_scores_and_no_change(tmp_path, options):
    run = read(tmp_path, **options)
    made = Artifact("student", "onnx", None, 1)
    score_artifact(made, list_logits(run), run)
    for split, metrics in run.record.metrics.items():
        for name in run.record.task["metric_names"]:
            assert made.metrics[split][name] == pytest.approx(metrics[name], abs=1e-6)
            low, high = made.intervals[split][name]
            assert low < metrics[name] < high
        assert made.agreement[split]["student"] == pytest.approx(1.0)
    assert measure_change(list_logits(run), run) == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_a_change_is_paired_by_row(tmp_path):
    """Ten of the right answers turned wrong: all resamples lose, and far less than the unpaired interval is wide."""
    run = read(tmp_path)
    logits = {split: array.copy() for split, array in list_logits(run).items()}
    labels = run.arrays["test.labels"]
    right = np.flatnonzero(logits["test"].argmax(axis=1) == labels)[:10]
    logits["test"][right] = np.roll(logits["test"][right], 1, axis=1)
    change = measure_change(logits, run)
    assert find_headline(run) == ("test", "accuracy")
    assert change["difference"] == pytest.approx(-10 / len(labels))
    assert change["low"] < change["difference"] < change["high"] < 0


def test_without_labels_of_test_the_validation_rows_decide(tmp_path):
    run = read(tmp_path, has_test_labels=False)
    assert find_headline(run) == ("validation", "accuracy")
    made = Artifact("teacher", "onnx", None, 1)
    score_artifact(made, list_logits(run, "teacher"), run)
    assert set(made.metrics) == {"validation"}
    assert made.agreement["test"]["teacher"] == 1.0 > made.agreement["test"]["student"]


# ---- which rows are asked ----------------------------------------------------------------------------------------


@pytest.fixture
def subject(tmp_path) -> Subject:
    """70 rows of 3 to 42 tokens in no order; the first token tells a row's number."""
    write_tokenizer(tmp_path)
    ids = [[index % 60, *[5] * (2 + 7 * index % 40)] for index in range(70)]
    columns = {"attention_mask": 1, "token_type_ids": 0}
    rows = Dataset.from_dict(
        {"input_ids": ids} | {name: [[value] * len(row) for row in ids] for name, value in columns.items()}
    )
    data = TaskData("made", rows, {"validation": rows}, None, ("text",), None, ("pearson",), None, None)
    return Subject("trimmed student", make_bert(1), AutoTokenizer.from_pretrained(tmp_path), tmp_path, data)


class Asked:
    """Answers each row with its first token and its number of tokens, and notes the shapes of its batches."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []

    def __call__(self, batch) -> np.ndarray:
        self.shapes.append(batch["input_ids"].shape)
        return np.stack([batch["input_ids"][:, 0], batch["attention_mask"].sum(axis=1)], axis=1).astype(np.float32)


def test_rows_grouped_by_length_are_answered_in_their_own_order_with_less_padding(subject):
    rows = subject.data.train
    wanted = [[ids[0], len(ids)] for ids in rows["input_ids"]]
    plain, grouped = Asked(), Asked()
    assert predict(plain, rows, subject).tolist() == wanted
    assert predict(grouped, rows, subject, by_length=True).tolist() == wanted
    assert sorted(shape[0] for shape in grouped.shapes) == sorted(shape[0] for shape in plain.shapes) == [6, 32, 32]
    cells = [sum(rows * tokens for rows, tokens in asked.shapes) for asked in (plain, grouped)]
    assert cells[1] < 0.8 * cells[0]


def test_of_a_trimmed_student_the_uncovered_rows_alone_are_asked(subject):
    subject.uncovered = {"validation": [3, 50], "test": []}
    known = {"validation": np.full((70, 2), -1.0, np.float32)}
    asked = Asked()
    found = complete_splits(asked, subject, known)["validation"]
    rows = subject.data.train["input_ids"]
    assert [shape[0] for shape in asked.shapes] == [2]
    assert found[[3, 50]].tolist() == [[rows[3][0], len(rows[3])], [rows[50][0], len(rows[50])]]
    assert (np.delete(found, [3, 50], axis=0) == -1).all()
    assert (known["validation"] == -1).all()
