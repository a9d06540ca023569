"""Retrieval sets of a run: what teacher and student find by their vectors.

The teacher's scores are kept under `<cache_dir>/retrieval_scores`, by its weights and what it read: a sweep makes them
once. Entry: `score_teacher` while it has its weights, `score_student`, `arrange_scores`.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accelerate import PartialState
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.embedding.encoding import encode_texts
from layer_distillation.embedding.modules import get_modules
from layer_distillation.records.run_record import RunRecord
from layer_distillation.runs.arguments import RunArguments
from layer_distillation.runs.facts import timed
from layer_distillation.tasks.data import TaskData
from layer_distillation.tasks.retrieval import (
    MAX_LENGTH,
    Encode,
    RetrievalSet,
    SetScores,
    average_retrieval,
    choose_prompt,
    fingerprint_set,
    score_sets,
)
from layer_distillation.teachers.loading import Teacher


def make_encoder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int) -> Encode:
    """Vectors as sentence-transformers' `encode_query` and `encode_document` make them: where there is no such prompt,
    without any, whatever the default one is."""
    prompts, own = get_modules(model.config).prompts, copy.deepcopy(tokenizer)  # the last truncation is saved with it

    def encode(texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
        return encode_texts(model, own, texts, choose_prompt(prompts, names), MAX_LENGTH, batch_size)

    return encode


def average_sets(scores: SetScores) -> dict[str, dict[str, float]]:
    """As a record has them."""
    return {name: average_retrieval(values) for name, values in scores.items()}


def find_or_score(sets: Mapping[str, RetrievalSet], encode: Encode, fingerprint: str, cache_dir: str) -> SetScores:
    """As `score_sets`, each set once for a teacher of these weights."""
    folder = Path(cache_dir).expanduser() / "retrieval_scores"
    found: SetScores = {}
    for name, data in sets.items():
        key = hashlib.sha256(json.dumps([fingerprint, fingerprint_set(data), MAX_LENGTH]).encode())
        path = folder / f"{key.hexdigest()[:24]}.npy"
        found[name] = read_scores(path, len(data.queries))
        if found[name] is None:
            found[name] = score_sets({name: data}, encode)[name]
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.stem}.{id(found)}.npy")
            np.save(unfinished, found[name], allow_pickle=False)
            unfinished.replace(path)
    return found


def read_scores(path: Path, num_queries: int) -> np.ndarray | None:
    """None where they are not there, or damaged."""
    try:
        scores = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return scores if scores.shape == (num_queries, 2) else None


def score_teacher(teacher: Teacher, data: TaskData, arguments: RunArguments, record: RunRecord) -> SetScores:
    """Of the main process, and of one teacher that has weights: nothing without sets."""
    if not data.retrieval or teacher.model is None or not PartialState().is_main_process:
        return {}
    model, batch_size = teacher.model, arguments.training.per_device_eval_batch_size
    encode = make_encoder(model.to(arguments.training.device), teacher.tokenizer, batch_size)
    with timed(record, "retrieval"):
        return find_or_score(data.retrieval, encode, teacher.fingerprint, arguments.teacher.cache_dir)


def score_student(
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    arguments: RunArguments,
    record: RunRecord,
) -> SetScores:
    """Of the main process: nothing without sets."""
    if not data.retrieval or not PartialState().is_main_process:
        return {}
    encode = make_encoder(student, tokenizer, arguments.training.per_device_eval_batch_size)
    with timed(record, "retrieval"):
        return score_sets(data.retrieval, encode)


def arrange_scores(student: SetScores, teacher: SetScores) -> dict[str, dict[str, np.ndarray]]:
    """As predictions.npz has them."""
    models = {"student": student, "teacher": teacher}
    return {
        name: {f"{model}_scores": scores[name] for model, scores in models.items() if name in scores}
        for name in student
    }
