"""Foreign text in Markdown and on a terminal: names come from users and files, and may open nothing there.

Entry: `escape_markdown`, `clean_text`, `format_table`, `fence_code`, `code_span`.
"""

import re
from collections.abc import Sequence

# Brackets only where they could be a link, a definition or a check box: intervals have them too.
MARKDOWN_SYNTAX = re.compile(r"[\\`*|~#]|(?<!\w)_|_(?!\w)|^\[|\](?=[(\[:])")
HTML_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape_markdown(text: str) -> str:
    """Nothing in it opens a cell, a tag, a link or a line."""
    escaped = MARKDOWN_SYNTAX.sub(lambda match: f"\\{match.group()}", clean_text(text))
    return "".join(HTML_ENTITIES.get(character, character) for character in escaped)


def clean_text(text: str) -> str:
    """One line without control characters, which could steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every cell is escaped."""
    lines = [f"| {' | '.join(map(escape_markdown, cells))} |" for cells in [header, *rows]]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def fence_code(code: str, language: str = "") -> str:
    """A code block that no backticks inside it can end; of control characters it keeps the ends of lines."""
    shown = "".join(character if character.isprintable() or character == "\n" else "?" for character in code)
    marks = "`" * max(3, count_backticks(shown) + 1)
    return f"{marks}{language}\n{shown}\n{marks}"


def code_span(text: str) -> str:
    """The text as it is, on one line, in code type; for prose, as a bar inside a table would still end its cell."""
    shown = clean_text(text)
    marks = "`" * (count_backticks(shown) + 1)
    return f"{marks} {shown} {marks}" if "`" in shown else f"{marks}{shown}{marks}"


def count_backticks(text: str) -> int:
    """Of the longest run of them."""
    return max(map(len, re.findall("`+", text)), default=0)
