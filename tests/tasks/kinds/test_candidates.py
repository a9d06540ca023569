"""All forms of a reranker's data become queries with candidates; what is none is one line with file and row."""

from typing import Any

import numpy as np
import pytest

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.files import RawSplit
from layer_distillation.tasks.kinds.candidates import Query, read_candidates
from layer_distillation.tasks.kinds.reranking import RERANKING
from layer_distillation.tasks.kinds.table import choose_kind

GROUPS = {"query": ["q", "r"], "positive": ["yes", "right"], "negative": ["no", "wrong"]}
PAIRS = {"query": ["q", "r", "q", "r"], "passage": ["no", "right", "yes", "wrong"], "label": ["0", "1", "1", "0"]}
EXPECTED = {"q": Query(["yes", "no"], [1, 0]), "r": Query(["right", "wrong"], [1, 0])}


def make_arguments(tmp_path, **flags: Any) -> DataArguments:
    path = tmp_path / "f.jsonl"
    path.write_text('{"a": 1}\n')
    files = {"train_file": str(path), "validation_file": str(path)}
    return DataArguments(**files, **{"task_type": "reranking"} | flags)


def read(tmp_path, columns: dict[str, list], validation: dict[str, list] | None = None, **flags: Any):
    splits = {"train": RawSplit("f.jsonl", columns), "validation": RawSplit("v.jsonl", validation or columns)}
    return read_candidates(splits, make_arguments(tmp_path, **flags))


@pytest.mark.parametrize(
    "columns",
    [
        GROUPS,
        GROUPS | {"positive": [["yes"], ["right"]], "negatives": [["no"], ["wrong"]], "negative": [None, None]},
        GROUPS | {"positive": ['["yes"]', "right"], "negatives": ['["no"]', ' ["wrong"]'], "negative": ["[]", None]},
        {"anchor": ["q", "r"], "positive": ["yes", "right"], "negative_1": ["no", "wrong"]},
        PAIRS,
        {"sentence1": PAIRS["query"], "sentence2": PAIRS["passage"], "score": [0.0, 4, 4, 0]},
    ],
)
def test_every_form_is_the_same_queries(tmp_path, columns):
    assert read(tmp_path, columns)[1]["train"] == EXPECTED


def test_a_text_in_brackets_is_a_text(tmp_path):
    found = read(tmp_path, {"query": ["q"], "positive": ["[1]"], "negative": ['[see "x"]']})[1]["train"]
    assert found == {"q": Query(["[1]", '[see "x"]'], [1, 0])}


def test_the_best_is_first_where_some_candidates_have_no_score(tmp_path):
    columns = {"query": ["q"] * 4, "passage": ["a", "b", "c", "d"], "score": ["", "1", "", "2"]}
    validation = {"query": ["q"] * 2, "passage": ["a", "b"], "score": [1, 0]}
    assert read(tmp_path, columns, validation)[1]["train"]["q"].texts == ["d", "b", "a", "c"]


def test_validation_rows_without_scores_are_refused_where_training_rows_have_them(tmp_path):
    unscored = {"query": ["q", "q"], "passage": ["a", "b"], "rel": [1, 0]}
    with pytest.raises(ValueError, match=r"v.jsonl has no score in 'label', as the training rows have, .*'rel'"):
        read(tmp_path, PAIRS, unscored)
    assert np.isnan(read(tmp_path, PAIRS, unscored, label_column="none")[1]["validation"]["q"].scores).all()
    assert np.isnan(read(tmp_path, unscored, unscored)[1]["train"]["q"].scores).all()


def test_several_positives_and_rows_of_one_query_are_its_candidates(tmp_path):
    columns = {"query": ["q", "q"], "positive": [["a", "b"], ["c"]], "negatives": [["x"], ["x", "y"]]}
    assert read(tmp_path, columns)[1]["train"] == {"q": Query(["a", "b", "x", "c", "y"], [1, 1, 0, 1, 0])}


def test_grades_are_divided_by_the_largest_of_all_splits(tmp_path, caplog):
    caplog.set_level("INFO")
    train = {"query": ["q", "q"], "passage": ["a", "b"], "score": [1, 2]}
    validation = {"query": ["q", "q"], "passage": ["a", "b"], "score": [3, None]}
    with pytest.raises(ValueError, match=r"v.jsonl: 1 of 2 rows have no score"):
        read(tmp_path, train, validation)
    _, found = read(tmp_path, train, validation | {"score": [4, 0]})
    assert found["train"]["q"] == Query(["b", "a"], [0.5, 0.25])
    assert "scores reach 4" in caplog.text


