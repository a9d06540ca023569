"""Which columns are texts and labels, and of what kind the labels are."""

import math

import pytest

from layer_distillation.tasks.columns import (
    IGNORED_LABEL,
    check_texts,
    encode_labels,
    find_label_column,
    find_text_columns,
    parse_number,
)
from layer_distillation.tasks.files import RawSplit


def split_of(origin: str = "train.csv", class_names: list[str] | None = None, **columns: list) -> RawSplit:
    return RawSplit(origin, columns, {"label": class_names} if class_names else {})


def encode(train: list, validation: list, test: list | None = None, kind: str | None = None):
    splits = {"train": split_of(label=train), "validation": split_of("validation.csv", label=validation)}
    if test is not None:
        splits["test"] = split_of("test.csv", label=test)
    names, labels = encode_labels(splits, "label", kind)
    return names, *labels.values()


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
    ("train", "names", "indices"),
    [
        (["b ", "a", " b"], ["a", "b"], [1, 0, 1]),
        ([0, 2, 1], ["0", "1", "2"], [0, 2, 1]),
        (["10", "9", "-1"], ["-1", "9", "10"], [2, 1, 0]),
        ([True, False, True], ["False", "True"], [1, 0, 1]),
        (["1.0", "0.0", "1.0"], ["0", "1"], [1, 0, 1]),
        ([1.0, 0.0, 1.0], ["0", "1"], [1, 0, 1]),
        (["nan", "inf", "1_0"], ["1_0", "inf", "nan"], [2, 1, 0]),
        (["NA", "null", "1"], ["1", "NA", "null"], [1, 2, 0]),
    ],
)
def test_labels_become_class_indices(train, names, indices):
    assert encode(train, train) == (names, indices, indices)


def test_labels_with_a_fraction_are_regression_targets():
    assert encode(["0.5", "2", "5.0"], ["1", "2", "3"]) == (None, [0.5, 2.0, 5.0], [1.0, 2.0, 3.0])
    # A fraction in any split is enough where train is written as floats.
    assert encode([1.0, 2.0], [1.5, 2.0]) == (None, [1.0, 2.0], [1.5, 2.0])


def test_many_different_whole_floats_are_regression_targets():
    assert encode([float(number) for number in range(20)], [1.0])[0] == [str(number) for number in range(20)]
    assert encode([float(number) for number in range(21)], [1.0])[0] is None


def test_label_kind_overrides_the_decision():
    assert encode(["1", "5"], ["2"], kind="numbers") == (None, [1.0, 5.0], [2.0])
    whole_floats = [float(number) for number in range(21)]
    assert encode(whole_floats, [1.0], kind="classes")[0] == [str(number) for number in range(21)]


def test_class_label_keeps_the_order_of_its_names():
    named = split_of(class_names=["yes", "no", "never"], label=[1, 0, -1, None])
    splits = {"train": named, "validation": split_of(label=["no", "yes"])}
    names, labels = encode_labels(splits, "label", None)
    assert names == ["yes", "no", "never"]
    assert labels == {"train": [1, 0, -100, -100], "validation": [1, 0]}


def test_class_label_of_numerals_keeps_its_order_too():
    splits = {name: split_of(class_names=["1", "0"], label=[0, 1]) for name in ("train", "validation")}
    assert encode_labels(splits, "label", None) == (["1", "0"], {"train": [0, 1], "validation": [0, 1]})


@pytest.mark.parametrize("missing", [None, "", "  ", math.nan, -100, -100.0, "-100", "-100.0"])
def test_training_rows_may_lack_a_label(missing):
    assert encode(["b", missing, "a"], ["a"]) == (["a", "b"], [1, IGNORED_LABEL, 0], [0])
    _, targets, _ = encode([0.5, missing, 1.0], [1.0])
    assert targets[0] == 0.5
    assert math.isnan(targets[1])
    assert targets[2] == 1.0


def test_minus_one_is_a_class_in_training_and_no_label_throughout_a_test_split():
    names, train, validation, test = encode([-1, 1, -1], [1, -1], [-1, -1])
    assert (names, train, validation, test) == (["-1", "1"], [0, 1, 0], [1, 0], [-100, -100])
    assert encode([-1, 1], [1], [-1, 1])[-1] == [0, 1]
    assert all(map(math.isnan, encode([0.5, 1.0], [1.0], [-1.0, -1.0])[-1]))


def test_test_split_may_lack_the_label_column():
    splits = {name: split_of(label=["a", "b"], text=["x", "y"]) for name in ("train", "validation")}
    _, labels = encode_labels({**splits, "test": split_of(text=["x", "y", "z"])}, "label", None)
    assert labels["test"] == [-100] * 3


@pytest.mark.parametrize(
    ("train", "validation", "kind", "remedy"),
    [
        (["a", "b"], ["a", ""], None, "1 of 2 rows have no label in 'label', the first is data row 2: .* label them"),
        (["a", "a", ""], ["a"], None, "the single label 'a': .* give rows of two labels"),
        ([1.5, 1.5], [1.5], None, "give rows of two labels"),
        (["", None], ["a"], None, "has no labelled row: fill 'label' in, or change --label_column"),
        (["a", "b"], ["c", "d", "a"], None, r"lacks: 'c', 'd' \(known: 'a', 'b'\): correct them"),
        ([0, 1], [2], None, r"lacks: 2 \(known: 0, 1\)"),
        (list("abcdefgh"), ["z"], None, "'e' and 3 more"),
        (
            [0, 1],
            ["x"],
            None,
            "data row 1 has the label 'x', but the labels of train.csv are whole numbers: write both",
        ),
        (["0", "1"], ["0.5"], None, "the label '0.5', but .* whole numbers"),
        (["a", "b"], [1], None, "the label 1, but .* class names"),
        ([True, False], ["True"], None, "the label 'True', but .* booleans"),
        ([0.5, 1.5], ["x"], None, "the label 'x', but .* are numbers"),
        ([1, "a"], ["a"], None, "holds int and str labels .*: write all as"),
        ([1, "2"], [1], None, "mixes strings and numbers"),
        ([True, 2], [2], None, "holds bool and int labels"),
        ([0.5, math.inf], [0.5], None, "write all as finite numbers"),
        (["a", "b"], ["a"], "numbers", "without --label_kind numbers"),
        (["0.5", "1"], ["1"], "classes", "or set --label_kind"),
        ([["a"], ["b"]], [["a"]], None, r"A label is \['a'\]: one class or number per row .* change --label_column"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_one_line(train, validation, kind, remedy):
    with pytest.raises(ValueError, match=remedy) as refusal:
        encode(train, validation, kind=kind)
    assert "\n" not in str(refusal.value)


def test_training_and_validation_need_the_label_column():
    with pytest.raises(ValueError, match=r"validation.csv has no column 'label'.* --label_column"):
        encode_labels({"train": split_of(label=[0, 1]), "validation": split_of("validation.csv", x=[1])}, "label", None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), ("+3", 3), ("-3.50", -3.5), (".5", 0.5), ("1e3", 1000.0), ("1,5", None), ("0x1", None), (True, None)]
    + [("nan", None), ("1_000", None), ("1e999", None), (math.inf, None), (None, None), ("\u0663", None)],
)
def test_numbers_are_parsed_strictly(value, expected):
    assert parse_number(value) == expected
    assert type(parse_number(value)) is type(expected)
