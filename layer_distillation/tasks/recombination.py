"""Pairs of texts that no one has labelled, made of the training pairs' own: each first text with second texts that are
near it and not its own.

After the silver data of Augmented SBERT (Thakur et al. 2021, section 3.1, BM25 sampling): pairs drawn at random are
mostly unrelated, which a student learns at once, and near ones lie where the teacher's answer is worth asking for.

Entry: `recombine_pairs`.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

PIECES = {"analyzer": "char_wb", "ngram_range": (2, 4), "sublinear_tf": True}  # of any script, without a list of words
SPARE = 8  # neighbours of a text that may be its own partners or itself


def recombine_pairs(
    first: Sequence[str], second: Sequence[str], count: int, seed: int, left_out: Iterable[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """At most `count` different pairs, none of them a given one and none of a text with itself.

    Each first text with its nearest other second text (cosine of TF-IDF over pieces of words), then each with its next
    nearest, and so on; of the last round as many as are missing, drawn by `seed`.

    Args:
        first: (rows,) a text of each training row.
        second: (rows,) the other one.
        left_out: further pairs that are not made, such as those of other splits.
    """
    given = {*zip(first, second, strict=True), *left_out}
    firsts, seconds = list(dict.fromkeys(first)), list(dict.fromkeys(second))
    pieces = TfidfVectorizer(**PIECES, dtype=np.float32).fit([*firsts, *seconds])
    rounds = -(-count // len(firsts))
    num_neighbours = min(rounds + SPARE, len(seconds))
    search = NearestNeighbors(n_neighbors=num_neighbours, metric="cosine").fit(pieces.transform(seconds))
    nearest = search.kneighbors(pieces.transform(firsts), return_distance=False)
    others = [
        [text for place in places if (text := seconds[place]) != own and (own, text) not in given][:rounds]
        for own, places in zip(firsts, nearest, strict=True)
    ]
    pairs: list[tuple[str, str]] = []
    for rank in range(rounds):
        found = [(own, texts[rank]) for own, texts in zip(firsts, others, strict=True) if len(texts) > rank]
        if len(found) > count - len(pairs):
            drawn = np.random.default_rng(seed).permutation(len(found))[: count - len(pairs)]
            found = [found[place] for place in sorted(drawn)]
        pairs += found
    return pairs
