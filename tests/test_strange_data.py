"""Strangers' data files: each is read for exactly what it says, or refused in one line, before any training."""

import functools
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from layer_distillation.tasks.loading import load_task
from strange_inputs import Accepted, StrangeInput, check_outcome, make_flags, try_input

TRAIN = "the red ball,a\nthe blue car,b\n"
HEADER = "text,label\n"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
LARGE_CELL = "CSV with a text of 10 MB"
LONG_TEXT = "x" * 10_500_000


def write_data(
    folder: Path,
    contents: str | bytes | pyarrow.Table,
    file_name: str = "rows.csv",
    validation: str | bytes | None = None,
    **flags: object,
) -> list[str]:
    """`contents` as the training file `file_name` and, where not told otherwise, as the validation file."""
    path = folder / file_name
    write_contents(path, contents)
    other = path
    if validation is not None:
        other = folder / "validation.csv"
        write_contents(other, validation)
    return make_flags(folder, train_file=path, validation_file=other, **flags)


def write_contents(path: Path, contents: str | bytes | pyarrow.Table) -> None:
    if isinstance(contents, pyarrow.Table):
        pyarrow.parquet.write_table(contents, path)
    else:
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)


def accept(name: str, rows: list[tuple[str, ...]], contents: object, **options: object) -> StrangeInput:
    """An input whose training rows are these texts, then the label by name (a number; "" for none)."""
    return StrangeInput(
        name, functools.partial(write_data, contents=contents, **options), check=functools.partial(check_rows, rows)
    )


def check_without_gold(accepted: Accepted) -> str:
    data = load_task(accepted.arguments.data, teacher_labels=("a", "b"))
    assert data.train["labels"][:] == [-100, -100]
    return "learned from the teacher alone"


def check_rows(expected: list[tuple[object, ...]], accepted: Accepted) -> str:
    data = load_task(accepted.arguments.data)
    names = data.label_names
    labels = data.train["labels"][:]
    if names is not None:
        labels = [names[label] if label >= 0 else "" for label in labels]
    rows = list(zip(*(data.train[column][:] for column in data.text_columns), labels, strict=True))
    assert rows == expected
    assert len(accepted.run.data.train) == len(expected)
    shown = ", ".join(" / ".join(shorten(cell) for cell in row) for row in rows[:2])
    return shown if len(rows) <= 2 else f"{shown} and {len(rows) - 2} more"


