"""Complete tiny projects of every kind of task: a teacher's folder and files of rows; and trainers of their rows.

Started by tests under several processes, it trains in folders that `write_data` has filled:
torchrun --nproc_per_node 2 tests/tiny_kinds.py FOLDER '{"question-answering": {"per_device_train_batch_size": 4}}'
"""

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    PreTrainedModel,
)

from conftest import check_group_has_ended, make_bert
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.records.process_locks import leave_process_group
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.loading import load_task
from layer_distillation.tasks.tokenizing import tokenize_task
from sentence_folders import make_pooled, make_texts
from tiny_project import COLOURS, NOUNS, WORDS, write_tokenizer

TAGS = ["B-colour", "B-noun", "I-noun", "O"]


def make_model(model_class: type[PreTrainedModel], num_layers: int = 4, seed: int = 1, **options: Any) -> Any:
    """Of `conftest.make_bert`'s sizes; a plain encoder with what pools its states."""
    if model_class is BertModel:
        return make_pooled(num_layers=num_layers, seed=seed, **options)
    config = make_bert(num_layers, **options).config.to_dict()
    torch.manual_seed(seed)
    return model_class(BertConfig.from_dict(config | {"vocab_size": len(WORDS)})).eval()


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_choice_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    """The right choice names the question's colour."""
    draw = random.Random(seed)
    rows = []
    for _ in range(num_rows):
        colours = draw.sample(COLOURS, 3)
        label, noun = draw.randrange(3), draw.choice(NOUNS)
        choices = [f"a {colour} {noun}" + " not" * draw.randrange(3) for colour in colours]
        rows.append({"question": f"the {noun} is {colours[label]}", "choices": choices, "label": label})
    return rows


def make_question_rows(num_rows: int, seed: int, num_sentences: int = 3) -> list[dict[str, Any]]:
    """The answer is the colour that the context gives the question's noun."""
    draw = random.Random(seed)
    rows = []
    for index in range(num_rows):
        nouns = draw.sample(NOUNS, num_sentences)
        sentences = [f"the {noun} is {draw.choice(COLOURS)}" for noun in nouns]
        context, asked = " and ".join(sentences), draw.randrange(num_sentences)
        answer = sentences[asked].split()[-1]
        start = len(" and ".join([*sentences[:asked], sentences[asked]])) - len(answer)
        answers = {"text": [answer], "answer_start": [start]}
        rows.append({"id": str(index), "title": f"t{index % 3}", "context": context, "question": f"the {nouns[asked]}",
                     "answers": answers})  # fmt: skip
    return rows


def make_words(draw: random.Random) -> list[str]:
    nouns = [draw.choice(NOUNS) for _ in range(draw.randrange(1, 3))]
    return ["the", draw.choice(COLOURS), *nouns, "is", *["not"] * draw.randrange(3), "a", draw.choice(NOUNS)]


def make_tag_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    """Colours and nouns are entities; two nouns after each other are one."""
    draw, rows = random.Random(seed), []
    for _ in range(num_rows):
        words = make_words(draw)
        tags = ["B-colour" if word in COLOURS else "B-noun" if word in NOUNS else "O" for word in words]
        if words[3] in NOUNS:
            tags[3] = "I-noun"
        rows.append({"tokens": words, "tags": tags})
    rows[0] = {"tokens": ["the", "red", "car", "door"], "tags": ["O", "B-colour", "B-noun", "I-noun"]}  # every tag
    return rows


def make_label_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    """The labels are the colour and the first noun of the text; of some texts none. No text is there twice: of two that
    are alike, rounding decides which a ranking puts first."""
    draw, rows = random.Random(seed), {" ".join([*COLOURS, *NOUNS]): sorted([*COLOURS, *NOUNS])}
    while len(rows) < num_rows:
        words = make_words(draw)
        rows[" ".join(words)] = sorted({*words[1:3]}) if draw.random() < 0.8 else []
    return [{"text": text, "labels": labels} for text, labels in rows.items()]


def make_class_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    texts = [make_words(random.Random(1000 * seed + index)) for index in range(num_rows)]
    texts[:3] = [["the", colour, "car"] for colour in COLOURS]  # every class
    return [{"text": " ".join(words), "label": words[1]} for words in texts]


def make_text_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    """The score is not read: texts alone are learned from."""
    return [{"text": text, "score": 1.0} for text in make_texts(num_rows, seed)]


def make_number_rows(num_rows: int, seed: int) -> list[dict[str, Any]]:
    rows = enumerate(make_class_rows(num_rows, seed))
    return [row | {"label": COLOURS.index(row["label"]) + index / 100} for index, row in rows]


def make_project(
    folder: Path, model_class: type[PreTrainedModel], make_rows: Any, config: dict[str, Any], **flags: Any
) -> list[str]:
    """The flags of a complete run: 2 of 4 layers, 2 epochs, on a CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    make_model(model_class, **config).save_pretrained(folder / "teacher")
    write_tokenizer(folder / "teacher")
    sizes = {"train": 24, "validation": 12, "test": 9}
    files = {
        f"{name}_file": write_json_lines(folder / f"{name}.jsonl", make_rows(size, seed))
        for seed, (name, size) in enumerate(sizes.items())
    }
    settings = files | {
        "teacher_model_name_or_path": folder / "teacher",
        "cache_dir": folder / "cache",
        "output_dir": folder / "run",
        "max_length": 24,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        **flags,
    }
    torch.manual_seed(0)
    return [f"--{name}={value}" for name, value in settings.items()] + ["--use_cpu", "--disable_tqdm", "true"]


def make_choice_project(folder: Path, **flags: Any) -> list[str]:
    return make_kind_project(folder, "multiple-choice", **flags)


def make_question_project(folder: Path, **flags: Any) -> list[str]:
    return make_kind_project(folder, "question-answering", **{"doc_stride": 4, **flags})


@dataclass(frozen=True)
class TinyKind:
    """`config` is the teacher's; `flags` are those of the command."""

    model_class: type[PreTrainedModel]
    make_rows: Callable[[int, int], list[dict[str, Any]]]
    label_column: str
    config: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)  # beside the trainer's defaults


