"""Too little memory, and numbers that are none, in teacher and student: one line, and the flags that it names help."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import distill_trainer
import run_distillation
from fault_tools import fail, finish
from layer_distillation.records.run_record import read_run_record
from tiny_project import make_project, write_csv, write_teacher

OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

# ---- memory --------------------------------------------------------------------------------------------------------


def limit_rows(monkeypatch: pytest.MonkeyPatch, limit: int, error: Exception = OUT_OF_MEMORY) -> list[int]:
    """Training steps with more rows than `limit` fail; returns the list of rows of each step, as it grows."""
    run_model, rows = distill_trainer.run_model, []

    def run_within_limit(model, inputs, *wanted, **options):
        if model.training:
            rows.append(len(inputs["input_ids"]))
            if rows[-1] > limit:
                raise error
        return run_model(model, inputs, *wanted, **options)

    monkeypatch.setattr(distill_trainer, "run_model", run_within_limit)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("error", [OUT_OF_MEMORY, MemoryError("Unable to allocate 9.3 GiB")])
def test_too_little_memory_ends_in_a_line_with_the_flags_that_help_and_they_do(tmp_path, monkeypatch, error):
    flags = [*make_project(tmp_path, dropout=0.0), "--bf16=false"]
    metrics = finish([*flags, f"--output_dir={tmp_path / 'roomy'}"])
    limit_rows(monkeypatch, 4, error)
    line = fail(flags, 1, r"out of memory \((CUDA out of memory|Unable to allocate).*--auto_find_batch_size true")
    assert "--activation_checkpointing true" in line
    advised = re.search(r"take (--\S+ \d+) (--\S+ \d+) for the same", line).groups()
    small = [*flags, *" ".join(advised).split(), f"--output_dir={tmp_path / 'small'}"]
    for split, scores in finish(small).items():
        assert scores == pytest.approx(metrics[split], abs=1e-5)


@pytest.mark.slow
def test_a_smaller_batch_is_found_with_store_pools_and_trimmed_embedding(tmp_path, monkeypatch):
    """8 rows do not fit, nor 7 and 6; with 5 the run is the one that was started with 5."""
    project = make_project(tmp_path, dropout=0.0)
    flags = [flag for flag in project if not flag.startswith("--per_device_train_batch_size")]
    asked = [*flags, "--per_device_train_batch_size=5", f"--output_dir={tmp_path / 'asked'}"]
    metrics = finish(asked)
    rows = limit_rows(monkeypatch, 5)
    assert finish([*flags, "--per_device_train_batch_size=8", "--auto_find_batch_size=true"]) == metrics
    assert rows[:3] == [8, 7, 6]
    assert rows[3:] == 2 * [5, 5, 5, 5, 4]
    found, record = read_run_record(tmp_path / "run"), read_run_record(tmp_path / "asked")
    assert found.history[0]["train_hidden_loss"] == record.history[0]["train_hidden_loss"]
    assert (found.student["train_batch_rows"], record.student["train_batch_rows"]) == (5, 5)
    check_predictions(tmp_path, "test.csv")


def check_predictions(folder: Path, name: str) -> None:
    """They are those of the student as anyone loads it, not of one that is still cast to half precision."""
    student = AutoModelForSequenceClassification.from_pretrained(folder / "run").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "run")
    texts = [line.split(",")[0] for line in (folder / name).read_text().splitlines()[1:]]
    with torch.no_grad():
        logits = student(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(
        np.load(folder / "run" / "predictions.npz")["test.student_logits"], logits.numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_where_no_batch_fits_it_is_said(tmp_path, monkeypatch):
    flags = [*make_project(tmp_path), "--auto_find_batch_size=true", "--per_device_train_batch_size=2"]
    limit_rows(monkeypatch, 0)
    fail(flags, 1, r"out of memory \(No executable batch size found, reached zero\.\).*--max_length")


@pytest.mark.slow
def test_activation_checkpointing_gives_the_same_student(tmp_path):
    flags = make_project(tmp_path, dropout=0.0)
    metrics = finish(flags)
    again = [*flags, "--activation_checkpointing=true", f"--output_dir={tmp_path / 'checkpointed'}"]
    for split, scores in finish(again).items():
        assert scores == pytest.approx(metrics[split], abs=1e-5)


# ---- numbers that are none -----------------------------------------------------------------------------------------


def spoil_teacher(folder: Path, name: str, row: int | None = None, value: float = float("nan")) -> None:
    """Writes nan or infinity into a tensor of the saved teacher."""
    path = folder / "teacher" / "model.safetensors"
    tensors = load_file(path)
    tensors[name][row if row is not None else ...] = value
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("has_head", [True, False])
def test_a_teacher_with_weights_that_are_no_numbers_is_refused_before_training(tmp_path, monkeypatch, value, has_head):
    flags = make_project(tmp_path, has_head=has_head)
    name = "encoder.layer.1.output.dense.weight"
    spoil_teacher(tmp_path, f"bert.{name}" if has_head else name, value=value)
    monkeypatch.setattr(run_distillation, "make_trainer", lambda *_: pytest.fail("training began"))
    fail(flags, 2, rf"{name} with numbers that are not finite: give a model")
    assert not list((tmp_path / "cache").rglob("manifest.json"))


def make_rare_token_nan(folder: Path, **options: object) -> list[str]:
    """A teacher whose weights are all numbers, but whose outputs are none for a word of one training row."""
    flags = make_project(folder, **options)
    write_csv(folder / "train.csv", 24, seed=1)
    with (folder / "train.csv").open("a") as file:
        file.write("the red ball and a cup,red\n")
    write_teacher(folder / "teacher")
    spoil_teacher(folder, "bert.embeddings.word_embeddings.weight", row=18, value=3e38)
    return flags


def test_a_teacher_whose_outputs_are_no_numbers_is_named_before_training(tmp_path, monkeypatch):
    flags = make_rare_token_nan(tmp_path)
    monkeypatch.setattr(run_distillation, "make_trainer", lambda *_: pytest.fail("training began"))
    fail(
        [*flags, "--hidden_weight=0", "--pkd_weight=0"],
        2,
        "the teacher's logits are not all finite numbers: check the teacher's",
    )
    assert not list((tmp_path / "cache").rglob("*.unfinished"))


def test_a_live_teacher_whose_outputs_are_no_numbers_is_named_with_the_step(tmp_path):
    flags = make_rare_token_nan(tmp_path)
    fail([*flags, "--teacher_outputs=live"], 1, r"the teacher's logits are nan or infinite for rows of step [1-4];")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_loss_that_is_no_number_ends_in_one_line_with_the_step(tmp_path):
    flags = make_project(tmp_path)
    fail([*flags, "--learning_rate=1e38"], 1, r"the training loss became nan or infinite at step \d+;.*--learning_rate")
    assert not list((tmp_path / "run").glob("checkpoint-*"))
