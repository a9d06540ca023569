"""Questions and contexts as windows of tokens: where the answer may stand in each, and where it does.

A context that is longer than a window comes in several, which overlap. In each the **allowed** positions are the tokens
of the context, and the null position (the first special token, [CLS] say) where the right one may be no token of this
window: in v2, and for every context that comes in several windows, of which not all hold the answer.

Entry: `make_windows`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase

from layer_distillation.tasks.kinds.entry import UnfitTextError
from layer_distillation.tasks.kinds.questions import Answer, Question
from layer_distillation.tasks.labels import IGNORED_LABEL

NO_ANSWER_KNOWN = (IGNORED_LABEL, IGNORED_LABEL)


@dataclass(frozen=True)
class Windows:
    """The windows of some questions, one after the other.

    columns: the tokenizer's. questions: which question each is of. allowed: (tokens,) of bool each. offsets: (tokens,
    2) each, characters of the context, meaningful at its tokens alone. nulls: the null position of each. labels: of
    each the first and the last token of the answer, the null position twice where it is elsewhere or nowhere, -100
    twice where nobody says, or where no window of the question holds its answer.
    """

    columns: dict[str, list[list[int]]]
    questions: list[int]
    allowed: list[np.ndarray]
    offsets: list[np.ndarray]
    nulls: list[int]
    labels: list[tuple[int, int]]


def make_windows(
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    doc_stride: int,
    allows_null: bool = False,
) -> Windows:
    """
    Args:
        doc_stride: how many tokens of the context two windows that follow each other share.

    Raises:
        ValueError: the tokenizer gives no offsets, or a question leaves a context no more room than the stride.
    """
    encoding, context_part = tokenize_pairs(questions, tokenizer, max_length, doc_stride)
    owners = encoding.pop("overflow_to_sample_mapping")
    offsets = [np.asarray(window, np.int64).reshape(-1, 2) for window in encoding.pop("offset_mapping")]
    is_context = [np.asarray([part == context_part for part in encoding.sequence_ids(i)]) for i in range(len(owners))]
    nulls = [find_null(ids, tokenizer) for ids in encoding["input_ids"]]
    num_windows = np.bincount(owners, minlength=len(questions))
    allowed = [window.copy() for window in is_context]
    for positions, null, owner in zip(allowed, nulls, owners, strict=True):
        positions[null] = allows_null or num_windows[owner] > 1
    parts = zip(owners, offsets, is_context, nulls, strict=True)
    labels = [place_answer(questions[owner].answers, *window) for owner, *window in parts]
    labels = forget_unreachable(labels, nulls, owners, questions)
    return Windows(dict(encoding), owners, allowed, offsets, nulls, labels)


def tokenize_pairs(
    questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, max_length: int, doc_stride: int
) -> tuple[BatchEncoding, int]:
    """The encoding, and which of the two parts is the context: the second one; the first one where padding comes first
    (as transformers' run_qa orders them), if a special token is there for the null position."""
    check_tokenizer(tokenizer)
    check_room(questions, tokenizer, max_length, doc_stride)
    context_part = 0 if tokenizer.padding_side == "left" and tokenizer.num_special_tokens_to_add(pair=True) else 1
    texts = [[question.question for question in questions], [question.context for question in questions]]
    encoding = tokenizer(
        *(texts if context_part == 1 else texts[::-1]),
        truncation=("only_first", "only_second")[context_part],
        max_length=max_length,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    return encoding, context_part


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.is_fast:
        raise UnfitTextError(
            f"the tokenizer {type(tokenizer).__name__} does not say which characters a token stands for, and answers "
            "are looked for as characters: take a teacher with a fast tokenizer (tokenizer.json)"
        )


def check_room(
    questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, max_length: int, doc_stride: int
) -> None:
    """Windows go on by what a question leaves of `max_length` minus the stride, which has to be something."""
    encoded = tokenizer([question.question for question in questions], add_special_tokens=False, verbose=False)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    longest = int(np.argmax(lengths))
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - lengths[longest]
    if room <= doc_stride:
        raise UnfitTextError(
            f"the question {questions[longest].question[:60]!r} has {lengths[longest]} tokens and leaves "
            f"{max(room, 0)} of --max_length {max_length} for its context, of which windows share {doc_stride} "
            "(--doc_stride): raise --max_length, lower --doc_stride or shorten the question"
        )


def find_null(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """Where "no answer" points: to [CLS], else to the beginning of the text, else to the first token."""
    present = [token for token in (tokenizer.cls_token_id, tokenizer.bos_token_id) if token in ids]
    return ids.index(present[0]) if present else 0


def place_answer(
    answers: tuple[Answer, ...] | None, offsets: np.ndarray, is_context: np.ndarray, null: int
) -> tuple[int, int]:
    """First and last token of the first answer that lies whole in this window; the null position twice where none does.

    A token belongs to an answer if they share a character: a token that begins with the space before a word does, and
    one that stands for no character (offsets that are equal) never does. Blanks around an answer count nothing: no
    token may stand for them.
    """
    if answers is None:
        return NO_ANSWER_KNOWN
    [places] = np.nonzero(is_context & (offsets[:, 1] > offsets[:, 0]))
    for answer in map(strip_answer, answers):
        if len(places) and offsets[places[0], 0] <= answer.start and answer.end <= offsets[places[-1], 1]:
            shares = (offsets[places, 0] < answer.end) & (offsets[places, 1] > answer.start)
            if shares.any():
                first, last = places[shares][[0, -1]]
                return int(first), int(last)
    return null, null


def strip_answer(answer: Answer) -> Answer:
    return Answer(answer.text.strip(), answer.start + len(answer.text) - len(answer.text.lstrip()))


def forget_unreachable(
    labels: list[tuple[int, int]], nulls: list[int], owners: list[int], questions: Sequence[Question]
) -> list[tuple[int, int]]:
    """No label in the windows of a question whose answer none of them holds: it is too long, or of characters that the
    tokenizer drops. "Not here" in each of them would teach that there is none."""
    reached = {owner for label, null, owner in zip(labels, nulls, owners, strict=True) if label[0] != null}
    return [
        label if owner in reached or not questions[owner].answers else NO_ANSWER_KNOWN
        for label, owner in zip(labels, owners, strict=True)
    ]