def test_texts_alone_have_no_score(tmp_path):
    columns = {"query": ["q", "q"], "passage": ["a", "b"]}
    names, found = read(tmp_path, columns, columns)
    assert names == ("query", "passage")
    assert np.isnan(found["train"]["q"].scores).all()
    splits = {"train": RawSplit("f.jsonl", columns)}
    with pytest.raises(ValueError, match=r"f.jsonl has no score, and there is no teacher"):
        RERANKING.read(splits, make_arguments(tmp_path), ())
    task = RERANKING.read(splits, make_arguments(tmp_path), ("LABEL_0",))
    assert task.columns["train"]["passage"] == [["a", "b"]]


def test_label_column_none_forgets_what_is_right_in_the_training_rows_alone(tmp_path):
    for columns in (GROUPS, PAIRS):
        _, found = read(tmp_path, columns, label_column="none")
        assert np.isnan([query.scores for query in found["train"].values()]).all()
        assert found["validation"] == EXPECTED


def test_rows_with_negatives_are_told_by_their_columns(tmp_path, caplog):
    caplog.set_level("INFO")
    arguments = make_arguments(tmp_path, task_type=None)
    assert choose_kind({"train": RawSplit("f", GROUPS)}, arguments) is RERANKING
    assert "task type: reranking ('query', 'positive' and 'negative'" in caplog.text
    assert choose_kind({"train": RawSplit("f", PAIRS)}, arguments) is not RERANKING


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (GROUPS | {"positive": ["yes", None]}, "data row 2 has 0 texts in 'positive' and 1 in 'negative'"),
        (GROUPS | {"negative": [[], "wrong"]}, "data row 1 has 1 texts in 'positive' and 0 in 'negative'"),
        (GROUPS | {"negative": ["no", ["right", "x"]]}, "data row 2 has 'right' as positive and as negative"),
        (GROUPS | {"negative": ["no", ["x", " "]]}, "data row 2 has .'x', ' '. in 'negative': .* none of them empty"),
        (GROUPS | {"negative": ["no", 3]}, "data row 2 has 3 in 'negative': give a text or a list of texts"),
        (GROUPS | {"query": ["q", None]}, "data row 2 has no text in 'query'"),
        (PAIRS | {"label": ["0", "much", "1", "0"]}, "data row 2 has the score 'much': give a number from 0"),
        (PAIRS | {"label": ["0", "-3.5", "1", "0"]}, "data row 2 has the score '-3.5': .* --label_kind numbers"),
        (PAIRS | {"label": [0, float("inf"), 1, 0]}, "data row 2 has the score inf"),
        (PAIRS | {"label": [[0], 1, 1, 0]}, "data row 1 has the score .0."),
        (PAIRS | {"passage": ["no", "right", "no", "wrong"]}, "data row 3 repeats a candidate of the query 'q'"),
        (PAIRS | {"score": [0, 1, 1, 0]}, "may have its scores in 'score' or 'label': name one with --label_column"),
        ({"text": ["a", "b"], "label": [1, 0]}, "gives the text 'text' alone, and a reranker reads a query and a text"),
        (PAIRS | {"query": ["q", "r", "s", "t"]}, "v.jsonl: no query has two candidates of different scores"),
        (PAIRS | {"label": [1, 1, 1, 1]}, "no query has two candidates of different scores"),
    ],
)
def test_what_ranks_nothing_is_one_line(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, columns)
    assert "\n" not in str(error.value)


def test_flags_that_contradict_the_columns(tmp_path):
    with pytest.raises(ValueError, match=r"--label_column label: f.jsonl says by 'positive' and 'negative'"):
        read(tmp_path, GROUPS | {"label": [1, 1]}, label_column="label")
    with pytest.raises(ValueError, match="has no column 'grade'"):
        read(tmp_path, PAIRS, label_column="grade")
    with pytest.raises(ValueError, match="--metrics accuracy cannot score an order of candidates"):
        RERANKING.check_metric("accuracy", None)


def test_a_test_split_may_have_other_columns_missing(tmp_path):
    splits = {name: RawSplit(name, PAIRS) for name in ("train", "validation")}
    splits["test"] = RawSplit("t", {name: PAIRS[name] for name in ("query", "passage")})
    assert np.isnan(read_candidates(splits, make_arguments(tmp_path))[1]["test"]["q"].scores).all()
    splits["test"] = RawSplit("t", {"query": ["q"], "label": [1]})
    with pytest.raises(ValueError, match="t has no column 'passage'"):
        read_candidates(splits, make_arguments(tmp_path))
