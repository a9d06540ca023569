"""Which columns are texts and labels."""

import math

import pytest

from layer_distillation.tasks.columns import check_texts, find_label_column, find_text_columns, parse_number
from layer_distillation.tasks.files import RawSplit


def split_of(origin: str = "train.csv", **columns: list) -> RawSplit:
    return RawSplit(origin, columns)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"sentence2": "xy", "sentence1": "xy", "idx": "12"}, ("sentence1", "sentence2")),
        ({"premise": "xy", "hypothesis": "xy", "genre": "xy"}, ("premise", "hypothesis")),
        ({"question": "xy", "sentence": "xy"}, ("question", "sentence")),
        ({"text": "xy", "title": "xy"}, ("text",)),
        ({"": "12", "tweet": "xy"}, ("tweet",)),
        ({"tweet": ["1", "x"], "number": [1, 2]}, ("tweet",)),
    ],
)
def test_text_columns_are_found(columns, expected):
    split = split_of(**{name: list(values) for name, values in columns.items()}, label=["a", "b"])
    assert find_text_columns(split, "label", None) == expected


@pytest.mark.parametrize(
    ("columns", "requested", "remedy"),
    [
        (
            ("tweet", "author"),
            None,
            r"\['tweet', 'author'\], which can be read in several ways .* by --text_columns a,b",
        ),
        (("text", "review"), None, "by --text_columns"),
        (("premise", "hypothesis", "text_a", "text_b"), None, "by --text_columns"),
        (("text",), "txet", "change the data or --text_columns. Did you mean 'text'"),
        (("text",), "text,text", "give one or two different columns"),
        (("text", "review", "title"), "text,review,title", "give one or two different columns"),
        (("text",), "text,label", "not the label column 'label'"),
    ],
)
def test_unclear_text_columns_are_refused(columns, requested, remedy):
    split = split_of(**{name: ["x", "y"] for name in columns}, label=["a", "b"])
    with pytest.raises(ValueError, match=remedy) as refusal:
        find_text_columns(split, "label", requested)
    assert "\n" not in str(refusal.value)


def test_no_text_column_is_refused():
    with pytest.raises(ValueError, match=r"no column of text \(all columns: \['number', 'label'\]\)"):
        find_text_columns(split_of(number=[1, 2], label=["a", "b"]), "label", None)


def test_text_columns_are_taken_in_the_order_requested():
    split = split_of(a=["x"], b=["y"], label=["a"])
    assert find_text_columns(split, "label", "b, a") == ("b", "a")


def test_label_column_is_found_or_named():
    assert find_label_column(split_of(label=[1], text=["x"]), None) == "label"
    assert find_label_column(split_of(labels=[1], text=["x"]), None) == "labels"
    assert find_label_column(split_of(gold=[1], label=["x"]), "gold") == "gold"


@pytest.mark.parametrize(
    ("columns", "requested", "remedy"),
    [
        (
            {"gold": [1]},
            None,
            r"neither 'label' nor 'labels' among its columns \['gold'\]: name one with --label_column",
        ),
        ({"label": [1], "labels": [2]}, None, "both 'label' and 'labels' .*: name one with --label_column"),
        ({"gold": [1]}, "glod", "--label_column. Did you mean 'gold'"),
    ],
)
def test_unclear_label_column_is_refused(columns, requested, remedy):
    with pytest.raises(ValueError, match=remedy):
        find_label_column(split_of(**columns), requested)


@pytest.mark.parametrize(
    ("values", "remedy"),
    [(["x", None], "data row 2 has no text in 'text': fill or drop it"), ([3, "x"], "data row 1 has int 3 .*text is")],
)
def test_missing_or_other_text_is_refused_with_its_row(values, remedy):
    with pytest.raises(ValueError, match=remedy):
        check_texts(split_of(text=values), ("text",))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), ("+3", 3), ("-3.50", -3.5), (".5", 0.5), ("1e3", 1000.0), ("1,5", None), ("0x1", None), (True, None)]
    + [("nan", None), ("1_000", None), ("1e999", None), (math.inf, None), (None, None), ("\u0663", None)],
)
def test_numbers_are_parsed_strictly(value, expected):
    assert parse_number(value) == expected
    assert type(parse_number(value)) is type(expected)
