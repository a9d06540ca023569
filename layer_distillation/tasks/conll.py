"""Reads tagged words as CoNLL files have them: a word and its tag on a line, an empty line after each sentence."""

import re
from pathlib import Path

# By how many columns a line has. Four are CoNLL-2003's own; of other numbers nothing says which one is meant.
COLUMN_NAMES = {
    1: ("tokens",),
    2: ("tokens", "tags"),
    4: ("tokens", "pos_tags", "chunk_tags", "ner_tags"),
}
BLANKS = " \t\r\n"  # other white space, as that which does not break a line, is a part of words
SEPARATOR = re.compile("[ \t]+")
DOCUMENT_START = "-DOCSTART-"  # a line of its own, no word of any sentence


def read_conll(path: Path) -> dict[str, list[list[str]]]:
    """By column a list for every sentence.

    Raises:
        ValueError: a line has other columns than the first one, or the first one some that are not known.
    """
    sentences: list[list[list[str]]] = [[]]
    width, first = 0, 0
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            cells = split_line(line)
            if not line.strip() or cells[0] == DOCUMENT_START:
                sentences += [[]] if sentences[-1] else []
                continue
            width, first = width or len(cells), first or number
            check_line(path, number, cells, width, first)
            sentences[-1].append(cells)
    whole = [sentence for sentence in sentences if sentence]
    names = COLUMN_NAMES.get(width, ())
    return {name: [[cells[index] for cells in sentence] for sentence in whole] for index, name in enumerate(names)}


def split_line(line: str) -> list[str]:
    return [cell.strip(BLANKS) for cell in line.split("\t")] if "\t" in line else SEPARATOR.split(line.strip(BLANKS))


def check_line(path: Path, number: int, cells: list[str], width: int, first: int) -> None:
    if len(cells) not in COLUMN_NAMES:
        raise ValueError(
            f"{path}, line {number} has {len(cells)} columns: keep two, a word and its tag, divided by a tab or blanks "
            "(or CoNLL-2003's four)."
        )
    if len(cells) != width or "" in cells:
        raise ValueError(
            f"{path}, line {number} has the columns {cells}, and line {first} has {width}: give every line a word and "
            "its tag, and an empty line after each sentence."
        )
