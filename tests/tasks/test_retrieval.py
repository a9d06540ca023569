"""BEIR's three files: read, searched exactly, scored by hand and as the library does; unknown ids are named."""

import json
from pathlib import Path

import numpy as np
import pytest

from layer_distillation.tasks.retrieval import (
    average_retrieval,
    normalize,
    read_retrieval,
    score_retrieval,
)

CORPUS = [
    {"_id": "d1", "title": "A", "text": "one"},
    {"_id": "d2", "title": "", "text": "two"},
    {"_id": 3, "text": "3"},
]
QUERIES = [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "second"}, {"_id": "q3", "text": "never judged"}]
JUDGED = [("q2", "d2", "1"), ("q1", "d1", "2"), ("q1", "3", "1"), ("q1", "d2", "0")]


def write(folder: Path, corpus=CORPUS, queries=QUERIES, judged=JUDGED, header="query-id\tcorpus-id\tscore") -> Path:
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "qrels.tsv").write_text("\n".join([header, *map("\t".join, judged)]) + "\n")
    return folder


def test_the_three_files(tmp_path):
    data = read_retrieval(write(tmp_path))
    assert (data.query_ids, data.queries) == (["q1", "q2"], ["first", "second"])
    assert (data.document_ids, data.documents) == (["d1", "d2", "3"], ["A one", "two", "3"])
    assert data.judgements == {"q1": {"d1": 2, "3": 1, "d2": 0}, "q2": {"d2": 1}}
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels.tsv").rename(tmp_path / "qrels" / "test.tsv")
    assert read_retrieval(tmp_path) == data


