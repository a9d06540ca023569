"""Reads one split of data into plain columns: from a CSV, TSV, JSON, JSON lines, Parquet, CoNLL or text file, or a
`Dataset`.

Text stays as it is written: "NA", "null", "None" and "1" are text, where pandas and `load_dataset` make them missing
values or numbers. What the labels are is decided later, in `labels`.

Entry: `read_data_file`, `read_dataset`.
"""

import gzip
import json
import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import ClassLabel, Dataset, Features, LargeList, List

from layer_distillation.tasks.conll import read_conll
from layer_distillation.tasks.delimited import read_delimited
from layer_distillation.tasks.file_checks import check_data_file, find_ending

logger = logging.getLogger(__name__)

MAX_INT_DIGITS = 4300
HUGGINGFACE_SCHEMA_KEY = b"huggingface"


@dataclass(frozen=True)
class RawSplit:
    """One split as it was read: `origin` names it in messages, each column is a list with a value per row.

    `class_names` holds the names, by index, of the columns that are a ClassLabel in the data's own schema. A string in
    `bare_columns`, those that a CSV or TSV does not quote, may be a number; any other string is meant as one.
    """

    origin: str
    columns: dict[str, list]
    class_names: dict[str, list[str]] = field(default_factory=dict)
    bare_columns: frozenset[str] = frozenset()
    element_names: dict[str, list[str]] = field(default_factory=dict)  # the same of columns of lists of a ClassLabel


def read_data_file(path: str) -> RawSplit:
    """ValueError, one line, for whatever is wrong with the file; the library's own error stays as its cause."""
    check_data_file("Data file", path)
    try:
        split = READERS[find_ending(path)](Path(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8.") from error
    except (json.JSONDecodeError, pyarrow.ArrowException, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}: repair the file or its extension.") from error
    return check_rows(split)


def read_dataset(dataset: Dataset, origin: str) -> RawSplit:
    """Of CSV files, which `datasets` read, nobody knows any more what was quoted."""
    bare = frozenset(dataset.column_names if dataset.info.builder_name == "csv" else ())
    features = dataset.features
    names = list_class_names(features), bare, list_element_names(features)
    return check_rows(RawSplit(origin, dataset.to_dict(), *names))


def read_csv(path: Path) -> RawSplit:
    return arrange_delimited(path, ",")


def read_tsv(path: Path) -> RawSplit:
    return arrange_delimited(path, "\t")


def arrange_delimited(path: Path, delimiter: str) -> RawSplit:
    (header, *rows), quoted = read_delimited(path, delimiter)
    names = check_distinct([name.strip() for name in header], str(path))
    bare = frozenset(name for index, name in enumerate(names) if index not in quoted)
    return RawSplit(str(path), {name: [row[index] for row in rows] for index, name in enumerate(names)}, {}, bare)


def read_json(path: Path) -> RawSplit:
    """One array of objects; an object of columns; or JSON lines under the wrong extension, which is common."""
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        return arrange_objects(parse_json(text, str(path), "repair it, or write one object per line"), str(path))
    columns = parse_single_object(text)
    return read_json_lines(path) if columns is None else arrange_columns(columns, path)


def parse_single_object(text: str) -> dict[str, Any] | None:
    """The object that the whole text is, None where it is something else: lines of objects, say."""
    try:
        parsed = json.loads(text, object_pairs_hook=build_object, parse_int=read_whole_number)
    except (json.JSONDecodeError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def arrange_columns(columns: dict[str, Any], path: Path) -> RawSplit:
    """{"text": [...], "label": [...]}; pandas' own {"text": {"0": ...}, ...}; {"data": [rows]}; or a single row."""
    values = list(columns.values())
    if len(values) == 1 and isinstance(values[0], list) and all(isinstance(row, dict) for row in values[0]):
        return arrange_objects(values[0], str(path))
    if values and all(isinstance(column, dict) for column in values):
        if any(column.keys() != values[0].keys() for column in values):
            raise ValueError(f"{path} holds columns with other rows each: write rows as {{column: value, ...}}.")
        columns = {name: [column[row] for row in values[0]] for name, column in columns.items()}
    elif not all(isinstance(column, list) for column in values):
        return arrange_objects([columns], str(path))
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path} holds columns of {lengths} values: give each as many, or write one object per line.")
    return arrange_objects(
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], str(path)
    )


def read_json_lines(path: Path) -> RawSplit:
    # A file is split at line ends alone; str.splitlines would also cut at U+2028 inside of a text.
    objects = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                objects.append(parse_json(line, f"{path}, line {number}", "write one object per line, or one array"))
    return arrange_objects(objects, str(path))


def parse_json(text: str, origin: str, remedy: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=build_object, parse_int=read_whole_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"{origin} is not JSON ({error.msg}): {remedy}.") from error
    except RecursionError as error:
        raise ValueError(f"{origin} is nested too deep: write rows as {{column: value, ...}}.") from error


def read_parquet(path: Path) -> RawSplit:
    # Before read_table, which refuses repeated names in words that do not help.
    check_distinct(pyarrow.parquet.read_schema(path).names, str(path))
    table = pyarrow.parquet.read_table(path)
    features = read_features(table.schema, str(path))
    names = {"class_names": list_class_names(features), "element_names": list_element_names(features)}
    return RawSplit(str(path), table.to_pydict(), **names)


def read_features(schema: pyarrow.Schema, origin: str) -> Features:
    """Those that `datasets` wrote beside the columns, as JSON; that anyone may have written too."""
    if HUGGINGFACE_SCHEMA_KEY not in (schema.metadata or {}):
        return Features()
    try:
        return Features.from_arrow_schema(schema)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{origin} has a schema of `datasets` that cannot be read ({first_line(error)}): write the file again, "
            "without that metadata."
        ) from error


