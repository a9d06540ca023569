"""Readers: text stays as written; whatever is wrong with a file is one line that says what to do."""

import csv
import json
import logging
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from layer_distillation.tasks.files import RawSplit, read_data_file, read_dataset

ROWS = {"text": ["NA", "null", "None", "1", "", "nan", "  padded ", 'a "b", c'], "label": list("aabbaabb")}


def write(folder: Path, name: str, contents: str | bytes) -> str:
    path = folder / name
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return str(path)


def read_columns(folder: Path, name: str, contents: str | bytes) -> dict[str, list]:
    return read_data_file(write(folder, name, contents)).columns


@pytest.mark.parametrize(("extension", "separator"), [("csv", ","), ("tsv", "\t")])
def test_delimited_text_stays_text(tmp_path, extension, separator):
    path = tmp_path / f"rows.{extension}"
    pandas.DataFrame(ROWS).to_csv(path, sep=separator, index=False)
    assert read_data_file(str(path)) == RawSplit(str(path), ROWS, bare_columns=frozenset({"label"}))


@pytest.mark.parametrize("extension", ["json", "jsonl"])
def test_json_lines_stay_text_under_either_extension(tmp_path, extension):
    lines = "\n".join(json.dumps({"text": text, "label": label}) for text, label in zip(*ROWS.values(), strict=True))
    assert read_columns(tmp_path, f"rows.{extension}", lines + "\n\n") == ROWS


def test_json_array_reads_like_its_lines(tmp_path):
    objects = [{"text": text, "label": label} for text, label in zip(*ROWS.values(), strict=True)]
    assert read_columns(tmp_path, "rows.json", json.dumps(objects, indent=2)) == ROWS


def test_json_object_without_a_key_has_none_there(tmp_path):
    assert read_columns(tmp_path, "rows.jsonl", '{"a": "x"}\n{"b": 2}\n') == {"a": ["x", None], "b": [None, 2]}


def test_json_text_may_hold_a_unicode_line_separator(tmp_path):
    assert read_columns(tmp_path, "rows.jsonl", '{"a": "x\u2028y"}\n') == {"a": ["x\u2028y"]}


def test_parquet_stays_text_and_keeps_class_names(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["b", "a"])})
    Dataset.from_dict(ROWS, features=features).to_parquet(tmp_path / "rows.parquet")
    split = read_data_file(str(tmp_path / "rows.parquet"))
    assert split.columns == {"text": ROWS["text"], "label": [1, 1, 0, 0, 1, 1, 0, 0]}
    assert split.class_names == {"label": ["b", "a"]}


def test_parquet_of_categories_holds_their_values(tmp_path):
    table = pyarrow.table({"label": pyarrow.array(["x", None, "x"]).dictionary_encode()})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert read_data_file(str(tmp_path / "rows.parquet")).columns == {"label": ["x", None, "x"]}


def test_dataset_reads_like_a_file():
    split = read_dataset(Dataset.from_dict(ROWS), "hub, train")
    assert split == RawSplit("hub, train", ROWS)


def test_csv_byte_order_mark_quotes_and_line_ends_inside_of_a_field(tmp_path):
    contents = '\ufefftext, label\r\n"one\r\ntwo, ""three""",a\r\n\r\nit said "no" then,b\r\n'
    expected = {"text": ['one\r\ntwo, "three"', 'it said "no" then'], "label": ["a", "b"]}
    assert read_columns(tmp_path, "rows.CSV", contents) == expected


def test_json_byte_order_mark(tmp_path):
    for name, contents in (("rows.jsonl", '\ufeff{"a": "x"}'), ("rows.json", '\ufeff[{"a": "x"}]')):
        assert read_columns(tmp_path, name, contents) == {"a": ["x"]}


def test_csv_field_may_be_long(tmp_path):
    assert read_columns(tmp_path, "rows.csv", "text,label\n" + "x" * 200_000 + ",a\n")["text"] == ["x" * 200_000]


@pytest.mark.parametrize("extension", ["csv", "tsv"])
def test_a_mark_that_opens_in_one_row_and_closes_in_another_is_text_where_nothing_is_quoted(
    tmp_path, extension, caplog
):
    rows = [
        ["text", "label"],
        ['"the red ball', "a"],
        ['the blue car"', "b"],
        ['it said "no"', "a"],
        ['"x" or "y', "b"],
    ]
    delimiter = {"csv": ",", "tsv": "\t"}[extension]
    contents = "".join(delimiter.join(row) + "\n" for row in rows)
    with caplog.at_level(logging.INFO):
        columns = read_columns(tmp_path, f"rows.{extension}", contents)
    assert columns == {"text": [row[0] for row in rows[1:]], "label": list("abab")}
    assert "is written without quoting" in caplog.text


