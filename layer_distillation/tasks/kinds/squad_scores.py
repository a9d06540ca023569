"""Exact match and F1 of answers, by the rules of SQuAD's own scripts (v1.1 and v2.0), from 0 to 1.

Entry: `score_answer`.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


class AnswerScores(NamedTuple):
    exact_match: float
    f1: float


def score_answer(predicted: str, gold_answers: Sequence[str], allows_null: bool) -> AnswerScores:
    """The best match with any of the gold answers; "" stands for "no answer".

    Args:
        allows_null: v2's rules. Of no gold answer, "" is the right one, and where one side has no word (a bare article
            has none) F1 is 1 if the other has none either. By v1.1's it is 0 even then, while exact match is 1.
    """
    golds = [split_words(gold) for gold in gold_answers]
    if allows_null:
        golds = [gold for gold in golds if gold] or [[]]
    words = split_words(predicted)
    return AnswerScores(
        exact_match=max(float(words == gold) for gold in golds),
        f1=max(compare_words(words, gold, float(allows_null)) for gold in golds),
    )


def split_words(text: str) -> list[str]:
    """Lower case, without punctuation (ASCII's) and English articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def compare_words(predicted: list[str], gold: list[str], score_of_none: float) -> float:
    """F1 of two bags of words; `score_of_none` where both are empty."""
    if not predicted and not gold:
        return score_of_none
    num_same = (Counter(predicted) & Counter(gold)).total()
    return 2 * num_same / (len(predicted) + len(gold))
