"""A tiny fine-tuned-looking teacher folder and CSV files, as a user would bring them."""

import csv
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from conftest import make_bert

COLOURS = ["red", "green", "blue"]
NOUNS = ["ball", "house", "car", "tree", "cup", "door"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COLOURS, *NOUNS, "the", "a", "is", "not", "and"]


def write_tokenizer(folder: Path) -> None:
    """A word-level tokenizer with BERT's pair template."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    ).save_pretrained(folder)


def write_teacher(
    folder: Path, labels: list[str] | None = None, num_layers: int = 4, has_head: bool = True, dropout: float = 0.1
) -> Path:
    """A random BERT classifier (or, without a head, the encoder alone) with its tokenizer."""
    names = labels or COLOURS
    options = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = make_bert(num_layers, num_labels=len(names), seed=1, id2label=dict(enumerate(names)), **options)
    model.config.label2id = {name: index for index, name in enumerate(names)}
    (model if has_head else model.bert).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_csv(path: Path, num_rows: int = 24, seed: int = 0, header: tuple[str, str] = ("text", "label")) -> Path:
    """Rows whose label is the colour that the text names."""
    draw = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for index in range(num_rows):
            colour = COLOURS[index % 3]
            writer.writerow([f"the {colour} {draw.choice(NOUNS)} is a {draw.choice(NOUNS)}", colour])
    return path


def make_project(folder: Path, **teacher: object) -> list[str]:
    """The flags of a complete tiny run: 2 of 4 layers, 2 epochs, on a CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    write_teacher(folder / "teacher", **teacher)
    flags = {
        "train_file": write_csv(folder / "train.csv", 24, seed=1),
        "validation_file": write_csv(folder / "validation.csv", 12, seed=2),
        "test_file": write_csv(folder / "test.csv", 9, seed=3),
        "teacher_model_name_or_path": folder / "teacher",
        "cache_dir": folder / "cache",
        "output_dir": folder / "run",
        "max_length": 16,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
    }
    torch.manual_seed(0)
    return [f"--{name}={value}" for name, value in flags.items()] + ["--use_cpu", "--disable_tqdm", "true"]
