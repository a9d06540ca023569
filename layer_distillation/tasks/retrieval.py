"""Retrieval by vectors: a folder of BEIR's three files, exact search by the cosine, nDCG@10 and recall@10.

The metrics are trec_eval's, through pytrec_eval, as BEIR and MTEB have them: linear gains; documents of one score (in
float32) in the descending order of their ids.

Entry: `read_retrieval`, then `score_retrieval` of vectors.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layer_distillation.tasks.columns import parse_number, shorten
from layer_distillation.tasks.evaluation_sets import RETRIEVAL_METRICS
from layer_distillation.tasks.files import RawSplit, read_data_file

logger = logging.getLogger(__name__)

CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"
JUDGEMENTS = ("qrels.tsv", "qrels/test.tsv")
JUDGEMENT_COLUMNS = ("query-id", "corpus-id", "score")
MEASURES = {"ndcg_at_10": "ndcg_cut_10", "recall_at_10": "recall_10"}  # of trec_eval
FOUND_DOCUMENTS = 100  # that are handed to trec_eval: ties at the tenth place are decided by it, not by the search
QUERIES_AT_ONCE = 512
MAX_LENGTH = 256  # tokens of a query or document, less where the model takes fewer
# As sentence-transformers' `encode_query` and `encode_document` look them up.
QUERY_PROMPTS, DOCUMENT_PROMPTS = ("query",), ("document", "passage", "corpus")

Encode = Callable[[Sequence[str], Sequence[str]], np.ndarray]  # texts, names of prompts that may stand before them
SetScores = dict[str, np.ndarray]  # set -> (queries, metrics)


@dataclass(frozen=True)
class RetrievalSet:
    """Queries that have a relevant document, all documents, and how relevant these are: query -> document -> grade."""

    origin: str
    query_ids: list[str]
    queries: list[str]
    document_ids: list[str]
    documents: list[str]
    judgements: dict[str, dict[str, int]]


# ---- reading -----------------------------------------------------------------------------------------------------


def read_retrieval(folder: str | Path) -> RetrievalSet:
    """ValueError, one line, for whatever is wrong with the folder: a file, an id, a grade.

    A document is its title and its text, with a space between them, as BEIR reads it.
    """
    folder = Path(folder)
    judged = next((folder / name for name in JUDGEMENTS if (folder / name).is_file()), None)
    missing = [name for name in (CORPUS, QUERIES) if not (folder / name).is_file()]
    missing += [] if judged else [" or ".join(JUDGEMENTS)]
    if missing:
        raise ValueError(
            f"{folder} has no {missing[0]}: a retrieval set is a folder with BEIR's {CORPUS}, {QUERIES} and "
            f"{JUDGEMENTS[0]}"
        )
    corpus, queries = read_texts(folder / CORPUS), read_texts(folder / QUERIES)
    judgements = read_judgements(read_data_file(str(judged)), queries, corpus)
    if empty := next((query for query in judgements if not queries[query].strip()), None):
        raise ValueError(f"{folder / QUERIES}: the query {empty!r} has no text: drop its line and its judgements")
    if not judgements:
        raise ValueError(f"{judged} calls no document relevant (score above 0): nothing can be scored")
    return RetrievalSet(
        origin=str(folder),
        query_ids=list(judgements),
        queries=[queries[query] for query in judgements],
        document_ids=list(corpus),
        documents=list(corpus.values()),
        judgements=judgements,
    )


def read_texts(path: Path) -> dict[str, str]:
    """Id -> text, a title before it where there is one."""
    split = read_data_file(str(path))
    for name in ("_id", "text"):
        if name not in split.columns:
            raise ValueError(f"{path} has the columns {list(split.columns)}, and BEIR's files have {name!r}: rename it")
    titles = split.columns.get("title", [None] * len(split.columns["_id"]))
    texts: dict[str, str] = {}
    for row, (key, title, text) in enumerate(
        zip(split.columns["_id"], titles, split.columns["text"], strict=True), start=1
    ):
        where = f"{path}, data row {row}"
        if not isinstance(text, str) or not isinstance(title or "", str):
            raise ValueError(f"{where} has {shorten(title if isinstance(text, str) else text)} for a text: give text")
        if key is None or str(key) in texts:
            raise ValueError(f"{where} has the _id {shorten(key)}: give every row one of its own")
        texts[str(key)] = f"{title or ''} {text}".strip()
    return texts


def read_judgements(
    split: RawSplit, queries: Mapping[str, str], corpus: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    """Of the queries that have a relevant document, in the order of the file of queries."""
    if missing := [name for name in JUDGEMENT_COLUMNS if name not in split.columns]:
        raise ValueError(
            f"{split.origin} has the columns {list(split.columns)} and not {missing[0]!r}: its first line has to be "
            f"{' '.join(JUDGEMENT_COLUMNS)}, with tabs between"
        )
    found: dict[str, dict[str, int]] = {}
    columns = (split.columns[name] for name in JUDGEMENT_COLUMNS)
    for row, (query, document, score) in enumerate(zip(*columns, strict=True), start=1):
        where, query, document = f"{split.origin}, data row {row}", str(query), str(document)
        for key, known, file in ((query, queries, QUERIES), (document, corpus, CORPUS)):
            if key not in known:
                raise ValueError(f"{where} names {key!r}, an id that {file} does not have: correct one of the two")
        grade = parse_number(score)
        if not isinstance(grade, int):
            raise ValueError(f"{where} has the score {shorten(score)}: give a whole number, 0 for not relevant")
        if document in found.setdefault(query, {}):
            raise ValueError(f"{where} judges {document!r} for {query!r} once more: leave one of the two")
        found[query][document] = grade
    relevant = {query for query, grades in found.items() if max(grades.values()) > 0}
    if len(relevant) < len(found):
        logger.info(
            "%s: %d of %d queries have no relevant document and are left out",
            *(split.origin, len(found) - len(relevant), len(found)),
        )
    return {query: found[query] for query in queries if query in relevant}


# ---- search and scores -------------------------------------------------------------------------------------------


def score_retrieval(data: RetrievalSet, query_vectors: np.ndarray, document_vectors: np.ndarray) -> np.ndarray:
    """(queries, 2), float64: `RETRIEVAL_METRICS` of every query.

    Args:
        query_vectors, document_vectors: (queries, width) and (documents, width); any length, the cosine is what ranks.

    Raises:
        ValueError: they are not as many as the texts, or not finite.
    """
    from pytrec_eval import RelevanceEvaluator  # loads scipy, which whoever reads no folder does without

    for vectors, texts in ((query_vectors, data.queries), (document_vectors, data.documents)):
        if len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ValueError(f"{data.origin}: {len(texts)} texts need as many finite vectors, got {vectors.shape}")
    found = search(data, normalize(query_vectors), normalize(document_vectors))
    evaluator = RelevanceEvaluator(data.judgements, {"ndcg_cut.10", "recall.10"})
    scores = evaluator.evaluate(found)
    return np.array([[scores[query][MEASURES[name]] for name in RETRIEVAL_METRICS] for query in data.query_ids])


def search(data: RetrievalSet, queries: np.ndarray, documents: np.ndarray) -> dict[str, dict[str, float]]:
    """Query -> the best documents and their cosines, exactly: every query against every document. A document is never
    an answer to the query of its own id, as in BEIR."""
    count = min(FOUND_DOCUMENTS + 1, len(documents))
    found: dict[str, dict[str, float]] = {}
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        scores = queries[start : start + QUERIES_AT_ONCE] @ documents.T
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        for query, row, places in zip(data.query_ids[start : start + QUERIES_AT_ONCE], scores, best, strict=True):
            own = {data.document_ids[place]: float(row[place]) for place in places}
            own.pop(query, None)
            found[query] = own
    return found


def normalize(vectors: np.ndarray) -> np.ndarray:
    """Of length 1, in float32; a vector of zeros stays one."""
    vectors = vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def average_retrieval(scores: np.ndarray) -> dict[str, float]:
    """Means over queries of what `score_retrieval` gives."""
    return dict(zip(RETRIEVAL_METRICS, scores.mean(axis=0).tolist(), strict=True))


# ---- for a record ---------------------------------------------------------------------------------------------------


def describe_sets(sets: Mapping[str, RetrievalSet]) -> dict[str, dict[str, int | str]]:
    """What a record's task says of them."""
    return {
        name: {"queries": len(data.queries), "documents": len(data.documents), "fingerprint": fingerprint_set(data)}
        for name, data in sets.items()
    }


def score_sets(sets: Mapping[str, RetrievalSet], encode: Encode) -> SetScores:
    """Of every query of every set its metrics."""
    return {
        name: score_retrieval(data, encode(data.queries, QUERY_PROMPTS), encode(data.documents, DOCUMENT_PROMPTS))
        for name, data in sets.items()
    }


def choose_prompt(prompts: Mapping[str, str], names: Sequence[str]) -> str:
    """What stands before a text: the first of some prompts that the model has, or nothing."""
    return next((prompts[name] for name in names if name in prompts), "")


def fingerprint_set(data: RetrievalSet) -> str:
    parts = [data.query_ids, data.queries, data.document_ids, data.documents, data.judgements]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
