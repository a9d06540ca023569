"""Runs are found by their records, and what is not whole is named, never read."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from layer_distillation.comparison.finding import find_run_folders
from layer_distillation.comparison.runs import TEACHER_TERMS, read_run, read_runs
from simulated_runs import WITHOUT_TEACHER, write_run


def edit_record(folder: Path, **entries: object) -> None:
    path = folder / "run_record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def edit_part(folder: Path, part: str, **entries: object) -> None:
    edit_record(folder, **{part: json.loads((folder / "run_record.json").read_text())[part] | entries})


def edit_task(folder: Path, **entries: object) -> None:
    edit_part(folder, "task", **entries)


def edit_metrics(folder: Path, **entries: object) -> None:
    validation = json.loads((folder / "run_record.json").read_text())["metrics"]["validation"]
    edit_part(folder, "metrics", validation=validation | entries)


def edit_arrays(folder: Path, **changes: np.ndarray | None) -> None:
    """None removes an array; `__` stands for the dot in its name."""
    with np.load(folder / "predictions.npz") as stored:
        arrays = dict(stored)
    for name, array in changes.items():
        arrays[name.replace("__", ".")] = array
    np.savez(folder / "predictions.npz", **{name: array for name, array in arrays.items() if array is not None})


def test_runs_are_found_at_any_depth_and_each_once(tmp_path):
    first, second = write_run(tmp_path / "a" / "b" / "one"), write_run(tmp_path / "two")
    (tmp_path / "empty").mkdir()
    assert find_run_folders([tmp_path, first, tmp_path / "empty" / ".." / "a"]) == [first, second]


def test_a_place_without_runs_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no run is in .*run_record\.json"):
        find_run_folders([tmp_path])
    with pytest.raises(ValueError, match="is no folder: give folders of runs"):
        find_run_folders([tmp_path / "nowhere"])


def test_the_folders_name_says_nothing(tmp_path):
    run = read_run(write_run(tmp_path / "bottom-seed7", "top", seed=1))
    assert (run.arm_name, run.record.seed) == ("top", 1)


def test_a_run_knows_what_it_is(tmp_path):
    imitating, alone = (
        read_run(write_run(tmp_path / "a")),
        read_run(write_run(tmp_path / "b", arguments=WITHOUT_TEACHER)),
    )
    assert (imitating.arm_name, imitating.is_control) == ("top", False)
    assert (alone.arm_name, alone.is_control) == ("top, without teacher", True)
    assert read_run(write_run(tmp_path / "c", "random")).is_control
    assert read_run(write_run(tmp_path / "d", "scratch")).is_control


@pytest.mark.parametrize("term", TEACHER_TERMS)
def test_any_term_of_the_teacher_makes_it_a_run_with_a_teacher(tmp_path, term):
    assert read_run(write_run(tmp_path, arguments=WITHOUT_TEACHER | {term: 0.1})).arm_name == "top"


def test_decisions_and_labels_are_those_of_labelled_rows(tmp_path):
    run = read_run(write_run(tmp_path, rows={"train": 5, "validation": 6, "test": 4}, has_test_labels=False))
    assert list(run.labelled_rows) == ["validation"]
    labels = np.array([-100, -100, 0, 1, 2, 1])
    run = dataclasses.replace(run, arrays=run.arrays | {"validation.labels": labels})
    assert run.get_truth("validation").labels.tolist() == [0, 1, 2, 1]
    expected = run.arrays["validation.student_logits"][2:].argmax(axis=1)
    assert run.get_answers("accuracy", "validation").tolist() == expected.tolist()
    expected = run.arrays["validation.teacher_logits"][2:].argmax(axis=1)
    assert run.get_answers("accuracy", "validation", "teacher").tolist() == expected.tolist()


def test_scores_of_a_regression_stay_numbers(tmp_path):
    run = read_run(write_run(tmp_path, num_classes=1, metric_names=("pearson",), accuracy=0.7))
    assert run.get_answers("pearson", "test").dtype == np.float64
    assert run.list_metrics() == ["pearson", "spearmanr"]
    assert run.score("pearson", "test") == pytest.approx(run.record.metrics["test"]["pearson"])


def test_metrics_beyond_the_tasks_own_follow_from_its_labels(tmp_path):
    assert read_run(write_run(tmp_path / "a")).list_metrics() == ["accuracy", "macro_f1", "matthews_correlation"]
    assert "f1" in read_run(write_run(tmp_path / "b", num_classes=2)).list_metrics()


def test_the_first_validation_split_chose_the_epoch(tmp_path):
    rows = {"train": 9, "validation": 30, "validation_mismatched": 20, "test": 40}
    assert read_run(write_run(tmp_path, rows=rows)).selecting_split == "validation"


REFUSALS = {
    "unfinished (status running)": lambda folder: edit_record(folder, status="running"),
    "is not a run record of this version": lambda folder: (folder / "run_record.json").write_text("{"),
    "lacks teacher.name": lambda folder: edit_record(folder, teacher={}),
    "lacks task.name": lambda folder: edit_record(folder, task=None),
    "its metrics ['bleu'] are not": lambda folder: edit_task(folder, metric_names=["bleu"]),
    "lacks the validation loss or accuracy": lambda folder: edit_record(folder, metrics={}),
    "predictions.npz is missing": lambda folder: (folder / "predictions.npz").unlink(),
    "predictions.npz is damaged": lambda folder: (folder / "predictions.npz").write_bytes(b"\x80 no archive"),
    "does not hold the 120 test rows": lambda folder: edit_arrays(folder, test__student_logits=np.ones((3, 3))),
    "not hold the 60 validation rows": lambda folder: edit_arrays(folder, validation__student_logits=None),
    "nan or infinity in test": lambda folder: edit_arrays(folder, test__student_logits=np.full((120, 3), np.nan)),
    "another test accuracy": lambda folder: edit_arrays(folder, test__student_logits=np.ones((120, 3))),
    "has [] as metrics": lambda folder: edit_record(folder, metrics=[]),
    "has '42' as seed": lambda folder: edit_record(folder, seed="42"),
    "has None as history": lambda folder: edit_record(folder, history=None),
    "has None as task.rows": lambda folder: edit_task(folder, rows=None),
    "has None as student.layers": lambda folder: edit_record(folder, student={"layers": None, "parameters": 9}),
    "has 'a' as arguments.kl_weight": lambda folder: edit_part(folder, "arguments", kl_weight="a"),
    "has None as arguments.schedules": lambda folder: edit_part(folder, "arguments", schedules=None),
    "has None as arguments.gradient_acc": lambda folder: edit_part(
        folder, "arguments", gradient_accumulation_steps=None
    ),
    "has [] as hardware": lambda folder: edit_record(folder, hardware=[]),
    "history holds something else": lambda folder: edit_record(folder, history=[3]),
    "validation loss is nan": lambda folder: edit_metrics(folder, loss=math.nan),
    "something else than a number": lambda folder: edit_metrics(folder, accuracy="high"),
    "no row of validation is labelled": lambda folder: edit_arrays(folder, validation__labels=None),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_run_that_is_not_whole_is_left_out_with_the_reason(tmp_path, reason):
    whole, broken = write_run(tmp_path / "whole"), write_run(tmp_path / "broken", seed=2)
    REFUSALS[reason](broken)
    runs, left_out = read_runs([whole, broken])
    assert [run.folder for run in runs] == [str(whole)]
    assert [left.folder for left in left_out] == [str(broken)]
    assert reason in left_out[0].reason


def test_a_folder_in_place_of_a_file_is_left_out(tmp_path):
    folder = write_run(tmp_path)
    (folder / "run_record.json").unlink()
    (folder / "run_record.json").mkdir()
    assert "unreadable" in read_runs([folder])[1][0].reason


def test_a_file_cut_short_is_damaged(tmp_path):
    folder = write_run(tmp_path)
    whole = (folder / "predictions.npz").read_bytes()
    for share in (0.2, 0.6, 0.95):
        (folder / "predictions.npz").write_bytes(whole[: int(share * len(whole))])
        assert "damaged" in read_runs([folder])[1][0].reason


def test_flipped_bytes_are_damage(tmp_path):
    folder = write_run(tmp_path)
    whole = bytearray((folder / "predictions.npz").read_bytes())
    whole[150:160] = b"\xff" * 10
    (folder / "predictions.npz").write_bytes(whole)
    assert "damaged" in read_runs([folder])[1][0].reason
