"""What decides between the store and the live teacher, and that it is said."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset
from transformers import BertForSequenceClassification

from conftest import make_bert, make_rows, pad_rows
from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.outputs.store import StoreSpec, TeacherStore
from layer_distillation.teachers import store_filling as teacher_store_filling
from layer_distillation.teachers.arguments import TeacherArguments
from layer_distillation.teachers.loading import Teacher, fingerprint_model
from layer_distillation.teachers.store_filling import HalfPrecisionError
from layer_distillation.teachers.supply import TeacherSupply, count_epochs, explain_live, format_bytes

SPEC = StoreSpec("t", "r", (1, 3), num_rows=1000, num_tokens=20_000, num_labels=3, hidden_size=384)
RESERVED = 10_000_000


def explain(tmp_path, **options: object) -> str | None:
    return explain_live(SPEC, TeacherArguments(cache_dir=str(tmp_path / "not" / "there"), **options), RESERVED)


def test_what_fits_is_stored(tmp_path):
    assert explain(tmp_path) is None


def test_the_reasons_for_a_live_teacher_name_their_numbers(tmp_path, monkeypatch):
    assert explain(tmp_path, teacher_outputs="live") == "--teacher_outputs live"
    assert (
        explain(tmp_path, teacher_store_max_gb=0.01) == "a store would take 30.7 MB, over --teacher_store_max_gb 0.01"
    )
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 40_000_000})())
    assert "and 40 MB are free" in explain(tmp_path)
    assert "of which 10 MB are left for checkpoints" in explain(tmp_path)
    (tmp_path / "not" / "there" / "teacher_outputs" / SPEC.name).mkdir(parents=True)
    assert explain(tmp_path) is None  # made when there was room


def test_a_store_that_leaves_room_for_checkpoints_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 41_000_000})())
    assert explain(tmp_path) is None


# ---- one run's choice ----------------------------------------------------------------------------------------------


def choose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, output_dir: Path | None = None, **options: object
) -> tuple[object, str]:
    """The source, and what the log says of it."""
    model = make_bert(4, seed=1)
    tokenizer = SimpleNamespace(pad=lambda features, **_: pad_rows(features))
    teacher = Teacher(model, tokenizer, "teacher", "teacher", fingerprint_model(model), is_trained=True)
    settings = DistillationTrainingArguments(str(output_dir or tmp_path / "run"), use_cpu=True, num_train_epochs=3)
    arguments = TeacherArguments(cache_dir=str(tmp_path / "cache"), **options)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        supply = TeacherSupply(teacher, arguments, settings)
        source = supply.choose_training_source(Dataset.from_list(make_rows(22)), [1, 3])
    return source, caplog.text


def fail(error: Exception) -> Callable[..., None]:
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


def test_a_store_is_announced_with_its_size_and_what_it_saves(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(teacher_store_filling.time, "perf_counter", iter(range(0, 10_000, 50)).__next__)
    source, text = choose(tmp_path, caplog)
    assert isinstance(source, TeacherStore)
    assert "teacher outputs: stored, " in text
    assert "kB in " in text
    assert "made now; its pass took 50 s, so that this run saves about 100 s" in text
    _, text = choose(tmp_path, caplog)
    assert "found there; its pass took 50 s, so that this run saves about 150 s" in text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "the store cannot be written: .*No space left on device"),
        (HalfPrecisionError("its outputs overflow half precision"), "its outputs overflow half precision"),
    ],
)
def test_where_no_store_can_be_made_the_teacher_runs_live_or_the_run_is_refused(
    tmp_path, caplog, monkeypatch, error, reason
):
    monkeypatch.setattr(teacher_store_filling, "take_real_values", fail(error))
    source, text = choose(tmp_path, caplog)
    assert isinstance(source, BertForSequenceClassification)
    assert re.search(rf"teacher outputs: live \({reason}\)", text)
    with pytest.raises(ValueError, match=rf"--teacher_outputs stored cannot be: {reason}; take .* auto or live"):
        choose(tmp_path, caplog, teacher_outputs="stored")


@pytest.mark.parametrize(
    ("output_dir", "outputs", "is_stored"),
    [("run", "auto", False), ("run", "stored", True), ("/dev/shm", "auto", True)],
)
def test_room_for_checkpoints_is_kept_where_they_go_unless_a_store_is_asked_for(
    tmp_path, caplog, monkeypatch, output_dir, outputs, is_stored
):
    folder = tmp_path / output_dir  # an absolute one stays what it is
    if output_dir != "run" and (not folder.exists() or folder.stat().st_dev == tmp_path.stat().st_dev):
        pytest.skip("no second disk is here")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 30_000})())  # the store takes 11 kB
    source, _ = choose(tmp_path, caplog, output_dir=folder, teacher_outputs=outputs)
    assert isinstance(source, TeacherStore) == is_stored


def test_a_store_over_the_limit_is_not_made(tmp_path, caplog):
    source, text = choose(tmp_path, caplog, teacher_store_max_gb=1e-6)
    assert isinstance(source, BertForSequenceClassification)
    assert "live (a store would take 11.1 kB, over --teacher_store_max_gb 1e-06)" in text
    assert not list((tmp_path / "cache").glob("teacher_outputs/*"))
    with pytest.raises(ValueError, match="--teacher_outputs stored cannot be: a store would take"):
        choose(tmp_path, caplog, teacher_store_max_gb=1e-6, teacher_outputs="stored")


@pytest.mark.parametrize(("max_steps", "epochs"), [(-1, 3.0), (11, 4.0)])
def test_epochs_go_by_the_steps_where_these_are_given(tmp_path, max_steps, epochs):
    options = {"max_steps": max_steps, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert count_epochs(DistillationTrainingArguments(str(tmp_path), use_cpu=True, **options), 22) == epochs


@pytest.mark.parametrize("limit", [float("nan"), -1.0])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match=r"--teacher_store_max_gb is .*: give 0"):
        TeacherArguments(teacher_store_max_gb=limit)


@pytest.mark.parametrize(("count", "text"), [(12, "12 bytes"), (30_732_000, "30.7 MB"), (9.2e12, "9.2e+03 GB")])
def test_bytes_are_written_for_people(count, text):
    assert format_bytes(count) == text
