"""Reads CSV and TSV into rows of text, and decides per file by what it is delimited, and whether quotation marks quote.

A file is quoted where a mark is markup: around a field that holds a delimiter or a line end, doubled inside. GLUE's own
TSV are not: there a mark is a character of the text, and one at the start of a row and one at the end of another are
no pair. Both readings are made; the file is the one that fits, and a file that fits both ways is refused.

Entry: `read_delimited`.
"""

import csv
import io
import logging
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

MAX_FIELD_CHARACTERS = 2**31 - 1
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
QUOTE = '"'
WELL_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
REMEDY = "quote each field that holds a delimiter, a quote or a line end, and double the quotes inside"

Rows = list[list[str]]


class DelimitedText(NamedTuple):
    """Rows, the header first, all of one length; the columns, by index, in which a value was quoted."""

    rows: Rows
    quoted_columns: frozenset[int]


class NotDelimited(ValueError):
    """The text is none, read in one of the two ways."""


def read_delimited(path: Path, delimiter: str) -> DelimitedText:
    """Every value is a string; blank lines are skipped.

    Args:
        delimiter: the one that the file's extension says; another is taken where the header has only that.

    Raises:
        ValueError: the file fits no reading, or both a quoted and an unquoted one.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        text = file.read()
    delimiter = choose_delimiter(path, text, delimiter)
    if QUOTE not in text:
        return DelimitedText(parse_rows(path, text, delimiter), frozenset())
    try:
        plain = parse_rows(path, text, delimiter, is_quoted=False)
    except NotDelimited:  # a mark holds a delimiter or a line end, so that the file is quoted, well or badly
        return read_quoted(path, text, delimiter)
    if is_quoted_style(plain) or not has_stray_quotes(plain) or fits_quoted(path, text, delimiter, plain):
        return read_quoted(path, text, delimiter)
    if any(cell.startswith(QUOTE) for row in plain for cell in row):
        logger.info("%s is written without quoting: a quotation mark in it is a character of a text", path)
    return DelimitedText(plain, frozenset())


def read_quoted(path: Path, text: str, delimiter: str) -> DelimitedText:
    return DelimitedText(parse_rows(path, text, delimiter), find_quoted_columns(text, delimiter))


def choose_delimiter(path: Path, text: str, expected: str) -> str:
    """The expected one, unless the header lacks it and has exactly one of the others."""
    header = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    found = [other for other in DELIMITERS if other in header]
    if expected in found or len(found) != 1:
        return expected
    logger.warning("%s is delimited by %s, not by %s: read so", path, DELIMITERS[found[0]], DELIMITERS[expected])
    return found[0]


def parse_rows(path: Path, text: str, delimiter: str, is_quoted: bool = True) -> Rows:
    """Raises NotDelimited where rows differ in length or quotes do not close, ValueError without any row."""
    # Otherwise a long document is an error: the default limit is 131,072 characters.
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    quoting = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    rows: Rows = []
    try:
        for row in filter(None, reader):
            if not rows and any("\0" in name for name in row):
                raise ValueError(f"{path} has NUL bytes in its header, so it is no UTF-8 text: save it as UTF-8.")
            if rows and len(row) != len(rows[0]):
                raise csv.Error(f"{len(row)} fields, the header has {len(rows[0])}")
            rows.append(row)
    except csv.Error as error:
        raise NotDelimited(f"{path}, line {reader.line_num}: {error}: {REMEDY}.") from error
    if not rows:
        raise ValueError(f"{path} holds blank lines only: give a file with a header and rows.")
    return rows


def is_quoted_style(plain: Rows) -> bool:
    """Whether a writer quoted names of columns, or more than half of a column, as one does that quotes all text."""
    if any(is_well_quoted(name) for name in plain[0]):
        return True
    quoted = Counter(column for row in plain[1:] for column, cell in enumerate(row) if is_well_quoted(cell))
    return any(2 * count > len(plain) - 1 for count in quoted.values())


def has_stray_quotes(plain: Rows) -> bool:
    """Whether a field holds a mark and is not quoted as a whole, which no quoting writer leaves so."""
    return any(QUOTE in cell and not is_well_quoted(cell) for row in plain for cell in row)


def is_well_quoted(cell: str) -> bool:
    return cell.startswith(QUOTE) and WELL_QUOTED.fullmatch(cell) is not None


def fits_quoted(path: Path, text: str, delimiter: str, plain: Rows) -> bool:
    """Whether a file with stray marks is a quoted one nevertheless, as other readers of CSV take it.

    Raises:
        ValueError: marks of a CSV would join rows of which each is one by itself, and none is doubled inside. In a TSV
            they are text: as many tabs in each line of a text as the file has columns are an accident.
    """
    try:
        quoted = parse_rows(path, text, delimiter)
    except NotDelimited:
        return False
    if len(quoted) == len(plain):
        return delimiter != "\t"
    joined = [cell for row in quoted for cell in row if "\n" in cell or "\r" in cell]
    if all(QUOTE in cell for cell in joined):  # it was doubled
        return True
    if delimiter == "\t":
        return False
    row = next(number for number, cells in enumerate(quoted) if cells != plain[number])
    raise ValueError(
        f"{path} can be read in two ways: the quotation mark in data row {row} is closed in a later row, which makes "
        f"{len(quoted) - 1} rows, or it is text, which makes {len(plain) - 1}: {REMEDY}, or save it as JSON lines."
    )


def find_quoted_columns(text: str, delimiter: str) -> frozenset[int]:
    """The columns in which a value below the header begins with a mark; the text fits a quoted reading."""
    other = re.escape(delimiter)
    bare = rf'[^{other}\r\n"][^{other}\r\n]*'
    field = re.compile(rf"({WELL_QUOTED.pattern}|{bare}|)(\r\n|\r|\n|{other}|\Z)")
    columns, column, is_header = set(), 0, True
    for match in field.finditer(text):
        value, end = match.groups()
        if value.startswith(QUOTE) and not is_header:
            columns.add(column)
        if end == delimiter:
            column += 1
        else:
            is_header = is_header and not (value or column)  # blank lines before it are no header
            column = 0
    return frozenset(columns)
