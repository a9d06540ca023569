"""Reads the rows of a reranker: queries, each with candidate texts and how relevant each is, whatever form they are in.

- `query`, `positive`, `negative` (or `negatives`): a text or a list of texts each, in a CSV as JSON; `negative_1`,
  `negative_2`, ... too.
- two texts and a score to a row (a label column, `score` or `relevance`): rows of one query are its candidates.
- two texts alone: there is no score, a teacher says what there is to learn.

Scores are from 0 on; where one is above 1, all are divided by the largest, as the task's loss takes them from 0 to 1
(the order of candidates, and nDCG with linear gains, stay what they are).

Entry: `read_candidates`, `read_pairs`.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.columns import (
    check_column,
    check_texts,
    find_text_columns,
    parse_cell,
    parse_number,
    shorten,
)
from layer_distillation.tasks.kinds.texts import check_names

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit

logger = logging.getLogger(__name__)

QUERY_COLUMNS = ("query", "anchor", "question")
POSITIVE_COLUMNS = ("positive", "positives")
NEGATIVE = re.compile(r"negatives?(_\d+)?")
SCORE_COLUMNS = ("score", "relevance", "label", "labels")
NO_COLUMN = "none"  # of --label_column
UNKNOWN = float("nan")


@dataclass
class Query:
    """Candidates from the most relevant on; scores are nan where nobody says."""

    texts: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


Queries = dict[str, Query]


def find_group_columns(split: "RawSplit") -> tuple[str, str, list[str]] | None:
    """Query, positive and negatives, where a file has them all."""
    query = next((name for name in QUERY_COLUMNS if name in split.columns), None)
    positive = next((name for name in POSITIVE_COLUMNS if name in split.columns), None)
    negatives = [name for name in split.columns if NEGATIVE.fullmatch(name)]
    return (query, positive, negatives) if query and positive and negatives else None


def read_candidates(
    splits: Mapping[str, "RawSplit"], arguments: DataArguments
) -> tuple[tuple[str, str], dict[str, Queries]]:
    """What query and texts are called, and the queries of every split by name.

    Raises:
        ValueError: one line that names file and row, for whatever is wrong.
    """
    if arguments.text_columns is None and (columns := find_group_columns(splits["train"])) is not None:
        if arguments.label_column not in (None, NO_COLUMN):
            raise ValueError(
                f"--label_column {arguments.label_column}: {splits['train'].origin} says by {columns[1]!r} and "
                f"{columns[2][0]!r} what is relevant; leave it out, or name two texts by --text_columns"
            )
        names = columns[0], "text"
        found = {name: read_groups(split, columns) for name, split in splits.items()}
        if arguments.label_column == NO_COLUMN:
            forget_scores(found["train"])
    else:
        names, found = read_scored(splits, arguments)
    check_names(names)
    scale_scores(found)
    for name, split in splits.items():
        check_ranking(name, split.origin, found[name])
    return names, found


# ---- query, positive, negatives ----------------------------------------------------------------------------------


def read_groups(split: "RawSplit", columns: tuple[str, str, list[str]]) -> Queries:
    """A query of several rows has the candidates of them all, each text once, by its best score."""
    query, positive, negatives = columns
    for name in (query, positive, *negatives):
        check_column(split, name, "the columns")
    check_texts(split, (query,))
    queries: Queries = {}
    for row, text in enumerate(split.columns[query]):
        where = f"{split.origin}, data row {row + 1}"
        wanted = read_list(split.columns[positive][row], positive, where)
        others = [text for name in negatives for text in read_list(split.columns[name][row], negatives[0], where)]
        if not wanted or not others:
            raise ValueError(
                f"{where} has {len(wanted)} texts in {positive!r} and {len(others)} in {negatives[0]!r}: give one of "
                "each at least"
            )
        if repeated := sorted({*wanted} & {*others}):
            raise ValueError(f"{where} has {shorten(repeated[0])} as positive and as negative: leave it in one of them")
        own = queries.setdefault(text, Query())
        for score, texts in ((1.0, wanted), (0.0, others)):
            add_candidates(own, texts, score)
    return queries


def read_list(cell: Any, name: str, where: str) -> list[str]:
    parsed = parse_cell(cell)
    if isinstance(parsed, list) and all(isinstance(text, str) for text in parsed):  # "[1]" may be a text
        cell = parsed
    texts = [] if cell is None else [cell] if isinstance(cell, str) else cell
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"{where} has {shorten(cell)} in {name!r}: give a text or a list of texts, none of them empty")
    return texts


def add_candidates(query: Query, texts: Sequence[str], score: float) -> None:
    for text in dict.fromkeys(texts):
        if text not in query.texts:
            query.texts.append(text)
            query.scores.append(score)
        elif score > query.scores[place := query.texts.index(text)]:
            query.scores[place] = score


# ---- two texts and a score ---------------------------------------------------------------------------------------


def read_scored(
    splits: Mapping[str, "RawSplit"], arguments: DataArguments
) -> tuple[tuple[str, str], dict[str, Queries]]:
    column = find_score_column(splits, arguments.label_column)
    names = find_text_columns(splits["train"], column, arguments.text_columns)
    if len(names) != 2:
        raise ValueError(
            f"{splits['train'].origin} gives the text {names[0]!r} alone, and a reranker reads a query and a text: "
            "name both by --text_columns query,text (or give query, positive and negative)"
        )
    found = {name: read_pairs(split, names, column) for name, split in splits.items()}
    is_scored = arguments.label_column != NO_COLUMN and has_scores(found["train"])
    for name, split in splits.items():
        if name not in ("train", "test") and is_scored and not has_scores(found[name]):
            raise ValueError(
                f"{split.origin} has no score in {column!r}, as the training rows have, and its columns are "
                f"{list(split.columns)}: call it so there too, or give --label_column none to "
                "learn from the teacher alone"
            )
        check_scores(name, split.origin, found[name])
    if arguments.label_column == NO_COLUMN:
        forget_scores(found["train"])
    return names, found


def find_score_column(splits: Mapping[str, "RawSplit"], requested: str | None) -> str | None:
    if requested not in (None, NO_COLUMN):
        return check_column(splits["train"], requested, "--label_column")
    named = [name for name in SCORE_COLUMNS if any(name in split.columns for split in splits.values())]
    if len(named) > 1:
        raise ValueError(
            f"{splits['train'].origin} may have its scores in {' or '.join(map(repr, named))}: name one with "
            "--label_column"
        )
    return named[0] if named else None


def read_pairs(split: "RawSplit", names: tuple[str, ...], column: str | None = None) -> Queries:
    """Rows of one query together, the best candidate first; without a column nobody says how relevant they are.

    Raises:
        ValueError: a score is no number from 0 on, or a query has a text twice.
    """
    check_texts(split, names)
    cells = split.columns.get(column) if column is not None else None
    scores = [UNKNOWN] * len(split.columns[names[0]]) if cells is None else [*map(clean_score, cells)]
    queries: Queries = {}
    for row, (query, text, score) in enumerate(zip(*(split.columns[name] for name in names), scores, strict=True)):
        where = f"{split.origin}, data row {row + 1}"
        if score is None:
            raise ValueError(
                f"{where} has the score {shorten(cells[row])}: give a number from 0 (not relevant) on. (Logits of a "
                "teacher are numbers to regress on: --task_type text-classification --label_kind numbers)"
            )
        own = queries.setdefault(query, Query())
        if text in own.texts:
            raise ValueError(f"{where} repeats a candidate of the query {shorten(query)}: give each text once")
        own.texts.append(text)
        own.scores.append(score)
    return {query: order_by_score(own) for query, own in queries.items()}


def clean_score(cell: Any) -> float | None:
    """nan where the cell is empty; None where it holds something else than a number from 0 on."""
    cell = cell.strip() if isinstance(cell, str) else cell
    if cell is None or cell == "" or cell != cell:
        return UNKNOWN
    number = int(cell) if isinstance(cell, bool) else parse_number(cell)
    return None if number is None or number < 0 else float(number)


def order_by_score(query: Query) -> Query:
    """The best first; those of which nobody says it stand last."""
    places = sorted(range(len(query.texts)), key=lambda p: (query.scores[p] != query.scores[p], -query.scores[p]))
    return replace(query, texts=[query.texts[p] for p in places], scores=[query.scores[p] for p in places])


def check_scores(name: str, origin: str, queries: Queries) -> None:
    """Raises ValueError where rows that choose the best epoch have scores in part."""
    scores = [score for query in queries.values() for score in query.scores]
    missing = sum(score != score for score in scores)
    if name not in ("train", "test") and 0 < missing < len(scores):
        raise ValueError(f"{origin}: {missing} of {len(scores)} rows have no score: drop them or give them one")


# ---- all forms ---------------------------------------------------------------------------------------------------


def has_scores(queries: Queries) -> bool:
    return any(score == score for query in queries.values() for score in query.scores)


def forget_scores(queries: Queries) -> None:
    for query in queries.values():
        query.scores = [UNKNOWN] * len(query.texts)


def scale_scores(found: Mapping[str, Queries]) -> None:
    largest = max(
        (score for queries in found.values() for query in queries.values() for score in query.scores if score == score),
        default=0.0,
    )
    if largest <= 1:
        return
    logger.info("scores reach %g: all are divided by that, as the task's loss takes them from 0 to 1", largest)
    for query in (query for queries in found.values() for query in queries.values()):
        query.scores = [score / largest for score in query.scores]


def can_rank(scores: Sequence[float]) -> bool:
    """Whether nDCG says anything of these candidates: two of them differ in how relevant they are."""
    known = [score for score in scores if score == score]
    return len(set(known)) > 1


def check_ranking(name: str, origin: str, queries: Queries) -> None:
    """Raises ValueError where rows that are to be scored give nothing to rank; says how many do not."""
    labelled = [query for query in queries.values() if any(score == score for score in query.scores)]
    if name == "train" or not labelled:
        return
    num_ranked = sum(can_rank(query.scores) for query in labelled)
    if not num_ranked:
        raise ValueError(
            f"{origin}: no query has two candidates of different scores, so there is nothing to rank: give every query "
            "several (rows of one query have the same text there); of pairs that stand alone the scores are numbers to "
            "regress on: --task_type text-classification --label_kind numbers"
        )
    if num_ranked < len(labelled):
        logger.info(
            "%s: %d of %d queries have no two candidates of different scores: nDCG leaves them out",
            *(origin, len(labelled) - num_ranked, len(labelled)),
        )