def shorten(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else f"{text[:30]}... ({len(str(cell)):,} characters)"


def refuse(name: str, remedy: str, contents: object, **options: object) -> StrangeInput:
    return StrangeInput(name, functools.partial(write_data, contents=contents, **options), remedy=remedy)


A, B = ("the red ball", "a"), ("the blue car", "b")

FOLDER_INPUT = StrangeInput(
    "A folder in place of a file",
    lambda folder: make_flags(folder, train_file=folder),
    remedy="is not a file: check the path",
)
CSV_INPUTS = [
    accept("CSV with a byte order mark", [A, B], "\ufeff" + HEADER + TRAIN),
    accept("CSV with CR alone as line end", [A, B], (HEADER + TRAIN).replace("\n", "\r")),
    accept("CSV with CR LF and blank lines", [A, B], (HEADER + TRAIN).replace("\n", "\r\n\r\n")),
    accept("CSV without a last line end", [A, B], (HEADER + TRAIN).rstrip()),
    accept(
        "CSV with quotes, commas and line ends inside of fields",
        [('he said "no", then\nleft', "a"), B],
        HEADER + '"he said ""no"", then\nleft",a\nthe blue car,b\n',
    ),
    accept("CSV with NUL bytes in a text", [("the\0 red ball", "a"), B], HEADER + "the\0 red ball,a\nthe blue car,b\n"),
    accept(
        "CSV with other columns beside", [A, B], "id,text,url,label\n1,the red ball,,a\n2,the blue car,http://x,b\n"
    ),
    accept("CSV whose text column holds numbers too", [("1", "a"), ("x", "b")], HEADER + "1,a\nx,b\n"),
    accept(
        "CSV with NA, null and None as texts",
        [("NA", "a"), ("null", "b"), ("None", "a")],
        HEADER + "NA,a\nnull,b\nNone,a\n",
    ),
    accept(
        LARGE_CELL, [(LONG_TEXT, "a"), B], HEADER + LONG_TEXT + ",a\nthe blue car,b\n", validation=HEADER + "the,a\n"
    ),
    accept("CSV with an empty text", [("", "a"), B], HEADER + ",a\nthe blue car,b\n"),
    accept("CSV with a text of blanks", [("  \t ", "a"), B], HEADER + "  \t ,a\nthe blue car,b\n"),
    accept("CSV with nothing but empty texts", [("", "a"), ("", "b")], HEADER + ",a\n,b\n"),
    accept("CSV with emoji", [("👩‍👩‍👧 🏴‍☠️", "😀"), ("the", "😞")], HEADER + "👩‍👩‍👧 🏴‍☠️,😀\nthe,😞\n"),
    accept(
        "CSV with right-to-left text and direction marks",
        [("שלום \u202eabc\u202c", "نعم"), ("مرحبا", "לא")],
        HEADER + "שלום \u202eabc\u202c,نعم\nمرحبا,לא\n",  # noqa: RUF001 - it is Arabic
    ),
    accept(
        "CSV with a spreadsheet formula, markup and a path as texts and labels",
        [("=cmd|' /C calc'!A0", "<script>|`x`"), ("![x](http://x)", "../../x")],
        HEADER + "=cmd|' /C calc'!A0,<script>|`x`\n![x](http://x),../../x\n",
    ),
    accept("CSV with the same row often", [A, A, B], HEADER + "the red ball,a\n" + TRAIN),
    accept(
        "CSV with 2,000 columns",
        [A, B],
        ",".join(["text", "label", *(f"c{index}" for index in range(1998))])
        + "\n"
        + "".join(",".join([text, label, *["0"] * 1998]) + "\n" for text, label in (A, B)),
    ),
    accept("TSV named .tsv", [A, B], (HEADER + TRAIN).replace(",", "\t"), file_name="rows.tsv"),
    accept("File name with blanks, a line end and markup", [A, B], HEADER + TRAIN, file_name="a b\n<x>|`$(x).csv"),
    accept("CSV with a mark that opens and never closes", [('"the red ball', "a"), B], HEADER + '"' + TRAIN),
    accept(
        "TSV with a mark that opens in one row and closes in the next",
        [('"the red ball', "a"), ('the blue car"', "b")],
        'text\tlabel\n"the red ball\ta\nthe blue car"\tb\n',
        file_name="rows.tsv",
    ),
    refuse(
        "CSV with a mark that opens in one row and closes in the next",
        "can be read in two ways.*quote each field",
        'text,label\n"the red ball,a\nthe blue car",b\n',
    ),
    refuse(
        "CSV of quoted fields with an unbalanced quote", "double the quotes inside", '"text","label"\n"the red ball,a\n'
    ),
    refuse("CSV with a row too short", "line 3: 1 fields, the header has 2", HEADER + "the red ball,a\nthe blue car\n"),
    refuse("CSV with a row too long", "line 2: 3 fields.*quote each field", HEADER + "the red, ball,a\n"),
    refuse("CSV of a header alone", "has no rows: give data", HEADER),
    refuse("Empty CSV", r"is empty \(0 bytes\): give a file with rows", ""),
    refuse("CSV of blank lines", "blank lines only: give a file", "\n\r\n\n"),
    refuse("CSV with two columns of one name", "more than one column named.*rename", "text,text,label\nx,y,a\n"),
    refuse(
        "CSV with unnamed columns at the end", "more than one column named.*rename or drop", "text,label,,\nx,a,,\n"
    ),
    refuse("CSV without the label column", "name one with --label_column", "text,gold\nx,a\ny,b\n"),
    refuse("CSV without a text column", "by --text_columns", "id,label\n1,a\n2,b\n"),
    refuse("CSV without a header", "--label_column", TRAIN),
    accept("CSV with semicolons", [A, B], (HEADER + TRAIN).replace(",", ";")),
    refuse("CSV in latin-1", "save it as UTF-8", (HEADER + "déjà,a\nthe,b\n").encode("latin-1")),
    refuse("CSV in UTF-16", "save it as UTF-8", (HEADER + TRAIN).encode("utf-16")),
    refuse("CSV in UTF-16 without its mark", "save it as UTF-8", (HEADER + TRAIN).encode("utf-16-le")),
    refuse("A picture named .csv", "save it as UTF-8", PNG),
    refuse("An archive named .csv", "UTF-8", b"PK\x03\x04\x14\x00\x00\x00\x08\x00"),
    refuse("Zeros named .csv", "save it as UTF-8", bytes(4096)),
    FOLDER_INPUT,
    refuse("Validation of a header alone", "has no rows", HEADER + TRAIN, validation=HEADER),
    refuse("Validation without the text column", "text_columns", HEADER + TRAIN, validation="texts,label\nx,a\n"),
]

LABEL_INPUTS = [
    accept("Labels with blanks around", [A, B], HEADER + "the red ball, a \nthe blue car,b\t\n"),
    accept("Labels True and False", [("x", "True"), ("y", "False")], HEADER + "x,True\ny,False\n"),
    accept("Labels 1.0 and 0.0", [("x", "1"), ("y", "0")], HEADER + "x,1.0\ny,0.0\n"),
    accept("Labels with a fraction", [("x", 0.5), ("y", 1.0)], HEADER + "x,0.5\ny,1\n"),
    accept("Labels 007 and 7: two names", [("x", "007"), ("y", "7")], HEADER + "x,007\ny,7\n"),
    accept("Labels quoted as 1.0 and 1: two names", [("x", "1.0"), ("y", "1")], HEADER + 'x,"1.0"\ny,"1"\n'),
    accept("Labels 01 and 1 to be classes", [("x", "01"), ("y", "1")], HEADER + "x,01\ny,1\n", label_kind="classes"),
    refuse("Labels with a decimal comma", "write 0.5 for 0,5", "text;label\nx;0,5\ny;1,0\n"),
    accept("Labels that differ in case alone", [("x", "US"), ("y", "us")], HEADER + "x,US\ny,us\n"),
    accept(
        "A class seen once",
        [*[A] * 5, ("y", "rare")],
        HEADER + "the red ball,a\n" * 5 + "y,rare\n",
        validation=HEADER + "x,a\n",
    ),
    accept("A training row without a label", [A, B, ("the", "")], HEADER + TRAIN + "the,\n", validation=HEADER + TRAIN),
    accept("A label of 10,000 characters", [("x", "a" * 10_000), ("y", "b")], HEADER + f"x,{'a' * 10_000}\ny,b\n"),
    accept("A whole-number label of 40 digits", [("x", "1" * 40), ("y", "2")], HEADER + f"x,{'1' * 40}\ny,2\n"),
    refuse(
        "A class in validation that training lacks",
        "lacks: 'c'.*correct them",
        HEADER + TRAIN,
        validation=HEADER + "x,c\n",
    ),
    refuse("One class only", "give rows of two labels", HEADER + "x,a\ny,a\n"),
    StrangeInput(
        "Labels all empty", functools.partial(write_data, contents=HEADER + "x,\ny, \n"), check=check_without_gold
    ),
    refuse("A validation row without a label", "drop them or label them", HEADER + TRAIN, validation=HEADER + "x,\n"),
    refuse("Labels nan and inf as numbers", "finite numbers", HEADER + "x,inf\ny,0.5\n", label_kind="numbers"),
    refuse(
        "A label too large for a number of the model",
        "too large for float32: scale the labels down",
        HEADER + "x,1e308\ny,0.5\n",
    ),
    accept("A label of 5,000 digits is a name", [("x", "1" * 5000), ("y", "2")], HEADER + f"x,{'1' * 5000}\ny,2\n"),
    refuse(
        "A number of 400 digits to regress on",
        "write all as finite numbers",
        HEADER + f"x,{'1' * 400}\ny,2\n",
        label_kind="numbers",
    ),
    refuse(
        "Labels of whole numbers, then a fraction in validation",
        "or set --label_kind",
        HEADER + "x,0\ny,1\n",
        validation=HEADER + "x,0.5\n",
    ),
    refuse("Class names to be numbers", "--label_kind numbers", HEADER + TRAIN, label_kind="numbers"),
]


def json_lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


ROW_A, ROW_B = {"text": A[0], "label": "a"}, {"text": B[0], "label": "b"}
LINES = json_lines(ROW_A, ROW_B)

JSON_INPUTS = [
    accept("JSON array", [A, B], json.dumps([ROW_A, ROW_B], indent=1), file_name="rows.json"),
    accept("JSON lines named .json, with a byte order mark", [A, B], "\ufeff" + LINES, file_name="rows.json"),
    accept("JSON lines with blank lines", [A, B], LINES.replace("\n", "\n\n \n"), file_name="rows.jsonl"),
    accept(
        "JSON labels true and false",
        [("x", "True"), ("y", "False")],
        json_lines({"text": "x", "label": True}, {"text": "y", "label": False}),
        file_name="rows.jsonl",
    ),
    accept(
        "JSON with keys that only some rows have",
        [A, B],
        json_lines(ROW_A | {"note": "n"}, ROW_B | {"id": [1]}),
        file_name="rows.jsonl",
    ),
    accept(
        "JSON with nesting beside the columns",
        [A, B],
        json_lines(ROW_A | {"meta": {"a": [{"b": 1}]}}, ROW_B),
        file_name="rows.jsonl",
    ),
    accept(
        "JSON with escaped emoji and NUL",
        [("😀\0", "a"), B],
        json_lines(ROW_A | {"text": "😀\0"}, ROW_B),
        file_name="rows.jsonl",
    ),
    accept(
        "JSON labels 01 and 1 as strings",
        [("x", "01"), ("y", "1")],
        json_lines({"text": "x", "label": "01"}, {"text": "y", "label": "1"}),
        file_name="rows.jsonl",
    ),
    accept(
        "JSON with a null label in training",
        [A, B, ("x", "")],
        LINES + json_lines({"text": "x", "label": None}),
        file_name="rows.jsonl",
        validation=HEADER + TRAIN,
    ),
    refuse(
        "JSON with a null text",
        "data row 2 has no text.*fill or drop",
        json_lines(ROW_A, ROW_B | {"text": None}),
        file_name="rows.jsonl",
    ),
    refuse(
        "JSON with a missing text", "data row 2 has no text", json_lines(ROW_A, {"label": "b"}), file_name="rows.jsonl"
    ),
    refuse(
        "JSON with a nested text",
        "data row 1 has dict.*--text_columns",
        json_lines(ROW_A | {"text": {"a": 1}}, ROW_B),
        file_name="rows.jsonl",
        text_columns="text",
    ),
    refuse(
        "JSON with a number as a text",
        "data row 1 has int 3.*--text_columns",
        json_lines(ROW_A | {"text": 3}, ROW_B),
        file_name="rows.jsonl",
        text_columns="text",
    ),
    refuse(
        "JSON with a nested label",
        "one class or number per row",
        json_lines(ROW_A | {"label": ["a"]}, ROW_B),
        file_name="rows.jsonl",
    ),
    refuse(
        "JSON labels true and 2",
        "holds bool and int labels",
        json_lines(ROW_A | {"label": True}, ROW_B | {"label": 2}),
        file_name="rows.jsonl",
    ),
    refuse(
        "JSON lines with a broken line",
        "line 2 is not JSON.*one object per line",
        json_lines(ROW_A) + '{"text": "x", \n',
        file_name="rows.jsonl",
    ),
    refuse("JSON array cut short", "is not JSON.*repair it", json.dumps([ROW_A, ROW_B])[:-4], file_name="rows.json"),
    accept(
        "JSON object around the rows", [A, B], json.dumps({"data": [ROW_A, ROW_B]}, indent=1), file_name="rows.json"
    ),
    accept("JSON of columns", [A, B], json.dumps({"text": [A[0], B[0]], "label": ["a", "b"]}), file_name="rows.json"),
    refuse(
        "JSON of columns of two lengths",
        "give each as many",
        json.dumps({"text": [A[0], B[0]], "label": ["a"]}),
        file_name="rows.json",
    ),
    refuse("JSON array of texts", "row 1 is not an object", '["x", "y"]', file_name="rows.json"),
    refuse("JSON array of nothing", "has no rows", "[]", file_name="rows.json"),
    refuse(
        "JSON with a key twice",
        "more than one column named",
        '{"text": "x", "text": "y", "label": "a"}\n',
        file_name="rows.jsonl",
    ),
    refuse("JSON array nested 100,000 deep", "nested too deep", "[" * 100_000, file_name="rows.json"),
    refuse(
        "JSON line nested 100,000 deep",
        "line 1.*nested too deep",
        '{"text": ' + "[" * 100_000 + "\n",
        file_name="rows.jsonl",
    ),
    refuse(
        "JSON with half a surrogate pair",
        "row 1 has half of a surrogate pair in 'text'",
        '{"text": "\\ud800", "label": "a"}\n' + LINES,
        file_name="rows.jsonl",
    ),
    refuse(
        "JSON label with half a surrogate pair",
        "surrogate",
        '{"text": "x", "label": "\\ud800"}\n' + LINES,
        file_name="rows.jsonl",
    ),
    refuse(
        "JSON number of 5,000 digits",
        "write all as finite numbers",
        '{"text": "x", "label": ' + "1" * 5000 + "}\n",
        file_name="rows.jsonl",
    ),
    refuse(
        "JSON label Infinity",
        "finite numbers",
        '{"text": "x", "label": Infinity}\n{"text": "y", "label": 0.5}\n',
        file_name="rows.jsonl",
    ),
    refuse("JSON in UTF-16", "save it as UTF-8", LINES.encode("utf-16"), file_name="rows.jsonl"),
    refuse("CSV named .jsonl", "line 1 is not JSON", HEADER + TRAIN, file_name="rows.jsonl"),
]

TEXTS = pyarrow.array([A[0], B[0]])
LABELS = pyarrow.array(["a", "b"])
CLASS_SCHEMA = {
    b"huggingface": json.dumps(
        {
            "info": {
                "features": {
                    "text": {"dtype": "string", "_type": "Value"},
                    "label": {"names": ["a", "b"], "_type": "ClassLabel"},
                }
            }
        }
    ).encode()
}


def table(**columns: object) -> pyarrow.Table:
    return pyarrow.table({"text": TEXTS, "label": LABELS} | columns)


PARQUET_INPUTS = [
    accept("Parquet with categories", [A, B], table(label=LABELS.dictionary_encode()), file_name="rows.parquet"),
    accept(
        "Parquet with nested columns beside",
        [A, B],
        table(meta=pyarrow.array([{"a": [1]}, None])),
        file_name="rows.parquet",
    ),
    accept(
        "Parquet with labels 01 and 1 as strings",
        [(A[0], "01"), (B[0], "1")],
        table(label=pyarrow.array(["01", "1"])),
        file_name="rows.parquet",
    ),
    accept(
        "Parquet with labels of 8 bits",
        [(A[0], "0"), (B[0], "1")],
        table(label=pyarrow.array([0, 1], pyarrow.int8())),
        file_name="rows.parquet",
    ),
    refuse("Parquet cut short", "repair the file", b"PAR1" + bytes(100), file_name="rows.parquet"),
    refuse("Parquet without rows", "has no rows", table().slice(0, 0), file_name="rows.parquet"),
    refuse("Parquet without columns", "has no rows", table().select([]), file_name="rows.parquet"),
    refuse(
        "Parquet with bytes as texts",
        "data row 1 has bytes",
        table(text=pyarrow.array([b"x", b"y"])),
        file_name="rows.parquet",
        text_columns="text",
    ),
    refuse(
        "Parquet with times as labels",
        "holds datetime labels",
        table(label=pyarrow.array([0, 1], pyarrow.timestamp("s"))),
        file_name="rows.parquet",
    ),
    refuse(
        "Parquet with text that is not UTF-8",
        "UTF-8",
        table(text=pyarrow.array([b"\xff", b"y"]).view(pyarrow.utf8())),
        file_name="rows.parquet",
    ),
    refuse(
        "Parquet with a broken schema of datasets",
        "schema",
        table().replace_schema_metadata({b"huggingface": b"{"}),
        file_name="rows.parquet",
    ),
    refuse(
        "Parquet with a schema of datasets of another shape",
        "schema",
        table().replace_schema_metadata({b"huggingface": b'{"info": {"features": {"text": 5}}}'}),
        file_name="rows.parquet",
    ),
    refuse(
        "Parquet with a class index beyond its names",
        "data row 2.*7",
        table(label=pyarrow.array([0, 7])).replace_schema_metadata(CLASS_SCHEMA),
        file_name="rows.parquet",
    ),
]

DATA_INPUTS = [*CSV_INPUTS, *LABEL_INPUTS, *JSON_INPUTS, *PARQUET_INPUTS]


def mark_slow(case: StrangeInput) -> object:
    """The tokenizers library takes seconds for 10 MB."""
    return pytest.param(case, marks=[pytest.mark.slow] if case.name == LARGE_CELL else [], id=case.name)


@pytest.mark.parametrize("case", map(mark_slow, DATA_INPUTS))
def test_strange_data_are_read_as_they_stand_or_refused_in_one_line(case, tmp_path):
    check_outcome(case, try_input(case.write(tmp_path)))
