"""The examples of docs/PYTHON.md run as they are printed."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from conftest import make_rows
from layer_distillation import DistillationTrainer, DistillationTrainingArguments, build_student
from tiny_project import WORDS, write_teacher

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "PYTHON.md"


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second, third, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    teacher = AutoModelForSequenceClassification.from_pretrained(write_teacher(tmp_path / "teacher"))
    rows = [row | {"input_ids": [token % len(WORDS) for token in row["input_ids"]]} for row in make_rows(16)]
    rows = Dataset.from_list(rows).remove_columns("example_index")
    names = {"teacher": teacher, "rows": rows, "torch": torch, "F": F}
    names |= {"tokenizer": AutoTokenizer.from_pretrained(tmp_path / "teacher"), "build_student": build_student}
    names |= {"DistillationTrainer": DistillationTrainer}
    names["DistillationTrainingArguments"] = DistillationTrainingArguments
    exec(first, names)
    assert AutoModelForSequenceClassification.from_pretrained("out/student").config.num_hidden_layers == 2
    exec(second.replace("...)", "train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)"), names)
    names["trainer"].train()
    assert any("contrast_loss" in entry for entry in names["trainer"].state.log_history)
    exec(third, names)
    names["trainer"].train()
    assert any("pkd_loss" in entry for entry in names["trainer"].state.log_history)
    assert names["trainer"].teacher_store.folder.parent == Path("stores")
