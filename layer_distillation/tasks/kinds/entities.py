"""Entities in sequences of tags, as seqeval 1.2.2 finds them: in its default and in its strict mode. Pure functions.

seqeval itself is kept by nobody and installs from a source of 2020; tests hold these against it on random sequences.
"""

from collections.abc import Callable, Sequence

import numpy as np

OUTSIDE = "O"
# Of which prefixes tags are made, beside O; BILOU is IOBES by other letters.
SCHEMES = {"IOB2": frozenset("BI"), "IOBES": frozenset("BIES"), "BILOU": frozenset("BILU")}
AS_IOBES = {"L": "E", "U": "S"}

Span = tuple[str, int, int]  # type, first and last position


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type: B-person -> B, person; a prefix alone has the type `_`."""
    return AS_IOBES.get(tag[0], tag[0]), tag[1:].split("-", maxsplit=1)[-1] or "_"


def is_entity_tag(tag: str) -> bool:
    return tag == OUTSIDE or (tag[:1] in frozenset("BIESLU") and tag[1:2] in ("-", ""))


def find_scheme(tags: Sequence[str]) -> str | None:
    """The name of the scheme that tags are written in; None where that is none of them, or cannot be told: of I- and O
    alone, or of names without a prefix."""
    if not all(map(is_entity_tag, tags)):
        return None
    prefixes = {tag[0] for tag in tags if tag != OUTSIDE}
    if not prefixes & frozenset("BSU"):
        return None
    return next((name for name, allowed in SCHEMES.items() if prefixes <= allowed), None)


def list_types(tags: Sequence[str]) -> list[str]:
    return sorted({split_tag(tag)[1] for tag in tags if tag != OUTSIDE})


def find_entities(tags: Sequence[str]) -> list[Span]:
    """As conlleval: whatever does not go on with an entity begins one, also an I- after O or of another type."""
    spans, begin = [], 0
    last_prefix, last_type = OUTSIDE, ""
    for position, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = split_tag(tag)
        is_other = last_type != kind
        if last_prefix in "ES" or (last_prefix in "BI" and prefix in "BSO") or (last_prefix != OUTSIDE and is_other):
            spans.append((last_type, begin, position - 1))
        if prefix in "BS" or (last_prefix in "ESO" and prefix in "EI") or (prefix != OUTSIDE and is_other):
            begin = position
        last_prefix, last_type = prefix, kind
    return spans


def find_strict_entities(tags: Sequence[str], scheme: str) -> list[Span]:
    """Those alone that the scheme's rules allow: begun by B- (or S-), of IOBES and BILOU ended by E- (or S-)."""
    parts, spans, position = [split_tag(tag) for tag in tags], [], 0
    while position < len(parts):
        prefix, kind = parts[position]
        end = position + 1
        if prefix in "BS":
            while end < len(parts) and parts[end - 1][0] in "BI" and parts[end][0] in "IE" and parts[end][1] == kind:
                end += 1
            if scheme == "IOB2" or parts[end - 1][0] in "ES":
                spans.append((kind, position, end - 1))
        position = end
    return spans


def count_entities(
    answers: np.ndarray,
    labels: np.ndarray,
    row_items: np.ndarray,
    tags: Sequence[str],
    find: Callable[[Sequence[str]], list[Span]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every run, row and type the entities found rightly, found at all, and there: (runs, rows, types) each.

    Args:
        answers: (runs, items) indices of tags. labels: (items,). row_items: (rows,), how many items each row has.
    """
    ends = np.cumsum(row_items)
    rows = list(zip(ends - row_items, ends, strict=True))
    place = {kind: index for index, kind in enumerate(list_types(tags))}
    names = np.asarray(tags, dtype=object)
    true = [set(find(names[labels[start:end]])) for start, end in rows]
    counts = np.zeros((3, len(answers), len(rows), len(place)), np.float32)
    for run, answer in enumerate(answers):
        for row, (start, end) in enumerate(rows):
            found = set(find(names[answer[start:end]]))
            for side, spans in enumerate((found & true[row], found, true[row])):
                for kind, _, _ in spans:
                    counts[side, run, row, place[kind]] += 1
    return counts[0], counts[1], counts[2]
