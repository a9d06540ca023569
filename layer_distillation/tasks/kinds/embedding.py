"""Vectors of texts: a sentence encoder that imitates its teacher's vectors, from text alone.

An item is a text, whose outputs are its vector. Rows are texts; of evaluation data with a gold score two texts, whose
inputs stand one behind the other: there the answer is the cosine of the two, and the comparison resamples pairs. Of
texts without a score the answer is the cosine of the student's vector with the teacher's.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.kinds.entry import (
    CLOSENESS_METRICS,
    VECTOR,
    LabelNames,
    ReadTask,
    TaskKind,
    Truth,
)
from layer_distillation.tasks.kinds.sentence_pairs import (
    PAIR,
    TEXT,
    arrange_texts,
    compare_vectors,
    compute_cosines,
    keep_similarities,
    read_labels,
    score_pairs,
)
from layer_distillation.tasks.kinds.texts import collate_rows, tokenize_texts
from layer_distillation.tasks.weighted_scores import NUMBER_SCORERS, RANKING_COST, Scorer, make_scorer

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Features
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.data import TaskData
    from layer_distillation.tasks.files import RawSplit

METRICS = ("spearmanr", "pearson")
COSINE = CLOSENESS_METRICS[VECTOR]
PROMPT = "prompt"  # among the options: what stands before every text
HEAD_PLACES = {"cls": "first", "lasttoken": "last"}  # of all other ways of pooling the mean
MODULE_PACKAGE = "layer_distillation.embedding"


# ---- data --------------------------------------------------------------------------------------------------------


def read(splits: Mapping[str, "RawSplit"], arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> ReadTask:
    """Of splits that `arrange_texts` made."""
    columns = {name: split.columns for name, split in splits.items()}
    return ReadTask((TEXT,), [], columns, {TEXT: "string", PAIR: "string", "labels": "float32"})


def read_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> dict[str, list]:
    raise AssertionError("`arrange_texts` refuses a transfer set")


def spread_rows(rows: dict[str, list], text_columns: tuple[str, ...]) -> dict[str, list]:
    """A row for every text: of two the second behind the first, both with their score."""
    pairs = zip(rows[TEXT], rows[PAIR], rows["labels"], strict=True)
    texts = [
        (text, label) for first, second, label in pairs for text in ([first] if second is None else [first, second])
    ]
    return {TEXT: [text for text, _ in texts], "labels": [label for _, label in texts]}


def describe_spread(text_columns: tuple[str, ...]) -> "Features":
    from datasets import Features, Value  # seconds that a comparison does without

    return Features({TEXT: Value("string"), "labels": Value("float32")})


def tokenize(
    rows: dict[str, list], data: "TaskData", tokenizer: "PreTrainedTokenizerBase", max_length: int | None
) -> dict[str, list]:
    prompt = data.options.get(PROMPT, "")
    return tokenize_texts({TEXT: [prompt + text for text in rows[TEXT]]}, data, tokenizer, max_length)


# ---- scores ------------------------------------------------------------------------------------------------------


def check_metric(name: str, label_names: LabelNames) -> None:
    if name not in METRICS:
        raise ValueError(f"--metrics {name} cannot score similarities: they have {' and '.join(METRICS)}; leave it out")


def score(vectors: np.ndarray, truth: Truth, metric_names: Sequence[str]) -> dict[str, float]:
    """vectors, and labels of the truth: of the texts of all pairs, two by two."""
    return score_pairs(compute_cosines(vectors[0::2], vectors[1::2]), truth.labels[0::2], metric_names)


def read_answers(kept: np.ndarray, metric_name: str, truth: Truth) -> np.ndarray:
    """(pairs,) or (texts,) of the similarities that `keep_similarities` kept."""
    return kept.reshape(len(kept)).astype(np.float64)


def average_rows(answers: np.ndarray, truth: Truth) -> Scorer:
    """answers: (runs, texts)"""
    columns = answers.T
    return lambda weights: (weights @ columns) / weights.sum(axis=1, keepdims=True)


def name_scorer(metric_name: str) -> Callable[[np.ndarray, Truth], Scorer]:
    return lambda answers, truth: make_scorer(metric_name, answers, truth.labels)


def list_scorers(label_names: LabelNames) -> dict[str, Callable[[np.ndarray, Truth], Scorer]]:
    return {name: name_scorer(name) for name in METRICS if name in NUMBER_SCORERS} | {COSINE: average_rows}


def count_products(metric_name: str, truth: Truth) -> float:
    return {"spearmanr": RANKING_COST, "pearson": 3}.get(metric_name, 1)


# ---- models ------------------------------------------------------------------------------------------------------


def find_loader() -> type:
    from layer_distillation.embedding.loading import AutoPooledModel  # torch, which a comparison does without

    return AutoPooledModel


def save(model: "PreTrainedModel", folder: "Path") -> None:
    from layer_distillation.embedding.pooled_model import save_pooled

    save_pooled(model, folder)


def read_teacher(
    config: "PreTrainedConfig",
    tokenizer: "PreTrainedTokenizerBase",
    prompt_name: str | None,
    **how: Any,
) -> dict[str, Any]:
    """Fits the tokenizer to the folder that the config came from; returns what the record is to hold of it.

    Raises:
        ValueError: modules that cannot be built, or arguments that contradict them.
    """
    from layer_distillation.embedding.folders import read_modules
    from layer_distillation.embedding.loading import fit_tokenizer

    modules = read_modules(config.name_or_path, config, **how)
    fit_tokenizer(tokenizer, modules)
    kept = {"pooling": list(modules.pooling), "normalizes": modules.normalizes, "is_assumed": modules.is_assumed}
    return kept | {PROMPT: modules.get_prompt(prompt_name)}


def place_head(config: "PreTrainedConfig") -> str:
    from layer_distillation.embedding.modules import get_modules

    return HEAD_PLACES.get(get_modules(config).pooling[0], "mean")


# ---- words -------------------------------------------------------------------------------------------------------


def write_call(record: "RunRecord", location: str, options: str) -> str:
    return (
        "from sentence_transformers import SentenceTransformer\n"
        f"encoder = SentenceTransformer({json.dumps(location, ensure_ascii=False)})\n"
        'vectors = encoder.encode(["a text", "another one"])\n'
        "print(encoder.similarity(vectors, vectors))"
    )


def write_loading(folder: str) -> str:
    return f"from sentence_transformers import SentenceTransformer\nstudent = SentenceTransformer({folder!r})"


EMBEDDING = TaskKind(
    name="embedding",
    auto_class="AutoModel",
    head_suffix="Pooled",
    pipeline_tag="sentence-similarity",
    unit="pairs or texts",
    recognise=lambda split, arguments: None,
    read=read,
    read_texts=read_texts,
    tokenize=tokenize,
    make_collator=collate_rows,
    is_missing=lambda label: label != label,
    make_unlabelled=lambda columns, label_names: read_labels(columns),
    find_present=lambda labels: set(),
    move_label=lambda label, places, num_classes: label,
    get_outputs=lambda label_names: VECTOR,
    get_problem_type=lambda label_names: None,
    list_default_metrics=lambda label_names: METRICS,
    check_metric=check_metric,
    score=score,
    read_answers=read_answers,
    list_scorers=list_scorers,
    list_shown_beside=lambda label_names: METRICS,
    list_constants=lambda metric_name, answers, truth: {None: np.zeros_like(answers)},
    compare_answers=lambda student, teacher, threshold: None,
    mark_right=lambda answers, truth: None,
    count_products=count_products,
    describe_answer=lambda labels: "the vector of a text",
    write_call=write_call,
    has_fixed_outputs=True,
    default_max_length=256,
    arrange=arrange_texts,
    spread_rows=spread_rows,
    describe_spread=describe_spread,
    find_loader=find_loader,
    save=save,
    read_teacher=read_teacher,
    place_head=place_head,
    default_settings={"ce_weight": 0.0, "kl_weight": 0.0, "hidden_weight": 0.0, "pkd_weight": 0.0}
    | {"logit_cosine_weight": 1.0, "temperature": 0.05},
    compare_models=compare_vectors,
    keep_answers=keep_similarities,
    write_loading=write_loading,
    output_names=("sentence_embedding", "last_hidden_state"),
    library_name="sentence-transformers",
    card_tags=("sentence-transformers", "feature-extraction"),
)
