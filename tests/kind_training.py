"""Tiny teachers, students and rows of every kind of task, and a trainer of them: plain SGD shows every gradient."""

import random
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import (
    BertConfig,
    BertForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from conftest import VOCABULARY_SIZE, make_bert, make_rows
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.tasks.kinds.table import TASK_KINDS
from sentence_folders import make_pooled
from tiny_training import ALL_TERMS

NAMES = {"token-classification": ["O", "B-a", "I-a", "B-b", "I-b"], "multi-label": ["a", "b", "c", "d"]}
NAMES |= {"reranking": ["relevance"], "embedding": []}
TERMS = dict.fromkeys(NAMES, ALL_TERMS)
TERMS["reranking"] = ALL_TERMS | {"logit_cosine_weight": 0.0, "margin_weight": 1.0}
TERMS["embedding"] = ALL_TERMS | {"ce_weight": 0.0}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def make_model(kind: str, num_layers: int, seed: int) -> PreTrainedModel:
    names = NAMES[kind]
    if kind == "embedding":
        return make_pooled(num_layers=num_layers, seed=seed, vocab_size=VOCABULARY_SIZE, **NO_DROPOUT)
    if kind == "multi-label":
        options = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(names))}
        return make_bert(num_layers, len(names), seed, **options, **NO_DROPOUT)
    if kind == "reranking":
        return make_bert(num_layers, 1, seed, **NO_DROPOUT)
    config = make_bert(num_layers, len(names), **NO_DROPOUT).config.to_dict() | {"id2label": dict(enumerate(names))}
    torch.manual_seed(seed)
    return BertForTokenClassification(BertConfig.from_dict(config)).eval()


def make_kind_rows(kind: str, num_rows: int = 24, seed: int = 0) -> list[dict]:
    """Row 3 has no label; of tags every other token is an item, also in that row; two candidates to a query."""
    draw = random.Random(seed)
    rows = make_rows(num_rows, seed=seed)
    for index, row in enumerate(rows):
        if kind == "embedding":
            row["labels"] = float("nan")
            continue
        if kind == "multi-label":
            row["labels"] = [float(draw.random() < 0.4) for _ in NAMES[kind]]
            row["labels"] = [float("nan")] * len(NAMES[kind]) if index == 3 else row["labels"]
            continue
        if kind == "reranking":
            row |= {"labels": float("nan") if index == 3 else draw.random(), "query_index": index // 2}
            continue
        row["item_mask"] = [position % 2 for position in range(len(row["input_ids"]))]
        row["labels"] = [draw.randrange(5) if mask and index != 3 else -100 for mask in row["item_mask"]]
    return rows


def make_collator(kind: str, pad_to: int | None = None, padding_side: str = "right") -> DataCollatorWithPadding:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[PAD]": 0})), pad_token="[PAD]")
    tokenizer.padding_side = padding_side
    collator = TASK_KINDS[kind].make_collator(tokenizer)
    if pad_to is not None:
        collator.padding, collator.max_length = "max_length", pad_to
    return collator


def make_kind_trainer(
    folder: Path,
    kind: str,
    rows: list[dict] | None = None,
    teacher: PreTrainedModel | None = None,
    **options: object,
) -> DistillationTrainer:
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "optim": "sgd",
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 32,
        "save_strategy": "no",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
        **TERMS[kind],
        "pkd_weight": 1.0,
    } | options
    return DistillationTrainer(
        model=make_model(kind, 2, seed=2),
        teacher=teacher or make_model(kind, 4, seed=1),
        args=DistillationTrainingArguments(**settings),
        data_collator=make_collator(kind),
        train_dataset=Dataset.from_list(rows or make_kind_rows(kind)),
        eval_dataset=Dataset.from_list(make_kind_rows(kind, 9, seed=5)),
        task_kind=kind,
    )