def test_two_rows_of_a_tab_separated_file_are_no_quoted_text(tmp_path):
    contents = 'text\tlabel\n"the red ball\ta\nthe blue car"\tb\n'
    expected = {"text": ['"the red ball', 'the blue car"'], "label": ["a", "b"]}
    assert read_columns(tmp_path, "rows.tsv", contents) == expected


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("extension", ["csv", "tsv"])
def test_what_a_quoting_writer_wrote_is_read_back(tmp_path, extension, quoting):
    texts = ['"all"', 'a "b"\tc', "one, two\nthree, four", "", 'ends with "', '"starts', "plain", '""', "a,b\n\nc\td"]
    path = tmp_path / f"rows.{extension}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter={"csv": ",", "tsv": "\t"}[extension], quoting=quoting)
        writer.writerows([["text", "label"], *([text, 1.5] for text in texts)])
    split = read_data_file(str(path))
    assert split.columns == {"text": texts, "label": ["1.5"] * len(texts)}
    assert split.bare_columns == (frozenset() if quoting == csv.QUOTE_ALL else {"label"})


@pytest.mark.parametrize(("name", "delimiter"), [("rows.csv", ";"), ("rows.csv", "\t"), ("rows.tsv", ",")])
def test_another_delimiter_is_taken_where_the_header_has_no_other_and_said(tmp_path, name, delimiter, caplog):
    contents = f'text{delimiter}label\n"a{delimiter} b"{delimiter}1\nc{delimiter}2\n'
    with caplog.at_level(logging.INFO):
        assert read_columns(tmp_path, name, contents) == {"text": [f"a{delimiter} b", "c"], "label": ["1", "2"]}
    assert "is delimited by" in caplog.text


@pytest.mark.parametrize(
    "contents",
    [
        {"text": ["x", "y"], "label": [1, 0]},
        {"text": {"0": "x", "1": "y"}, "label": {"0": 1, "1": 0}},
        {"data": [{"text": "x", "label": 1}, {"text": "y", "label": 0}]},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_of_columns_is_read(tmp_path, contents, indent):
    text = json.dumps(contents, indent=indent)
    assert read_columns(tmp_path, "rows.json", text) == {"text": ["x", "y"], "label": [1, 0]}


@pytest.mark.parametrize(
    ("name", "contents", "remedy"),
    [
        (
            "rows.xlsx",
            "text,label\na,b\n",
            r"ends in '.xlsx': give a file with one of .csv, .tsv, .json, .jsonl, .parquet",
        ),
        ("rows", "text,label\na,b\n", "give a file with one of"),
        ("rows.csv", "", r"is empty \(0 bytes\): give a file with rows"),
        ("rows.csv", "\n\n", "holds blank lines only: give a file with a header"),
        ("rows.csv", "text,label\n", "has no rows: give data with at least one row"),
        ("rows.json", "[]", "has no rows"),
        ("rows.jsonl", "\n", "has no rows"),
        ("rows.csv", "text,label\nab,c,d\n", "line 2: 3 fields, the header has 2: quote each field"),
        ("rows.csv", "text,label\nab,c\nab\n", "line 3: 1 fields, the header has 2"),
        ("rows.csv", '"text",label\n"ab,c\nd,e\n', "unexpected end of data: quote each field"),
        ("rows.csv", 'text,label\n"a,b" c,d\n', "line 2: .* double the quotes inside"),
        ("rows.csv", 'text,label\n"a,b\nc",d\n', "data row 1 is closed .* makes 1 rows, or .* makes 2: quote each"),
        ("rows.json", '{"text": ["a", "b"], "label": [1]}', r"'text': 2, 'label': 1} values: give each as many"),
        ("rows.json", '{"text": {"0": "a"}, "label": {"1": 1}}', "columns with other rows each: write rows as"),
        ("rows.csv", "text,text,label\na,b,c\n", r"more than one column named \['text'\]: rename or drop"),
        ("rows.jsonl", '{"a": 1, "a": 2}', r"more than one column named \['a'\]: rename or drop"),
        ("rows.jsonl", '{"a": 1}\n{"a": \n', "line 2 is not JSON .*: write one object per line, or one array"),
        ("rows.json", '[{"a": 1},', "is not JSON .*: repair it, or write one object per line"),
        ("rows.json", "[1, 2]", r"row 1 is not an object: write rows as \{column: value, ...\}"),
        ("rows.jsonl", '"text"', "row 1 is not an object"),
        ("rows.csv", "text,label\nd\xe9j\xe0 vu,a\n".encode("latin-1"), "is not UTF-8 .*: save it as UTF-8"),
        ("rows.csv", "text,label\na,b\n".encode("utf-16"), "save it as UTF-8"),
        ("rows.jsonl", '{"a": "d\xe9"}'.encode("latin-1"), "save it as UTF-8"),
        ("rows.json", '[{"a": "d\xe9"}]'.encode("latin-1"), "save it as UTF-8"),
        ("rows.parquet", "text,label\na,b\n", "cannot be read: .* repair the file or its extension"),
    ],
)
def test_unusable_file_is_refused_in_one_line(tmp_path, name, contents, remedy):
    with pytest.raises(ValueError, match=remedy) as refusal:
        read_data_file(write(tmp_path, name, contents))
    assert "\n" not in str(refusal.value)


def test_missing_file_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(ValueError, match="is not a file: check the path"):
            read_data_file(str(path))


def test_parquet_columns_of_one_name_are_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["x"]), pyarrow.array(["y"])], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="rename or drop the others"):
        read_data_file(str(tmp_path / "rows.parquet"))
