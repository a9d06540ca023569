"""The untrained student is scored exactly, and training does not notice."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import run_distillation
from layer_distillation.records.run_record import read_run_record
from layer_distillation.tasks.metrics import compute_task_loss
from run_distillation import main
from student_init import build_student
from test_run_distillation import replace_flag
from tiny_project import make_project


@pytest.fixture
def flags(tmp_path) -> list[str]:
    return make_project(tmp_path)


def test_the_record_says_how_good_the_student_was_before_training(tmp_path, flags):
    """Against the student built here by hand, scored on all rows in one padded batch."""
    assert main([*flags, "--layer_strategy=odd", "--per_device_eval_batch_size=5"]) == 0
    record = read_run_record(tmp_path / "run")
    teacher = AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher")
    lines = [line.split(",") for line in (tmp_path / "validation.csv").read_text().splitlines()[1:]]
    tokens = AutoTokenizer.from_pretrained(tmp_path / "teacher")([text for text, _ in lines], padding=True)
    columns = [teacher.config.label2id[name] for name in record.task["label_names"]]
    labels = np.array([record.task["label_names"].index(label) for _, label in lines])
    with torch.no_grad():
        logits = build_student(teacher, [1, 3])(**tokens.convert_to_tensors("pt")).logits.numpy()[:, columns]
        teacher_logits = teacher(**tokens).logits.numpy()[:, columns]
    untrained = record.student["untrained"]
    assert untrained["loss"] == pytest.approx(compute_task_loss(logits, labels), rel=1e-5)
    assert untrained["accuracy"] == pytest.approx((logits.argmax(-1) == labels).mean())
    assert untrained["agreement"] == pytest.approx((logits.argmax(-1) == teacher_logits.argmax(-1)).mean())
    assert untrained["kl_to_teacher"] > 0
    assert untrained.keys() == record.metrics["validation"].keys()
    assert "untrained" in record.seconds
    assert [entry["epoch"] for entry in record.history] == [1.0, 2.0]


@pytest.mark.slow
def test_a_student_that_keeps_all_layers_is_its_teacher_before_training(tmp_path, flags):
    assert main([*flags, "--layer_strategy=top", "--student_num_layers=4", "--learning_rate=1e-2"]) == 0
    record = read_run_record(tmp_path / "run")
    assert record.student["untrained"]["agreement"] == 1.0
    assert record.student["untrained"]["loss"] == pytest.approx(record.teacher["metrics"]["validation"]["loss"])
    assert record.metrics["validation"]["loss"] != pytest.approx(record.student["untrained"]["loss"], rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"num_train_epochs": 1}, pytest.param({"bf16": "true", "ce_weight": 0}, marks=pytest.mark.slow)],
)
def test_training_is_the_same_bit_for_bit_without_the_scoring(tmp_path, flags, monkeypatch, options):
    assert main(replace_flag(flags, output_dir=tmp_path / "with", **options)) == 0
    monkeypatch.setattr(run_distillation, "score_untrained", lambda *_: {})
    assert main(replace_flag(flags, output_dir=tmp_path / "without", **options)) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    records = [read_run_record(tmp_path / name) for name in ("with", "without")]
    assert records[0].metrics == records[1].metrics


@pytest.mark.slow
def test_it_is_scored_in_the_precision_of_the_weights(tmp_path, flags):
    for name, options in {"plain": {}, "half": {"bf16": "true"}}.items():
        assert main(replace_flag(flags, output_dir=tmp_path / name, **options)) == 0
    plain, half = (read_run_record(tmp_path / name).student["untrained"] for name in ("plain", "half"))
    assert plain == half