def test_scores_by_hand(tmp_path):
    """q1 finds 3 (1), d1 (2), d2 (0); q2 finds d1, 3, d2 (1)."""
    data = read_retrieval(write(tmp_path))
    documents = np.eye(3, dtype=np.float32) * [[1], [5], [9]]  # only directions count
    scores = score_retrieval(data, np.array([[0.5, 0.1, 0.9], [0.9, 0.1, 0.5]]), documents)
    first = (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert scores == pytest.approx(np.array([[first, 1], [0.5, 1]]))
    assert average_retrieval(scores) == pytest.approx({"ndcg_at_10": (first + 0.5) / 2, "recall_at_10": 1})


def make_random(folder: Path, num_queries: int = 30, num_documents: int = 400):
    draw = np.random.default_rng(0)
    corpus = [{"_id": f"d{place}", "text": str(place)} for place in range(num_documents)]
    queries = [{"_id": f"q{place}", "text": str(place)} for place in range(num_queries)]
    judged = [
        (f"q{query}", f"d{document}", str(draw.integers(0, 3) if place else 1))
        for query in range(num_queries)
        for place, document in enumerate(draw.choice(num_documents, 14, replace=False))
    ]
    data = read_retrieval(write(folder, corpus, queries, judged))
    documents = draw.normal(size=(num_documents, 8))
    found = [int(key[1:]) for grades in data.judgements.values() for key in list(grades)[:1]]
    return data, documents[found] + draw.normal(size=(num_queries, 8)) / 4, documents


def test_random_sets_are_scored_as_pytrec_eval_scores_whole_rankings(tmp_path):
    from pytrec_eval import RelevanceEvaluator

    data, queries, documents = make_random(tmp_path)
    cosines = normalize(queries) @ normalize(documents).T
    whole = {
        query: dict(zip(data.document_ids, row.tolist(), strict=True))
        for query, row in zip(data.query_ids, cosines, strict=True)
    }
    expected = RelevanceEvaluator(data.judgements, {"ndcg_cut.10", "recall.10"}).evaluate(whole)
    found = score_retrieval(data, queries, documents)
    for query, scores in zip(data.query_ids, found, strict=True):
        assert scores == pytest.approx([expected[query]["ndcg_cut_10"], expected[query]["recall_10"]])
    assert 0.05 < found[:, 0].mean() < 0.95


def test_sentence_transformers_finds_the_same(tmp_path):
    """Grades of 0 and 1, as its evaluator knows no others."""
    reason = "sentence-transformers is not installed (requirements-dev.txt)"
    pytest.importorskip("sentence_transformers", reason=reason)
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    data, queries, documents = make_random(tmp_path)
    grades = {query: {key: min(grade, 1) for key, grade in own.items()} for query, own in data.judgements.items()}
    data.judgements.update(grades)
    relevant = {query: {key for key, grade in own.items() if grade} for query, own in grades.items()}
    evaluator = InformationRetrievalEvaluator(
        dict(zip(data.query_ids, data.queries, strict=True)),
        dict(zip(data.document_ids, data.documents, strict=True)),
        relevant,
        ndcg_at_k=[10],
        precision_recall_at_k=[10],
        show_progress_bar=False,
    )
    cosines = normalize(queries) @ normalize(documents).T
    ranked = [
        [{"corpus_id": data.document_ids[place], "score": row[place]} for place in np.argsort(-row)] for row in cosines
    ]
    expected = evaluator.compute_metrics(ranked)
    found = average_retrieval(score_retrieval(data, queries, documents))
    assert found == pytest.approx({"ndcg_at_10": expected["ndcg@k"][10], "recall_at_10": expected["recall@k"][10]})


def test_a_document_is_no_answer_to_the_query_of_its_own_id(tmp_path):
    corpus = [{"_id": "a", "text": "x"}, {"_id": "b", "text": "y"}]
    data = read_retrieval(write(tmp_path, corpus, [{"_id": "a", "text": "x"}], [("a", "b", "1")]))
    assert score_retrieval(data, np.array([[1.0, 0]]), np.array([[1.0, 0], [0, 1]])).tolist() == [[1, 1]]


def test_queries_without_a_relevant_document_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    data = read_retrieval(write(tmp_path, judged=[*JUDGED, ("q3", "d1", "0")]))
    assert data.query_ids == ["q1", "q2"]
    assert "1 of 3 queries have no relevant document and are left out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"judged": [*JUDGED, ("q9", "d1", "1")]},
            "qrels.tsv, data row 5 names 'q9', an id that queries.jsonl does not",
        ),
        ({"judged": [*JUDGED, ("q2", "d7", "1")]}, "data row 5 names 'd7', an id that corpus.jsonl does not have"),
        ({"judged": [("q1", "d1", "1.5")]}, "data row 1 has the score '1.5': give a whole number"),
        ({"judged": [("q1", "d1", "yes")]}, "has the score 'yes'"),
        ({"judged": [("q1", "d1", "1"), ("q1", "d1", "0")]}, "data row 2 judges 'd1' for 'q1' once more"),
        ({"judged": [("q1", "d1", "0")]}, "calls no document relevant"),
        ({"header": "q1\td2\t1"}, "has the columns .* and not 'query-id': its first line has to be query-id corpus-id"),
        (
            {"corpus": [*CORPUS, {"_id": "d1", "text": "x"}]},
            "corpus.jsonl, data row 4 has the _id 'd1': give every row",
        ),
        ({"corpus": [{"id": "d1", "text": "x"}]}, "corpus.jsonl has the columns .* and BEIR's files have '_id'"),
        ({"corpus": [*CORPUS, {"_id": "d9", "text": None}]}, "corpus.jsonl, data row 4 has None for a text"),
        ({"queries": [QUERIES[0], {"_id": "q2", "text": " "}]}, "the query 'q2' has no text"),
    ],
)
def test_what_is_no_retrieval_set_is_one_line(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        read_retrieval(write(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_named(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(ValueError, match=f"has no {name}.*a retrieval set is a folder"):
        read_retrieval(tmp_path)


def test_vectors_that_are_not_of_the_texts(tmp_path):
    data = read_retrieval(write(tmp_path))
    with pytest.raises(ValueError, match="3 texts need as many finite vectors"):
        score_retrieval(data, np.zeros((2, 4)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="2 texts need as many finite vectors"):
        score_retrieval(data, np.full((2, 4), np.nan), np.zeros((3, 4)))