def read_tagged_words(path: Path) -> RawSplit:
    return RawSplit(str(path), read_conll(path))


def read_text_lines(path: Path) -> RawSplit:
    """A text on every line, the file packed by gzip or not; blank lines are none. Cut at line ends alone, as above."""
    open_file = gzip.open if path.suffix.lower() == ".gz" else open
    with open_file(path, "rt", encoding="utf-8-sig", newline="\n") as file:
        lines = [line.rstrip("\r\n") for line in file]
    texts = [line for line in lines if line.strip()]
    if len(texts) < len(lines):
        logger.info("%s: %d of %d lines are blank, and left out", path, len(lines) - len(texts), len(lines))
    return RawSplit(str(path), {"text": texts})


READERS: dict[str, Callable[[Path], RawSplit]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".parquet": read_parquet,
    **dict.fromkeys((".conll", ".bio", ".iob", ".iob2"), read_tagged_words),
    **dict.fromkeys((".txt", ".txt.gz"), read_text_lines),
}


def arrange_objects(objects: list[Any], origin: str) -> RawSplit:
    """One list per key, in order of first appearance; None where an object lacks the key."""
    for number, row in enumerate(objects, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"{origin}, row {number} is not an object: write rows as {{column: value, ...}}.")
        check_encodable(row, f"{origin}, row {number}")
    names = dict.fromkeys(name for row in objects for name in row)
    return RawSplit(origin, {name: [row.get(name) for row in objects] for name in names})


def check_encodable(row: dict[str, Any], origin: str) -> None:
    """JSON can escape half of a surrogate pair, which is no character: neither tokenizer nor file takes it."""
    for name, value in row.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
        try:
            f"{name}{text if isinstance(text, str) else ''}".encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{origin} has half of a surrogate pair in {name!r}: write the whole character, or drop it."
            ) from error


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_distinct([name for name, _ in pairs], "a JSON object")
    return dict(pairs)


def read_whole_number(digits: str) -> int | float:
    """Infinite, as JSON's 1e999 is, where it has more digits than Python reads."""
    return int(digits) if len(digits) <= MAX_INT_DIGITS else float(digits)


def check_distinct(names: list[str], origin: str) -> list[str]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{origin} has more than one column named {repeated}: rename or drop the others.")
    return names


def check_rows(split: RawSplit) -> RawSplit:
    if not any(split.columns.values()):
        raise ValueError(f"{split.origin} has no rows: give data with at least one row below its header.")
    return split


def list_class_names(features: Features) -> dict[str, list[str]]:
    return {name: feature.names for name, feature in features.items() if isinstance(feature, ClassLabel)}


def list_element_names(features: Features) -> dict[str, list[str]]:
    lists = {name: feature.feature for name, feature in features.items() if isinstance(feature, List | LargeList)}
    return {name: feature.names for name, feature in lists.items() if isinstance(feature, ClassLabel)}


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
