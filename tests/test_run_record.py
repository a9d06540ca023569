"""The record is written whole, read back, and tells one run from another."""

import json

import pytest

from run_record import RECORD_NAME, RunRecord, find_best_epoch, read_run_record, summarize_history


def make_record(**arguments: object) -> RunRecord:
    return RunRecord("run_distillation.py", {"seed": 1} | arguments, {}, {}, seed=1, strategy="odd")


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record = make_record(temperature=2.0)
    record.metrics = {"validation": {"loss": 0.25}}
    record.write(tmp_path)
    assert read_run_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [RECORD_NAME]


def test_arguments_that_change_the_student_make_another_run():
    record = make_record(temperature=2.0, output_dir="a", disable_tqdm=True)
    assert record.list_differences({"seed": 1, "temperature": 2.0, "output_dir": "b"}) == []
    assert record.list_differences({"seed": 2, "temperature": 2.0}) == ["seed: 1 -> 2"]
    assert record.list_differences({"seed": 1}) == ["temperature: 2.0 -> None"]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"command": "x", "novelty": 1})])
def test_a_damaged_or_foreign_record_is_refused(tmp_path, content):
    (tmp_path / RECORD_NAME).write_text(content)
    with pytest.raises(ValueError, match="is not a run record of this version"):
        read_run_record(tmp_path)


def test_a_folder_without_a_record_is_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run_record\.json"):
        read_run_record(tmp_path)


def test_history_averages_the_training_entries_of_an_epoch_by_their_steps():
    log = [
        {"step": 10, "epoch": 0.5, "loss": 1.0, "ce_loss": 3.0},
        {"step": 15, "epoch": 0.75, "loss": 4.0, "ce_loss": 6.0},
        {"step": 20, "epoch": 1.0, "eval_loss": 0.5, "eval_accuracy": 0.9},
        {"step": 30, "epoch": 1.5, "loss": 2.0, "ce_loss": 2.0},
        {"step": 40, "epoch": 2.0, "eval_loss": 0.4},
        {"step": 40, "epoch": 2.0, "train_loss": 9.0},
    ]
    history = summarize_history(log)
    assert history[0] == {
        "epoch": 1.0,
        "step": 20,
        "train_loss": 2.0,
        "train_ce_loss": 4.0,
        "eval_loss": 0.5,
        "eval_accuracy": 0.9,
    }
    assert history[1]["train_loss"] == 2.0
    assert find_best_epoch(history, 40) == 2.0
