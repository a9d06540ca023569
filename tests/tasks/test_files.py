"""Readers: text stays as written; whatever is wrong with a file is one line that says what to do."""

import json
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
    assert read_data_file(str(path)) == RawSplit(str(path), ROWS)


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


@pytest.mark.parametrize(
    ("name", "contents", "remedy"),
    [
        (
            "rows.txt",
            "text,label\na,b\n",
            r"ends in '.txt': give a file with one of .csv, .tsv, .json, .jsonl, .parquet",
        ),
        ("rows", "text,label\na,b\n", "give a file with one of"),
        ("rows.csv", "", r"is empty \(0 bytes\): give a file with rows"),
        ("rows.csv", "\n\n", "holds blank lines only: give a file with a header"),
        ("rows.csv", "text,label\n", "has no rows: give data with at least one row"),
        ("rows.json", "[]", "has no rows"),
        ("rows.jsonl", "\n", "has no rows"),
        ("rows.csv", "text,label\nab,c,d\n", "line 2: 3 fields, the header has 2: quote each field"),
        ("rows.csv", "text,label\nab,c\nab\n", "line 3: 1 fields, the header has 2"),
        ("rows.csv", 'text,label\n"ab,c\nd,e\n', "unexpected end of data: quote each field"),
        ("rows.tsv", 'text\tlabel\n"ab" c\td\n', "line 2: .* double the quotes inside"),
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
