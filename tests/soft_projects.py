"""Tiny projects whose teacher is no fine-tuned folder of the student's tokens, with gold labels or without."""

import csv
import random
from pathlib import Path
from unittest.mock import patch

import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from conftest import make_bert
from tiny_project import COLOURS, NOUNS, WORDS, write_teacher, write_tokenizer

COLUMNS = [f"p_{colour}" for colour in COLOURS]


def write_soft_csv(
    path: Path,
    num_rows: int = 12,
    has_gold: bool = True,
    columns: list[str] | None = None,
    label_column: str = "label",
    order: tuple[int, ...] = (0, 1, 2),
) -> Path:
    """Rows whose text names a colour; column i gives 0.9 to the colour order[i]. No columns: no soft labels."""
    columns, draw = COLUMNS if columns is None else columns, random.Random(num_rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *([label_column] if has_gold else []), *columns])
        for index in range(num_rows):
            colour = index % 3
            text = f"the {COLOURS[colour]} {draw.choice(NOUNS)} is a {draw.choice(NOUNS)}"
            soft = [0.9 if order[place] == colour else 0.05 for place in range(len(columns))]
            writer.writerow([text, *([COLOURS[colour]] if has_gold else []), *soft])
    return path


def make_soft_project(folder: Path, train: dict | None = None, validation: dict | None = None) -> list[str]:
    """The flags of a tiny run without any teacher model; `train` and `validation` as of `write_soft_csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_teacher(folder / "encoder", has_head=False)
    flags = {
        "train_file": write_soft_csv(folder / "train.csv", 24, **(train or {})),
        "validation_file": write_soft_csv(folder / "validation.csv", 12, **(validation or {})),
        "soft_label_columns": ",".join(COLUMNS),
        "student_source_model": folder / "encoder",
        "cache_dir": folder / "cache",
        "output_dir": folder / "run",
        "max_length": 16,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
    }
    return [f"--{name}={value}" for name, value in flags.items()] + ["--use_cpu", "--disable_tqdm", "true"]


def write_other_reader(folder: Path, is_decoder: bool = False, has_head: bool = True) -> Path:
    """A deeper and wider teacher of the colours whose tokenizer numbers the words otherwise, and knows one more."""
    names = dict(enumerate(sorted(COLOURS)))
    if is_decoder:
        torch.manual_seed(3)
        sizes = {"n_embd": 24, "n_layer": 3, "n_head": 2, "n_positions": 64, "initializer_range": 0.3}
        config = GPT2Config(vocab_size=60, num_labels=3, id2label=names, pad_token_id=0, **sizes)
        model = GPT2ForSequenceClassification(config).eval()
    else:
        model = make_bert(5, seed=3, hidden_size=24, id2label=names)
        model.config.label2id = {name: index for index, name in names.items()}
    (model if has_head else model.base_model).save_pretrained(folder)
    words = [*WORDS[:5], "extra", *reversed(WORDS[5:])]
    with patch("tiny_project.WORDS", words):
        write_tokenizer(folder)
    return folder
