"""Decoding is the best of all spans; n-best, lengths and the null score narrow it as they say."""

import numpy as np
import pytest

from layer_distillation.tasks.kinds.answer_decoding import Decoding, Window, decode_answers

CONTEXT = "a b c d e f g h"


def make_window(words: range, question: int = 0) -> Window:
    """[CLS] question [SEP] words [SEP]"""
    num_tokens = len(words) + 4
    allowed, offsets = np.zeros(num_tokens, bool), np.zeros((num_tokens, 2), np.int64)
    allowed[0], allowed[3:-1] = True, True
    offsets[3:-1] = [[2 * word, 2 * word + 1] for word in words] or np.zeros((0, 2))
    return Window(question, allowed, offsets, 0)


def make_logits(window: Window, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(window.allowed), 2)).astype(np.float32)


def search_all(windows: list[Window], logits: list[np.ndarray], max_answer_length: int) -> tuple[float, str]:
    found = []
    for window, values in zip(windows, logits, strict=True):
        positions = np.flatnonzero(window.allowed)[1:]
        found += [
            (values[first, 0] + values[last, 1], CONTEXT[window.offsets[first, 0] : window.offsets[last, 1]])
            for first in positions
            for last in positions
            if first <= last < first + max_answer_length
        ]
    return max(found)


@pytest.mark.parametrize("max_answer_length", [1, 3, 30])
@pytest.mark.parametrize("seed", range(5))
def test_the_answer_is_the_best_span_of_all_windows(seed, max_answer_length):
    windows = [make_window(range(0, 5)), make_window(range(3, 8))]
    logits = [make_logits(window, 10 * seed + index) for index, window in enumerate(windows)]
    decoding = Decoding(n_best_size=20, max_answer_length=max_answer_length)
    assert decode_answers([CONTEXT], windows, logits, decoding) == [search_all(windows, logits, max_answer_length)[1]]


def test_question_tokens_special_tokens_and_null_are_no_answer_however_high():
    window = make_window(range(0, 5))
    logits = make_logits(window, 0)
    logits[[0, 1, 2, -1]] = 100
    assert decode_answers([CONTEXT], [window], [logits], Decoding()) == [search_all([window], [logits], 30)[1]]


def test_null_is_the_answer_by_more_than_the_threshold_and_its_score_is_the_lowest_of_the_windows():
    windows = [make_window(range(0, 5)), make_window(range(3, 8))]
    logits = [make_logits(window, index) for index, window in enumerate(windows)]
    best, text = search_all(windows, logits, 30)
    logits[0][0], logits[1][0] = [50, 50], [best / 2 + 0.5, best / 2 + 0.5]  # 1 above the best answer
    for threshold, answer in ((0.0, ""), (0.99, ""), (1.01, text)):
        decoding = Decoding(allows_null=True, null_score_diff_threshold=threshold)
        assert decode_answers([CONTEXT], windows, logits, decoding) == [answer]
    assert decode_answers([CONTEXT], windows, logits, Decoding()) == [text]  # v1.1 knows no null


def test_n_best_of_one_takes_the_best_start_and_end_alone():
    window = make_window(range(0, 3))
    logits = np.zeros((7, 2), np.float32)
    logits[5, 0] = logits[3, 1] = 5  # the end lies before the start
    assert decode_answers([CONTEXT], [window], [logits], Decoding(n_best_size=1)) == [""]
    assert decode_answers([CONTEXT], [window], [logits], Decoding(n_best_size=2)) != [""]


def test_answers_go_to_their_questions_and_one_without_positions_has_none():
    windows = [make_window(range(0, 2), 1), make_window(range(4, 6), 2), make_window(range(0, 0), 0)]
    logits = [make_logits(window, 0) for window in windows]
    for values in logits[:2]:
        values[3:5] = [[9, 0], [0, 9]]
    assert decode_answers([CONTEXT] * 3, windows, logits, Decoding()) == ["", "a b", "e f"]


def test_a_token_that_begins_with_a_space_leaves_none_in_the_answer():
    window = make_window(range(0, 3))
    window.offsets[4] = [1, 3]  # " b"
    logits = np.zeros((7, 2), np.float32)
    logits[4] = 5
    assert decode_answers([CONTEXT], [window], [logits], Decoding()) == ["b"]
