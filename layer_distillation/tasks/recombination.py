"""Pairs of texts that no one has labelled, made of the training pairs' own: each first text with second texts that are
near it and not its own.

After the silver data of Augmented SBERT (Thakur et al. 2021, section 3.1, BM25 sampling): pairs drawn at random are
mostly unrelated, which a student learns at once, and near ones lie where the teacher's answer is worth asking for.

Entry: `recombine_pairs`.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

PIECES = {"analyzer": "char_wb", "ngram_range": (2, 4), "sublinear_tf": True}  # of any script, without a list of words
SPARE = 8  # neighbours of a text that may be its own partners or itself; few texts have more, and are sought again
MOST_PER_ROW = 100  # more is a slip of the hand: all pairs of 50,000 rows fit no memory


def recombine_pairs(
    first: Sequence[str], second: Sequence[str], count: int, seed: int, left_out: Iterable[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """`count` different pairs, or all where there are fewer; none is a given one, has an empty text or one text twice.

    Each first text with its nearest other second text (cosine of TF-IDF over pieces of words), then each with its next
    nearest, and so on; of the last round as many as are missing, drawn by `seed`. Time grows with the square of the
    number of different texts.

    Args:
        first: (rows,) a text of each training row.
        second: (rows,) the other one.
        left_out: further pairs that are not made, such as those of other splits.

    Raises:
        ValueError: it is more than a hundred pairs per row.
    """
    firsts, seconds = ([text for text in dict.fromkeys(texts) if text.strip()] for texts in (first, second))
    excluded = list_excluded([*zip(first, second, strict=True), *left_out], firsts, seconds)
    free = np.array([len(seconds) - len(excluded[own]) for own in firsts], dtype=np.int64)
    count, rounds = check_count(min(count, int(free.sum())), len(first)), 0
    while np.minimum(free, rounds).sum() < count:
        rounds += 1
    others = find_others(firsts, seconds, excluded, np.minimum(free, rounds)) if rounds else []
    pairs: list[tuple[str, str]] = []
    for rank in range(rounds):
        found = [(own, texts[rank]) for own, texts in zip(firsts, others, strict=True) if len(texts) > rank]
        if len(found) > count - len(pairs):
            drawn = np.random.default_rng(seed).permutation(len(found))[: count - len(pairs)]
            found = [found[place] for place in sorted(drawn)]
        pairs += found
    return pairs


def check_count(count: int, num_rows: int) -> int:
    if count > MOST_PER_ROW * num_rows:
        raise ValueError(
            f"--recombined_pairs would make {count:,} pairs of {num_rows:,} rows: give at most "
            f"{MOST_PER_ROW * num_rows:,}, two to four times as many as there are rows are plenty"
        )
    return count


def list_excluded(
    pairs: Iterable[tuple[str, str]], firsts: Sequence[str], seconds: Sequence[str]
) -> dict[str, set[str]]:
    """By first text the second ones that it makes no new pair with: those that it is a pair with, and itself."""
    known = set(seconds)
    excluded = {own: {own} & known for own in firsts}
    for own, text in pairs:
        if own in excluded and text in known:
            excluded[own].add(text)
    return excluded


def find_others(
    firsts: Sequence[str], seconds: Sequence[str], excluded: Mapping[str, set[str]], wanted: np.ndarray
) -> list[list[str]]:
    """Of each first text the nearest of the second ones that it may make a pair with, the nearest first.

    Args:
        wanted: (first texts,) how many, no more than there are.
    """
    pieces = TfidfVectorizer(**PIECES, dtype=np.float32).fit([*firsts, *seconds])
    search = NearestNeighbors(metric="cosine").fit(pieces.transform(seconds))
    others: list[list[str]] = [[] for _ in firsts]
    places, spare = np.arange(len(firsts)), SPARE
    while len(places):
        number = min(int(wanted[places].max()) + spare, len(seconds))
        asked = pieces.transform([firsts[place] for place in places])
        for place, near in zip(places, search.kneighbors(asked, number, return_distance=False), strict=True):
            texts = (seconds[column] for column in near)
            others[place] = [text for text in texts if text not in excluded[firsts[place]]][: wanted[place]]
        places = np.array([place for place in places if len(others[place]) < wanted[place]], dtype=np.int64)
        spare = max((len(excluded[firsts[place]]) for place in places), default=0)
    return others
