"""Questions with a context and the answers in it: SQuAD's own JSON (v1.1, v2.0) and its flat form.

Flat are the Hub's columns: context, question, answers {"text": [...], "answer_start": [...]}, and where there are any
id and title; in any file that holds lists, or a data set of the Hub.

Entry: `flatten_squad`, then `read_questions`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from layer_distillation.records.suggestions import suggest_name
from layer_distillation.tasks.columns import check_texts, shorten

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit

FLAT_COLUMNS = ("question", "context", "answers")
TITLE_COLUMN, ID_COLUMN = "title", "id"
SAID_IMPOSSIBLE = "is_impossible"
FORM = '{"text": ["..."], "answer_start": [0]}'


class Answer(NamedTuple):
    """Characters `start` to `end` of the context."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class Question:
    """`answers` is empty where the question has none in this context (v2), None where nobody says."""

    question: str
    context: str
    answers: tuple[Answer, ...] | None
    title: str | None = None
    id: str | None = None


# ---- SQuAD's own JSON --------------------------------------------------------------------------------------------


def flatten_squad(split: "RawSplit") -> "RawSplit":
    """One row per question where the file is SQuAD's nested JSON, else the split as it is.

    Raises ValueError, one line, where the nesting is not SQuAD's.
    """
    # `datasets`, which a comparison does without
    from layer_distillation.tasks.files import arrange_objects, check_rows

    if "paragraphs" in split.columns:  # {"data": [articles]}, with nothing beside, is read as rows
        names = list(split.columns)
        articles = [dict(zip(names, row, strict=True)) for row in zip(*split.columns.values(), strict=True)]
    elif "data" in split.columns and len(split.columns["data"]) == 1:
        articles = split.columns["data"][0]
    else:
        return split
    return check_rows(arrange_objects(list(list_rows(articles, split.origin)), split.origin))


def looks_nested(split: "RawSplit") -> bool:
    """Whether it may be SQuAD's own JSON: other data have columns of these names too."""
    return any(isinstance(cell, list) for name in ("paragraphs", "data") for cell in split.columns.get(name, ()))


def list_rows(articles: Any, origin: str) -> Iterator[dict[str, Any]]:
    for article_number, article in enumerate(check_list(articles, f"{origin}: data"), start=1):
        where = f"{origin}, article {article_number}"
        for number, paragraph in enumerate(take(article, "paragraphs", list, where), start=1):
            place = f"{where}, paragraph {number}"
            context = take(paragraph, "context", str, place)
            for question in take(paragraph, "qas", list, place):
                yield {
                    "title": article.get("title"),
                    "context": context,
                    "question": take(question, "question", str, place),
                    "answers": question.get("answers"),
                    **{name: question[name] for name in ("id", SAID_IMPOSSIBLE) if name in question},
                }


