"""Of what kind labels are, and which index or number each becomes."""

import math

import pytest

from layer_distillation.tasks.files import RawSplit
from layer_distillation.tasks.labels import IGNORED_LABEL, encode_labels


def split_of(
    origin: str = "train.csv", class_names: list[str] | None = None, is_bare: bool = True, **columns: list
) -> RawSplit:
    """As a CSV without quotes has it, or, not bare, a CSV with quotes, JSON, Parquet or a data set."""
    names = {"label": class_names} if class_names else {}
    return RawSplit(origin, columns, names, frozenset(columns) if is_bare else frozenset())


def encode(train: list, validation: list, test: list | None = None, kind: str | None = None, is_bare: bool = True):
    splits = {
        "train": split_of(is_bare=is_bare, label=train),
        "validation": split_of("validation.csv", is_bare=is_bare, label=validation),
    }
    if test is not None:
        splits["test"] = split_of("test.csv", is_bare=is_bare, label=test)
    names, labels = encode_labels(splits, "label", kind)
    return names, *labels.values()


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
        ([0.5, 1], [1], "classes", "which name no classes: write them as text"),
        (["0,5", "1,25", "2"], ["2"], None, "numbers with a comma .*: write 0.5 for 0,5"),
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


@pytest.mark.parametrize("is_bare", [True, False])
@pytest.mark.parametrize("codes", [["01", "1", "10"], ["007", "7", "a"], ["-01", "-1", "1"], ["00", "0", "000"]])
def test_text_that_starts_with_a_zero_is_a_name(codes, is_bare):
    assert encode(codes, codes, is_bare=is_bare)[0] == sorted(codes)


def test_a_code_in_one_split_makes_names_of_all_labels():
    with pytest.raises(ValueError, match="lacks: '01'"):
        encode(["1", "2"], ["01"])
    assert encode(["1", "01"], ["1", "01"], ["01"]) == (["01", "1"], [1, 0], [1, 0], [0])


@pytest.mark.parametrize("labels", [["1.0", "1", "2"], ["0.5", "1.5", "2"], ["+1", "1", "-1"], ["1e3", "1000", "1"]])
def test_quoted_text_is_a_name_and_no_number(labels):
    assert encode(labels, labels, is_bare=False)[0] == sorted(labels)
    assert encode(labels, labels, kind="classes")[0] == sorted(labels)
    assert encode(labels, labels, kind="numbers", is_bare=False)[0] is None


@pytest.mark.parametrize("kind", [None, "classes"])
def test_plain_whole_numbers_keep_their_order_quoted_or_not(kind):
    for is_bare in (True, False):
        assert encode(["10", "9", "-1"], ["9"], kind=kind, is_bare=is_bare)[0] == ["-1", "9", "10"]


def test_one_file_may_quote_whole_numbers_and_another_not():
    splits = {"train": split_of(label=[0, 1]), "validation": split_of("v.jsonl", is_bare=False, label=["1", "0"])}
    assert encode_labels(splits, "label", None) == (["0", "1"], {"train": [0, 1], "validation": [1, 0]})