def name_outputs(names: list[str], **config: Any) -> dict[str, Any]:
    label2id = {name: index for index, name in enumerate(names)}
    return {"num_labels": len(names), "id2label": dict(enumerate(names)), "label2id": label2id} | config


TINY_KINDS = {
    "text-classification": TinyKind(
        BertForSequenceClassification, make_class_rows, "label", name_outputs(sorted(COLOURS))
    ),
    "regression": TinyKind(BertForSequenceClassification, make_number_rows, "label", {"num_labels": 1}),
    "multi-label": TinyKind(
        BertForSequenceClassification,
        make_label_rows,
        "labels",
        name_outputs(sorted([*COLOURS, *NOUNS]), problem_type="multi_label_classification"),
    ),
    "token-classification": TinyKind(BertForTokenClassification, make_tag_rows, "tags", name_outputs(TAGS)),
    "multiple-choice": TinyKind(BertForMultipleChoice, make_choice_rows, "label", {"num_labels": 3}),
    "question-answering": TinyKind(
        BertForQuestionAnswering, make_question_rows, "answers", {"num_labels": 2}, {"doc_stride": 2}
    ),
    "embedding": TinyKind(
        BertModel,
        make_text_rows,
        "score",
        flags={"task_type": "embedding", "label_column": "none"},
        loss={"ce_weight": 0.0, "logit_cosine_weight": 1.0, "metric_for_best_model": None},
    ),
}


def make_kind_project(folder: Path, kind: str, **flags: Any) -> list[str]:
    tiny = TINY_KINDS[kind]
    return make_project(folder, tiny.model_class, tiny.make_rows, tiny.config, **tiny.flags | flags)


def write_data(folder: Path, kind: str, sizes: tuple[int, int] = (11, 5)) -> None:
    """A tokenizer and a task's files; a fifth training row has no label."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    tiny = TINY_KINDS[kind]
    rows = tiny.make_rows(sizes[0], 0)
    for row in rows[4::5]:
        row[tiny.label_column] = None
    write_json_lines(folder / "train.jsonl", rows)
    write_json_lines(folder / "validation.jsonl", tiny.make_rows(sizes[1], 1))


def load_data(folder: Path, kind: str, **flags: Any) -> tuple[TaskData, Any]:
    """What `write_data` left, tokenized, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    files = {f"{name}_file": str(folder / f"{name}.jsonl") for name in ("train", "validation")}
    arguments = DataArguments(**files, **TINY_KINDS[kind].flags | flags)
    return tokenize_task(load_task(arguments), tokenizer, 14), tokenizer


def make_data(folder: Path, kind: str, sizes: tuple[int, int] = (11, 5), **flags: Any) -> tuple[TaskData, Any]:
    write_data(folder, kind, sizes)
    return load_data(folder, kind, **flags)


def find_tiny(data: TaskData) -> TinyKind:
    return TINY_KINDS["regression" if data.label_names is None else data.kind.name]


def make_trainer(
    folder: Path, data: TaskData, tokenizer: Any, teacher: Any = None, dropout: float = 0.0, **options: Any
) -> DistillationTrainer:
    """2 layers taught by 4, mostly without dropout, by plain SGD without clipping: a weight shows every gradient."""
    tiny = find_tiny(data)
    plain = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout} | tiny.config
    settings = (
        {
            "output_dir": str(folder / "run"),
            **{"use_cpu": True, "bf16": False, "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0},
            **{"lr_scheduler_type": "constant", "warmup_steps": 0, "num_train_epochs": 1, "length_pool_batches": 1},
            **{"per_device_train_batch_size": 8, "save_strategy": "no", "load_best_model_at_end": False},
            **{"disable_tqdm": True, "kl_weight": 1.0, "temperature": 2.0, "hidden_weight": 1.0, "pkd_weight": 1.0},
        }
        | tiny.loss
        | options
    )
    model_class = tiny.model_class
    return DistillationTrainer(
        model=make_model(model_class, 2, seed=2, **plain),
        teacher=make_model(model_class, 4, **plain) if teacher is None else teacher,
        args=DistillationTrainingArguments(**settings),
        data_collator=data.kind.make_collator(tokenizer),
        train_dataset=data.train,
        eval_dataset=data.first_validation,
        compute_metrics=lambda prediction: data.score(prediction.predictions, prediction.label_ids),
    )


def train_and_save(folder: Path, kind: str, **options: Any) -> None:
    trainer = make_trainer(folder, *load_data(folder, kind), **options)
    trainer.train()
    if trainer.is_world_process_zero():
        torch.save(trainer.model.state_dict(), folder / "weights.pt")
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    for name, settings in json.loads(sys.argv[2]).items():
        train_and_save(Path(sys.argv[1]) / name, name, **settings)
    leave_process_group()
    check_group_has_ended()