def take(holder: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(holder, Mapping) or not isinstance(holder.get(name), kind):
        found = sorted(holder) if isinstance(holder, Mapping) else shorten(holder)
        raise ValueError(
            f"{where} has no {name!r} of {kind.__name__}, there is {found}: give SQuAD's own nesting (data, "
            "paragraphs, qas), or one question per row"
        )
    return holder[name]


def check_list(value: Any, where: str) -> list:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {shorten(value)}: give a list of articles")
    return value


# ---- the rows ----------------------------------------------------------------------------------------------------


def read_questions(
    split: "RawSplit",
    columns: Sequence[str] = FLAT_COLUMNS,
    allows_null: bool = False,
    may_lack_answers: bool = False,
) -> list[Question]:
    """The rows, every answer checked against its context.

    Args:
        columns: of the questions, the contexts and the answers.
        allows_null: v2, where a question may have no answer in its context.
        may_lack_answers: their column need not be there.

    Raises ValueError, one line that names file and row, for whatever is wrong.
    """
    question_name, context_name, answers_name = columns
    check_columns(split, columns[:2] if may_lack_answers else columns)
    check_texts(split, (question_name, context_name))
    num_rows = len(split.columns[question_name])
    titles, ids = (split.columns.get(name) or [None] * num_rows for name in (TITLE_COLUMN, ID_COLUMN))
    impossible, given = (split.columns.get(name) or [None] * num_rows for name in (SAID_IMPOSSIBLE, answers_name))
    questions = []
    for row in range(num_rows):
        where, context = f"{split.origin}, data row {row + 1}", split.columns[context_name][row]
        answers = read_answers(given[row], context, where)
        if read_impossible(impossible[row], where):
            answers = refuse_possible(answers, where)
        check_null(answers, allows_null, where)
        questions.append(Question(split.columns[question_name][row], context, answers, titles[row], ids[row]))
    return questions


def check_columns(split: "RawSplit", columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in split.columns]
    if missing:
        raise ValueError(
            f"{split.origin} has no column {missing[0]!r}, its columns are {list(split.columns)}: needed are a "
            f"question, a context and answers; name them by --text_columns question,context and --label_column."
            f"{suggest_name(missing[0], split.columns)}"
        )


def read_answers(cell: Any, context: str, where: str) -> tuple[Answer, ...] | None:
    """From {"text": [...], "answer_start": [...]}, or from [{"text": ..., "answer_start": ...}, ...]; or its JSON."""
    cell = parse_cell(cell, where) if isinstance(cell, str) else cell
    if cell is None:
        return None
    if isinstance(cell, Mapping):
        texts, starts = (cell.get(name) for name in ("text", "answer_start"))
    elif isinstance(cell, list) and all(isinstance(answer, Mapping) for answer in cell):
        texts, starts = ([answer.get(name) for answer in cell] for name in ("text", "answer_start"))
    else:
        texts = starts = None
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise ValueError(f"{where}: answers are {shorten(cell)}: write them as {FORM}, as many starts as texts")
    return tuple(check_answer(*answer, context, where) for answer in zip(texts, starts, strict=True))


def read_impossible(cell: Any, where: str) -> bool:
    """A CSV writes it as text."""
    text = "" if cell is None else str(cell).strip().lower()
    if text not in ("", "true", "false", "1", "0"):
        raise ValueError(f"{where}: {SAID_IMPOSSIBLE} is {shorten(cell)}: write true or false")
    return text in ("true", "1")


def refuse_possible(answers: tuple[Answer, ...] | None, where: str) -> tuple[Answer, ...]:
    """None; v2 keeps what is merely plausible in another list."""
    if answers:
        raise ValueError(
            f"{where}: {SAID_IMPOSSIBLE} is true, and there is the answer {shorten(answers[0].text)}: correct one of "
            "them (an answer that is only plausible stands in plausible_answers)"
        )
    return ()


def parse_cell(cell: str, where: str) -> Any:
    if not cell.strip():
        return None
    try:
        return json.loads(cell)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: answers {shorten(cell)} are no JSON: write them as {FORM}") from error


def check_answer(text: Any, start: Any, context: str, where: str) -> Answer:
    if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
        raise ValueError(f"{where}: an answer is {shorten(text)} at {shorten(start)}: give a text and a whole number")
    if not text.strip():
        raise ValueError(f"{where}: an answer is empty: drop it (a question without any answer has empty lists)")
    found = context[start : start + len(text)] if start >= 0 else ""
    if found != text:
        raise ValueError(
            f"{where}: the answer {shorten(text)} is not at character {start} of its context, there is "
            f"{shorten(found)}{find_elsewhere(text, start, context)}"
        )
    return Answer(text, start)


def find_elsewhere(text: str, start: int, context: str) -> str:
    """What to change, as far as it can be known."""
    elsewhere = context.find(text)
    if elsewhere < 0:
        return ", and nowhere else: give an answer that the context holds letter by letter"
    in_bytes = len(context.encode()[: max(start, 0)].decode(errors="ignore")) if start >= 0 else -1
    unit = " (the start counts bytes, it seems)" if context[in_bytes : in_bytes + len(text)] == text else ""
    return f"; it is at {elsewhere}{unit}: answer_start counts characters of the context, from 0"


def check_null(answers: tuple[Answer, ...] | None, allows_null: bool, where: str) -> None:
    if answers == () and not allows_null:
        raise ValueError(
            f"{where}: the question has no answer: drop it, or say by --version_2_with_negative that some questions "
            "have none (SQuAD v2)"
        )


def says_unanswerable(split: "RawSplit") -> bool:
    """Whether the file itself says that it is v2's: SQuAD's JSON has a mark at every question there."""
    return SAID_IMPOSSIBLE in split.columns
