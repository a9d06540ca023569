"""Students train in float32 wherever they come from, and are saved in the type that the user names."""

import csv
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from conftest import make_bert, make_rows, pad_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.records.run_record import read_run_record
from layer_distillation.step.weight_types import hold_weights_in
from run_distillation import main
from tiny_project import make_project, write_tokenizer

SETTINGS = {
    "use_cpu": True,
    "save_strategy": "no",
    "eval_strategy": "no",
    "load_best_model_at_end": False,
    "disable_tqdm": True,
    "num_train_epochs": 1,
    "warmup_steps": 0,
    "per_device_train_batch_size": 4,
}


def train(folder: Path, student: PreTrainedModel, teacher: PreTrainedModel, **options: object) -> PreTrainedModel:
    rows = Dataset.from_list(make_rows(16))
    arguments = DistillationTrainingArguments(output_dir=str(folder), **SETTINGS | options)
    trainer = DistillationTrainer(
        model=student, teacher=teacher, args=arguments, data_collator=pad_rows, train_dataset=rows
    )
    trainer.train()
    return trainer.model


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("loaded", [torch.bfloat16, torch.float16])
def test_a_student_handed_over_in_half_precision_trains_as_its_float32_self(tmp_path, loaded, bf16):
    teacher = make_bert(4, seed=1)
    trained = train(tmp_path, make_bert(2, seed=2).to(loaded), teacher, bf16=bf16)
    same = train(tmp_path, make_bert(2, seed=2).to(loaded).float(), teacher, bf16=bf16)
    for name, tensor in same.state_dict().items():
        assert torch.equal(trained.state_dict()[name], tensor), name
    start = make_bert(2, seed=2).to(loaded).bert.embeddings.LayerNorm.weight
    assert (trained.bert.embeddings.LayerNorm.weight != start).all()


def test_a_student_of_model_init_trains_in_float32_too(tmp_path):
    arguments = DistillationTrainingArguments(output_dir=str(tmp_path), **SETTINGS)
    trainer = DistillationTrainer(
        model_init=lambda: make_bert(2, seed=2).to(torch.bfloat16),
        teacher=make_bert(4, seed=1),
        args=arguments,
        data_collator=pad_rows,
        train_dataset=Dataset.from_list(make_rows(16)),
    )
    trainer.train()
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("loaded", [torch.bfloat16, torch.float16])
def test_a_teacher_of_half_precision_teaches_and_stays_it(tmp_path, loaded):
    teacher = make_bert(4, seed=1).to(loaded)
    train(tmp_path, make_bert(2, seed=2), teacher, bf16=False)
    assert teacher.dtype == loaded


def test_weights_may_be_held_in_bfloat16_where_that_is_asked_for(tmp_path):
    student = train(tmp_path, make_bert(2, seed=2), make_bert(4, seed=1), student_dtype="bfloat16")
    assert {parameter.dtype for parameter in student.parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="student_dtype is 'float16': choose one of float32, bfloat16"):
        DistillationTrainingArguments(output_dir=str(tmp_path), student_dtype="float16")


def test_a_buffer_is_never_made_less_precise():
    model = make_bert(1)
    model.register_buffer("frequencies", torch.tensor([1 / 3]))
    hold_weights_in(model, "bfloat16")
    assert model.frequencies.dtype == torch.float32
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("loaded", "origin"),
    [
        ("float16", "teacher"),
        pytest.param("bfloat16", "teacher", marks=pytest.mark.slow),
        pytest.param("bfloat16", "source", marks=pytest.mark.slow),
        pytest.param("bfloat16", "student", marks=pytest.mark.slow),
    ],
)
def test_the_command_trains_and_saves_in_float32_wherever_the_student_comes_from(tmp_path, loaded, origin):
    flags = make_project(tmp_path)
    stored = tmp_path / ("teacher" if origin == "teacher" else "other")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "teacher")
    model.to(getattr(torch, loaded)).save_pretrained(stored)
    if origin != "teacher":
        write_tokenizer(stored)
        flags.append(f"--student_{'source_model' if origin == 'source' else 'model_name_or_path'}={stored}")
    assert main([*flags, "--num_train_epochs=1"]) == 0
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    rounded = student.bert.embeddings.LayerNorm.weight.to(model.dtype).float()
    assert (student.bert.embeddings.LayerNorm.weight != rounded).any()


@pytest.mark.parametrize("saved", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_the_student_is_saved_in_the_named_type_and_scored_as_a_reload(tmp_path, saved):
    flags = make_project(tmp_path)
    assert main([*flags, "--num_train_epochs=1", f"--save_dtype={saved}"]) == 0
    student = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    assert {parameter.dtype for parameter in student.parameters()} == {getattr(torch, saved)}
    assert student.config.dtype == getattr(torch, saved)
    record = read_run_record(tmp_path / "run")
    assert record.arguments["save_dtype"] == saved
    assert f"| weights saved in | {saved} |" in (tmp_path / "run" / "README.md").read_text()
    kept = next(entry for entry in record.history if entry["epoch"] == record.best_epoch)
    assert record.metrics["validation"]["loss"] != kept["eval_loss"]  # of the rounded weights, not of those before
    assert record.metrics["validation"]["loss"] == pytest.approx(score_reload(tmp_path, student), abs=1e-5)


def score_reload(folder: Path, student: PreTrainedModel) -> float:
    """Cross-entropy of the saved student on the validation file, by nothing of ours but its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "run")
    rows = list(csv.DictReader((folder / "validation.csv").open()))
    tokens = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    labels = torch.tensor([student.config.label2id[row["label"]] for row in rows])
    with torch.no_grad():
        logits = student(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits.float()
    return torch.nn.functional.cross_entropy(logits, labels).item()


def test_an_unknown_type_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main([*make_project(tmp_path), "--save_dtype=int8"])
    assert exit_status.value.code == 2
    assert "--save_dtype is 'int8': choose one of float32, bfloat16, float16" in capsys.readouterr().err
