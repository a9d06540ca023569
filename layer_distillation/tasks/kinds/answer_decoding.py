"""From start and end logits of windows to answers: n-best over all windows of a question, text from the context.

Entry: `decode_answers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DEFAULT_N_BEST_SIZE, DEFAULT_MAX_ANSWER_LENGTH = 20, 30  # of transformers' run_qa


@dataclass(frozen=True)
class Decoding:
    """How answers are chosen.

    n_best_size: of each window that many starts and ends are combined. max_answer_length: in tokens. allows_null: v2,
    "" is an answer; it is given where the null score is more than `null_score_diff_threshold` above the best answer's.
    """

    n_best_size: int = DEFAULT_N_BEST_SIZE
    max_answer_length: int = DEFAULT_MAX_ANSWER_LENGTH
    allows_null: bool = False
    null_score_diff_threshold: float = 0.0


@dataclass(frozen=True)
class Window:
    """One window as far as decoding needs it: see `answer_windows.Windows`."""

    question: int
    allowed: np.ndarray
    offsets: np.ndarray
    null: int


def decode_answers(
    contexts: Sequence[str], windows: Sequence[Window], logits: Sequence[np.ndarray], decoding: Decoding
) -> list[str]:
    """The answer to every question.

    Args:
        contexts: one per question.
        logits: (tokens, 2) per window, of start and end. The score of an answer is their sum, and that of none the
            lowest over the question's windows of their sum at the null position.
    """
    answers = [""] * len(contexts)
    best = np.full(len(contexts), -np.inf)
    null_scores = np.full(len(contexts), np.inf)
    for window, values in zip(windows, logits, strict=True):
        question = window.question
        null_scores[question] = min(null_scores[question], values[window.null].sum())
        score, first, last = find_best_span(values, list_positions(window), decoding)
        if score > best[question]:
            best[question] = score
            answers[question] = contexts[question][window.offsets[first, 0] : window.offsets[last, 1]].strip()
    if decoding.allows_null:
        is_null = null_scores - best > decoding.null_score_diff_threshold
        answers = ["" if null else answer for null, answer in zip(is_null, answers, strict=True)]
    return answers


def list_positions(window: Window) -> np.ndarray:
    """Those of the context's tokens."""
    is_context = window.allowed.copy()
    is_context[window.null] = False
    return np.flatnonzero(is_context)


def find_best_span(values: np.ndarray, positions: np.ndarray, decoding: Decoding) -> tuple[float, int, int]:
    """Score, first and last token of the best answer of a window; the score is -inf where there is none.

    Args:
        values: (tokens, 2). positions: where an answer may start and end, ascending.
    """
    if not len(positions):
        return -np.inf, 0, 0
    starts, ends = (take_largest(values[:, side], positions, decoding.n_best_size) for side in (0, 1))
    lengths = ends[None, :] - starts[:, None] + 1
    is_answer = (lengths >= 1) & (lengths <= decoding.max_answer_length)
    scores = np.where(is_answer, values[starts, 0][:, None] + values[ends, 1][None, :], -np.inf)
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    return float(scores[row, column]), int(starts[row]), int(ends[column])


def take_largest(values: np.ndarray, positions: np.ndarray, number: int) -> np.ndarray:
    """The positions of the largest values, of equal ones the first, ascending."""
    order = np.argsort(-values[positions], kind="stable")[:number]
    return np.sort(positions[order])
