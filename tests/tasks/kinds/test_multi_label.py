"""Sets of labels as files have them, and scores that are scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from layer_distillation.tasks.arguments import METRIC_NAMES, TASK_TYPES, DataArguments
from layer_distillation.tasks.files import RawSplit
from layer_distillation.tasks.kinds.entry import CLOSENESS_METRICS, Truth
from layer_distillation.tasks.kinds.multi_label import MULTI_LABEL, SCORERS, is_missing, move_label
from layer_distillation.tasks.kinds.table import TASK_KINDS, choose_kind

TEXTS = ["one", "two", "three"]


def make_split(labels: list, origin: str = "train", **others: object) -> RawSplit:
    return RawSplit(origin, {"text": TEXTS[: len(labels)], "labels": labels}, **others)


def read(train: RawSplit, arguments: DataArguments | None = None, **others: RawSplit):
    return MULTI_LABEL.read({"train": train, **others}, arguments or DataArguments())


def make_columns(**columns: list) -> RawSplit:
    return RawSplit("train", {"text": TEXTS, **columns})


def choose_columns(*names: str) -> DataArguments:
    arguments = DataArguments()
    arguments.label_columns = ",".join(names)
    return arguments


def test_the_flags_name_what_the_entries_have():
    assert tuple(TASK_KINDS) == TASK_TYPES
    names = {
        name for kind in TASK_KINDS.values() for labels in (None, ["B-a", "O"]) for name in list_names(kind, labels)
    }
    # Those score rows without a gold label, unasked.
    assert names - set(CLOSENESS_METRICS.values()) == set(METRIC_NAMES)


def list_names(kind, labels):
    return kind.list_scorers(labels) if labels or kind.name == "text-classification" else []


@pytest.mark.parametrize(
    "train",
    [
        make_split([["a", "b"], [], ["b"]]),
        make_split(['["a", "b"]', "[]", '["b", "b"]']),
        make_split([[0, 1], [], [1]], element_names={"labels": ["a", "b"]}),
    ],
    ids=["lists", "JSON in a cell", "ids of named classes"],
)
def test_three_ways_to_write_lists_mean_the_same(train):
    found = read(train)
    assert (found.text_columns, found.label_names) == (("text",), ["a", "b"])
    assert found.columns["train"]["labels"] == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]


def test_columns_of_0_and_1_mean_the_same():
    train = make_columns(b=["1", "0", "1"], a=[True, False, False])
    found = read(train, choose_columns("a", "b"))
    assert (found.text_columns, found.label_names) == (("text",), ["a", "b"])
    assert found.columns["train"]["labels"] == [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]


def test_an_empty_list_is_an_answer_and_an_empty_cell_is_none():
    labels = read(make_split(['["a", "b"]', "", "[]"])).columns["train"]["labels"]
    assert [is_missing(row) for row in labels] == [False, True, False]
    with pytest.raises(ValueError, match=r"validation: 1 of 2 rows have no labels, .* write \[\] where no label is"):
        read(make_split([["a", "b"]]), validation=make_split([["a"], None], "validation"))


def test_ids_without_names_are_ordered_as_numbers():
    assert read(make_split([[10, 9], [2], []])).label_names == ["2", "9", "10"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (['["a"', '["b"]'], r"data row 1 has the labels '\[\"a\"', which are no JSON"),
        ([["a", 0.5], ["b"]], r"data row 1 has the labels \['a', 0.5\]: give a list of names or of whole numbers"),
        ([["a", " "], ["b"]], "data row 1 has a label without a name"),
        ([["a"], ["a"]], r"train has 1 labels in 'labels' \('a'\): give rows of two at least"),
        ([None, None], "train has no labelled row: fill the labels in"),
    ],
)
def test_what_is_no_list_of_labels_is_named(labels, message):
    with pytest.raises(ValueError, match=message):
        read(make_split(labels))


def test_labels_that_training_lacks_are_refused():
    with pytest.raises(ValueError, match="validation has labels that train lacks: 'c'"):
        read(make_split([["a", "b"]]), validation=make_split([["c"]], "validation"))
    with pytest.raises(ValueError, match=r"has the label 5, and the data name 2: count them from 0"):
        read(make_split([[5], [0]], element_names={"labels": ["a", "b"]}))


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ({"a": ["2", "0", "1"], "b": [0, 1, 0]}, "ab", r"data row 1 has '2' in the label column 'a': give 1 where"),
        ({"a": ["", "0", "1"], "b": [0, 1, 0]}, "ab", r"data row 1 has '' in the label column 'a'"),
        ({"a": [1, 0, 1]}, "a", "--label_columns a: name two columns at least"),
        ({"a": [1, 0, 1]}, "ac", "has no column 'c'"),
    ],
)
def test_what_is_no_mark_of_a_label_is_named(columns, names, message):
    with pytest.raises(ValueError, match=message):
        read(make_columns(**columns), choose_columns(*names))


def test_data_are_known_by_their_lists():
    assert (
        choose_kind({"train": make_split([["a"], []])}, DataArguments(train_file=None)) is not MULTI_LABEL
    )  # the built-in task
    assert MULTI_LABEL.recognise(make_split(['["a"]', ""]), DataArguments()) == "'labels' holds lists of labels"
    assert MULTI_LABEL.recognise(make_split(["a", "b"]), DataArguments()) is None
    assert MULTI_LABEL.recognise(make_columns(a=[1, 0, 0]), choose_columns("a", "b")) == "--label_columns"


def test_labels_move_to_the_teachers_places():
    assert move_label([1.0, 0.0], {0: 2, 1: 0}, 3) == [0.0, 0.0, 1.0]
    assert is_missing(move_label([float("nan")] * 2, {0: 2, 1: 0}, 3))


def draw(num_rows: int = 60, num_labels: int = 4) -> tuple[np.ndarray, Truth]:
    generator = np.random.default_rng(0)
    labels = (generator.random((num_rows, num_labels)) < [0.5, 0.2, 0.1, 0.4]).astype(np.float32)
    logits = np.round(generator.normal(size=labels.shape) + 2 * labels - 1, 1)
    return logits, Truth(labels, list("abcd"), threshold=0.4)


REFERENCES = {
    f"{average}_{name}": lambda truth, given, score=score, average=average: score(
        truth, given, average=average, zero_division=0.0
    )
    for name, score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items()
    for average in ("micro", "macro", "weighted")
}


@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_scikit_learns_also_on_resampled_rows(name):
    logits, truth = draw()
    given, ranked = (
        logits >= np.log(0.4 / 0.6),
        {"average_precision": average_precision_score, "roc_auc": roc_auc_score},
    )
    rows = np.repeat(np.arange(60), np.random.default_rng(1).integers(0, 3, 60))
    weights = np.bincount(rows, minlength=60)[None].astype(np.float32)
    scorer = SCORERS[name](MULTI_LABEL.read_answers(logits, name, truth)[None], truth)
    for sample, score in (
        (np.arange(60), MULTI_LABEL.score(logits, truth, (name,))[name]),
        (rows, scorer(weights)[0, 0]),
    ):
        true, chosen = truth.labels[sample], given[sample]
        if name in ("accuracy", "agreement"):
            expected = (true == chosen).all(axis=1).mean()
        elif name in ranked:
            expected = np.mean([ranked[name](true[:, label], logits[sample, label]) for label in range(4)])
        else:
            expected = REFERENCES[name](true, chosen)
        assert score == pytest.approx(expected, abs=1e-6)


def test_the_best_answer_that_reads_no_row_is_among_the_constants():
    logits, truth = draw()
    answers = MULTI_LABEL.read_answers(logits, "micro_f1", truth)
    constants = MULTI_LABEL.list_constants("micro_f1", answers, truth)
    assert list(constants)[:3] == ["no label", "a", "a and d"]
    assert constants["a and d"][0].tolist() == [True, False, False, True]
