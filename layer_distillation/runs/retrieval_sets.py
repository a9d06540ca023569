"""Retrieval sets of a run: what teacher and student find by their vectors.

The teacher's scores are kept under `<cache_dir>/retrieval_scores`, by its weights and what it read: a sweep makes them
once. Entry: `score_teacher_sets` while the teacher has its weights, `score_sets` of the student.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layer_distillation.embedding.encoding import encode_texts
from layer_distillation.embedding.modules import get_modules
from layer_distillation.tasks.retrieval import RetrievalSet, average_retrieval, score_retrieval

logger = logging.getLogger(__name__)

MAX_LENGTH = 256  # tokens of a query or document, less where the model takes fewer
QUERY_PROMPTS, DOCUMENT_PROMPTS = (
    ("query",),
    ("document", "passage", "corpus"),
)  # as sentence-transformers looks them up

Encode = Callable[[Sequence[str], Sequence[str]], np.ndarray]  # texts, names of prompts that may stand before them
SetScores = dict[str, np.ndarray]  # set -> (queries, metrics)


def make_encoder(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int, default_prompt: str = ""
) -> Encode:
    """Vectors as sentence-transformers' `encode_query` and `encode_document` make them."""
    prompts = get_modules(model.config).prompts

    def encode(texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
        prompt = next((prompts[name] for name in names if name in prompts), default_prompt)
        return encode_texts(model, tokenizer, texts, prompt, MAX_LENGTH, batch_size)

    return encode


def score_sets(sets: Mapping[str, RetrievalSet], encode: Encode) -> SetScores:
    """Of every query of every set its metrics."""
    return {
        name: score_retrieval(data, encode(data.queries, QUERY_PROMPTS), encode(data.documents, DOCUMENT_PROMPTS))
        for name, data in sets.items()
    }


def average_sets(scores: SetScores) -> dict[str, dict[str, float]]:
    """As a record has them."""
    return {name: average_retrieval(values) for name, values in scores.items()}


def describe_sets(sets: Mapping[str, RetrievalSet]) -> dict[str, dict[str, int | str]]:
    """What a record's task says of them."""
    return {
        name: {"queries": len(data.queries), "documents": len(data.documents), "fingerprint": fingerprint_set(data)}
        for name, data in sets.items()
    }


def fingerprint_set(data: RetrievalSet) -> str:
    parts = [data.query_ids, data.queries, data.document_ids, data.documents, data.judgements]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def score_teacher_sets(
    sets: Mapping[str, RetrievalSet], encode: Encode, fingerprint: str, cache_dir: str, default_prompt: str = ""
) -> SetScores:
    """As `score_sets`, each set once for a teacher of these weights."""
    folder = Path(cache_dir).expanduser() / "retrieval_scores"
    found: SetScores = {}
    for name, data in sets.items():
        key = hashlib.sha256(json.dumps([fingerprint, fingerprint_set(data), MAX_LENGTH, default_prompt]).encode())
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


def add_set_scores(predictions: dict[str, dict[str, np.ndarray]], student: SetScores, teacher: SetScores) -> None:
    """In place, as predictions.npz has them."""
    for name, scores in student.items():
        predictions[name] = {"student_scores": scores, "teacher_scores": teacher[name]}
