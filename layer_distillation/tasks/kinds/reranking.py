"""Reranking: how well a text answers a query, one logit for the two together, as a cross-encoder gives it.

The data's rows are queries with their candidates (`candidates.py` reads them), which become an input each, a pair; from
there on a pair is an item. Its own loss is binary cross-entropy, the teacher's the squared error of the logits. nDCG@10
is over the candidates of a query; queries are what a comparison resamples.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.kinds.candidates import UNKNOWN, find_group_columns, read_candidates, read_pairs
from layer_distillation.tasks.kinds.entry import RELEVANCE, LabelNames, ReadTask, Truth
from layer_distillation.tasks.kinds.ranking_scores import average_queries, compute_ndcg, correlate_candidates
from layer_distillation.tasks.kinds.text_classification import TEXT_CLASSIFICATION
from layer_distillation.tasks.weighted_scores import Scorer

if TYPE_CHECKING:
    from datasets import Features

    from layer_distillation.records.run_record import RunRecord
    from layer_distillation.tasks.files import RawSplit

NDCG = "ndcg_at_10"
CLOSENESS = "pearson_to_teacher"
QUERY_INDEX = "query_index"
DEFAULT_MAX_LENGTH = 256


# ---- data --------------------------------------------------------------------------------------------------------


def recognise(split: "RawSplit", arguments: DataArguments) -> str | None:
    columns = find_group_columns(split)
    if columns is None or arguments.text_columns is not None:
        return None
    return f"{columns[0]!r}, {columns[1]!r} and {columns[2][0]!r}"


def read(splits: Mapping[str, "RawSplit"], arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> ReadTask:
    """Raises ValueError where no training row has a score and nothing says that it is meant so."""
    names, found = read_candidates(splits, arguments)
    if not teacher_labels and all(is_missing(query.scores) for query in found["train"].values()):
        raise ValueError(f"{splits['train'].origin} has no score, and there is no teacher: give one of both")
    columns = {
        name: {
            names[0]: list(queries),
            names[1]: [query.texts for query in queries.values()],
            "labels": [query.scores for query in queries.values()],
        }
        for name, queries in found.items()
    }
    features: dict[str, str | list[str]] = {names[0]: "string", names[1]: ["string"], "labels": ["float32"]}
    return ReadTask(names, None, columns, features)


def read_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> dict[str, list]:
    """Of pairs without scores."""
    queries = read_pairs(split, text_columns)
    return {text_columns[0]: list(queries), text_columns[1]: [query.texts for query in queries.values()]}


def spread_rows(rows: dict[str, list], text_columns: tuple[str, str]) -> dict[str, list]:
    """A pair for each candidate in place of the queries; `query_index` says of which `example_index` it is."""
    query, text = text_columns
    counts = [len(texts) for texts in rows[text]]

    def repeat(values: Sequence[Any]) -> list:
        return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]

    return {
        query: repeat(rows[query]),
        text: [candidate for texts in rows[text] for candidate in texts],
        "labels": [score for scores in rows["labels"] for score in scores],
        QUERY_INDEX: repeat(rows["example_index"]),
    }


def describe_pairs(text_columns: tuple[str, str]) -> "Features":
    from datasets import Features, Value  # seconds that a comparison does without

    texts = {name: Value("string") for name in text_columns}
    return Features(texts | {"labels": Value("float32"), QUERY_INDEX: Value("int64")})


def is_missing(scores: float | Sequence[float]) -> bool:
    """Of a candidate, or of all candidates of a query."""
    return all(score != score for score in scores) if isinstance(scores, list) else scores != scores


def make_unlabelled(columns: Mapping[str, list], label_names: LabelNames) -> list[list[float]]:
    texts = next(values for values in columns.values() if values and isinstance(values[0], list))
    return [[UNKNOWN] * len(candidates) for candidates in texts]


# ---- scores ------------------------------------------------------------------------------------------------------


def check_metric(name: str, label_names: LabelNames) -> None:
    if name != NDCG:
        raise ValueError(f"--metrics {name} cannot score an order of candidates: it has {NDCG}; leave it out.")


def score(logits: np.ndarray, truth: Truth, metric_names: Sequence[str]) -> dict[str, float]:
    values = score_ndcg(read_answers(logits, NDCG, truth)[None], truth)
    return {NDCG: float(values(np.ones((1, truth.num_rows)))[0, 0])}


def read_answers(logits: np.ndarray, metric_name: str, truth: Truth) -> np.ndarray:
    return logits.reshape(len(logits)).astype(np.float64)


def score_ndcg(answers: np.ndarray, truth: Truth) -> Scorer:
    queries, _ = truth.place_units()
    labels = truth.labels.astype(np.float64)
    return average_queries(np.stack([compute_ndcg(own, labels, queries) for own in answers]))


def score_closeness(answers: np.ndarray, truth: Truth) -> Scorer:
    return correlate_candidates(answers, truth.labels, truth.place_units()[0])


SCORERS: dict[str, Callable[[np.ndarray, Truth], Scorer]] = {NDCG: score_ndcg, CLOSENESS: score_closeness}


# ---- what others read of a student -------------------------------------------------------------------------------


def write_call(record: "RunRecord", location: str, options: str) -> str:
    length = options.partition("max_length=")[2]
    return (
        "from sentence_transformers import CrossEncoder\n"
        f"model = CrossEncoder({json.dumps(location, ensure_ascii=False)}, max_length={length})\n"
        'print(model.rank("the query", ["a text", "another text"]))\n'
        "# a plain AutoModelForSequenceClassification too: its one logit is what is ranked by"
    )


RERANKING = replace(
    TEXT_CLASSIFICATION,
    name="reranking",
    pipeline_tag="text-ranking",
    library_name="sentence-transformers",
    card_tags=("sentence-transformers", "cross-encoder", "reranker"),
    unit="queries",
    recognise=recognise,
    read=read,
    takes_own_answers=False,
    read_texts=read_texts,
    spread_rows=spread_rows,
    describe_spread=describe_pairs,
    unit_column=QUERY_INDEX,
    is_missing=is_missing,
    make_unlabelled=make_unlabelled,
    get_outputs=lambda label_names: RELEVANCE,
    get_problem_type=lambda label_names: None,
    list_default_metrics=lambda label_names: (NDCG,),
    list_shown_beside=lambda label_names: (NDCG,),
    check_metric=check_metric,
    score=score,
    read_answers=read_answers,
    list_scorers=lambda label_names: SCORERS,
    list_constants=lambda metric_name, answers, truth: {None: np.zeros_like(answers)},
    compare_answers=lambda student, teacher, threshold: None,
    mark_right=lambda answers, truth: None,
    count_products=lambda metric_name, truth: 3,
    number_in_words="how well a text answers a query, as a number to rank by",
    write_call=write_call,
    default_max_length=DEFAULT_MAX_LENGTH,
    is_cross_encoder=True,
)
