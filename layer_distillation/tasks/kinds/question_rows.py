"""A task of questions, their contexts and their answers: `labels` of a row are the characters of its answers.

Files are read in `questions.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.tasks.gold_labels import drop_columns, read_gold, says_none
from layer_distillation.tasks.kinds.answer_decoding import Decoding
from layer_distillation.tasks.kinds.entry import LabelNames, ReadTask
from layer_distillation.tasks.kinds.questions import (
    FLAT_COLUMNS,
    SAID_IMPOSSIBLE,
    Answer,
    flatten_squad,
    looks_nested,
    read_questions,
    says_unanswerable,
)
from layer_distillation.tasks.kinds.texts import check_labelled, check_names
from layer_distillation.tasks.labels import IGNORED_LABEL

if TYPE_CHECKING:
    from layer_distillation.tasks.files import RawSplit

DEFAULT_DOC_STRIDE = 128  # of transformers' run_qa
TITLE = "title"
UNKNOWN = [IGNORED_LABEL]  # `labels` of a question to which nobody gives an answer


def recognise(split: "RawSplit", arguments: DataArguments) -> str | None:
    columns = (flatten_squad(split) if looks_nested(split) else split).columns
    return "a context, a question and answers" if set(FLAT_COLUMNS) <= columns.keys() else None


def read(splits: Mapping[str, "RawSplit"], arguments: DataArguments, teacher_labels: Sequence[str] = ()) -> ReadTask:
    """`labels` are the first and the last character of every answer, one after the other; none of a question that has
    no answer."""
    flat = {name: flatten_squad(split) for name, split in splits.items()}
    is_without = bool(teacher_labels) and says_none(arguments.label_column, flat["train"])
    columns = name_columns(arguments, FLAT_COLUMNS[2] if is_without else arguments.label_column)
    if is_without:
        flat["train"] = drop_columns(flat["train"], (columns[2], SAID_IMPOSSIBLE))
    allows_null = arguments.version_2_with_negative
    if allows_null is None:
        allows_null = any(map(says_unanswerable, flat.values()))
    questions = {}

    def read_answers(name: str, may_lack: bool) -> list[Sequence[Answer] | None]:
        questions[name] = read_questions(flat[name], columns, allows_null, may_lack)
        return [row.answers for row in questions[name]]

    answers, gold = read_gold(flat, read_answers, teacher_labels)
    question, context, _ = columns
    check_names((question, context))
    check_answered(flat, answers, gold, columns[2])
    return ReadTask(
        text_columns=(question, context),
        label_names=["start", "end"],
        columns={
            name: {
                question: [row.question for row in rows],
                context: [row.context for row in rows],
                TITLE: [None if row.title is None else str(row.title) for row in rows],
                "labels": [mark_answers(row.answers) for row in rows],
            }
            for name, rows in questions.items()
        },
        features={question: "string", context: "string", TITLE: "string", "labels": ["int64"]},
        options=read_options(arguments, allows_null),
    )


def check_answered(
    splits: Mapping[str, "RawSplit"], answers: Mapping[str, Sequence], gold: Collection[str], column: str
) -> None:
    """Raises ValueError where rows lack answers that have to have some: of the training rows, unless a teacher answers
    them, one; of validation all, as nothing else scores them."""
    if "train" in gold and all(row is None for row in answers["train"]):
        raise ValueError(f"{splits['train'].origin} has no answers: fill {column!r} in")
    for name, split in splits.items():
        if name not in ("train", "test", *gold):
            raise ValueError(
                f"{split.origin} has no answers in {column!r} to score by: fill them in, or name their column by "
                "--label_column"
            )
    check_labelled(splits, {name: [row is None for row in answers[name]] for name in gold})


def name_columns(arguments: DataArguments, label_column: str | None) -> tuple[str, str, str]:
    texts = FLAT_COLUMNS[:2]
    if arguments.text_columns is not None:
        texts = tuple(name.strip() for name in arguments.text_columns.split(","))
        if len(texts) != 2:
            raise ValueError(f"--text_columns {arguments.text_columns}: name two, the question and then the context")
    return *texts, label_column or FLAT_COLUMNS[2]


def read_options(arguments: DataArguments, allows_null: bool) -> dict[str, Any]:
    """How windows are cut and answers chosen; those that v1.1 has no use for are refused there."""
    if arguments.null_score_diff_threshold is not None and not allows_null:
        raise ValueError(
            f"--null_score_diff_threshold {arguments.null_score_diff_threshold:g} goes with questions that have no "
            "answer (--version_2_with_negative true): leave it out"
        )
    default, given = Decoding(), arguments
    return {
        "doc_stride": DEFAULT_DOC_STRIDE if given.doc_stride is None else given.doc_stride,
        "n_best_size": given.n_best_size or default.n_best_size,
        "max_answer_length": given.max_answer_length or default.max_answer_length,
        "allows_null": allows_null,
        "null_score_diff_threshold": given.null_score_diff_threshold or default.null_score_diff_threshold,
    }


def mark_answers(answers: Sequence[Answer] | None) -> list[int]:
    return list(UNKNOWN) if answers is None else [place for answer in answers for place in (answer.start, answer.end)]


def read_marks(marks: Sequence[int], context: str) -> tuple[Answer, ...] | None:
    if list(marks) == UNKNOWN:
        return None
    return tuple(Answer(context[start:end], start) for start, end in zip(marks[::2], marks[1::2], strict=True))


def read_texts(split: "RawSplit", text_columns: tuple[str, ...]) -> dict[str, list]:
    """Of rows without answers, whatever they have beside their texts."""
    kept = {name: split.columns[name] for name in (*text_columns, TITLE) if name in split.columns}
    questions = read_questions(replace(split, columns=kept), (*text_columns, FLAT_COLUMNS[2]), may_lack_answers=True)
    return {
        text_columns[0]: [row.question for row in questions],
        text_columns[1]: [row.context for row in questions],
        TITLE: [row.title for row in questions],
    }


def is_missing(marks: Sequence[int]) -> bool:
    """Of a question, or of a window; a question that has no answer misses nothing."""
    return bool(marks) and all(mark == IGNORED_LABEL for mark in marks)


def make_unlabelled(columns: Mapping[str, list], label_names: LabelNames) -> list[list[int]]:
    return [list(UNKNOWN) for _ in next(iter(columns.values()))]
