"""Complete tiny projects of other kinds of tasks than one label to a text: a teacher's folder and files of rows."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForMultipleChoice, BertForQuestionAnswering, PreTrainedModel

from conftest import make_bert
from distill_trainer import DistillationTrainer, DistillationTrainingArguments
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.loading import load_task
from layer_distillation.tasks.tokenizing import tokenize_task
from tiny_project import COLOURS, NOUNS, WORDS, write_tokenizer


def make_model(model_class: type[PreTrainedModel], num_layers: int = 4, seed: int = 1, **options: Any) -> Any:
    """Of `conftest.make_bert`'s sizes."""
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


def make_project(folder: Path, model_class: type[PreTrainedModel], make_rows: Any, **flags: Any) -> list[str]:
    """The flags of a complete run: 2 of 4 layers, 2 epochs, on a CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    make_model(model_class, num_labels=2).save_pretrained(folder / "teacher")
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
    return make_project(folder, BertForMultipleChoice, make_choice_rows, **flags)


def make_question_project(folder: Path, **flags: Any) -> list[str]:
    return make_project(folder, BertForQuestionAnswering, make_question_rows, **{"doc_stride": 4, **flags})


MODELS = {"multiple-choice": BertForMultipleChoice, "question-answering": BertForQuestionAnswering}
ROWS = {"multiple-choice": make_choice_rows, "question-answering": make_question_rows}


def make_data(folder: Path, kind: str, sizes: tuple[int, int] = (11, 5), **flags: Any) -> tuple[TaskData, Any]:
    """A kind's tokenized task, of which a fifth training row has no label, and its tokenizer."""
    write_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = ROWS[kind](sizes[0], 0)
    for row in rows[4::5]:
        row["label" if kind == "multiple-choice" else "answers"] = None
    train = write_json_lines(folder / "train.jsonl", rows)
    validation = write_json_lines(folder / "validation.jsonl", ROWS[kind](sizes[1], 1))
    own = {"doc_stride": 2} if kind == "question-answering" else {}
    arguments = DataArguments(train_file=str(train), validation_file=str(validation), **own | flags)
    return tokenize_task(load_task(arguments), tokenizer, 14), tokenizer


def make_trainer(
    folder: Path, data: TaskData, tokenizer: Any, teacher: Any = None, **options: Any
) -> DistillationTrainer:
    """2 layers taught by 4 without dropout, by plain SGD without clipping: a weight shows every gradient."""
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": len(data.label_names)}
    settings = {
        "output_dir": str(folder / "run"),
        **{"use_cpu": True, "bf16": False, "optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.0},
        **{"lr_scheduler_type": "constant", "warmup_steps": 0, "num_train_epochs": 1, "length_pool_batches": 1},
        **{"per_device_train_batch_size": 8, "save_strategy": "no", "load_best_model_at_end": False},
        **{"disable_tqdm": True, "kl_weight": 1.0, "temperature": 2.0, "hidden_weight": 1.0, "pkd_weight": 1.0},
    } | options
    model_class = MODELS[data.kind.name]
    return DistillationTrainer(
        model=make_model(model_class, 2, seed=2, **plain),
        teacher=make_model(model_class, 4, **plain) if teacher is None else teacher,
        args=DistillationTrainingArguments(**settings),
        data_collator=data.kind.make_collator(tokenizer),
        train_dataset=data.train,
        eval_dataset=data.first_validation,
        compute_metrics=lambda prediction: data.score(prediction.predictions, prediction.label_ids),
    )
