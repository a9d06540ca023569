"""Entities are seqeval's, also of sequences that no scheme allows."""

import random
import warnings

import numpy as np
import pytest

from layer_distillation.tasks.kinds.entities import (
    count_entities,
    find_entities,
    find_strict_entities,
    list_types,
)

seqeval_labels = pytest.importorskip("seqeval.metrics.sequence_labeling")
seqeval_schemes = pytest.importorskip("seqeval.scheme")

PREFIXES = {"IOB2": "BI", "IOBES": "BIES"}


def draw_tags(scheme: str, seed: int, count: int = 400) -> list[list[str]]:
    """Sentences of any tags in any order: mostly ill-formed."""
    draw = random.Random(seed)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in PREFIXES[scheme] for kind in ("a", "b-c", "d"))]
    return [draw.choices(tags, k=draw.randint(1, 9)) for _ in range(count)]


@pytest.mark.parametrize("scheme", PREFIXES)
def test_the_default_mode_is_seqevals(scheme):
    for tags in draw_tags(scheme, 1):
        assert find_entities(tags) == seqeval_labels.get_entities(tags)


@pytest.mark.parametrize("scheme", PREFIXES)
def test_the_strict_mode_is_seqevals(scheme):
    for tags in draw_tags(scheme, 2):
        found = seqeval_schemes.Tokens(tags, getattr(seqeval_schemes, scheme)).entities
        expected = [(entity.tag, entity.start, entity.end - 1) for entity in found]
        assert find_strict_entities(tags, scheme) == expected


@pytest.mark.parametrize("mode", [None, "strict"])
@pytest.mark.parametrize("scheme", PREFIXES)
def test_scores_are_seqevals_overall_and_of_each_type(scheme, mode):
    from seqeval.metrics import f1_score, precision_score, recall_score

    truth = draw_tags(scheme, 3)
    answers = [[random.Random(4 + row).choice([tag, "O", tag, tag]) for tag in tags] for row, tags in enumerate(truth)]
    tags = sorted({tag for row in truth for tag in row})
    place = {tag: index for index, tag in enumerate(tags)}
    flat = [np.array([place[tag] for row in rows for tag in row]) for rows in (answers, truth)]

    def find(row: list[str]) -> list:
        return find_entities(row) if mode is None else find_strict_entities(row, scheme)

    lengths = np.array([len(row) for row in truth])
    counts = [side[0].sum(axis=0) for side in count_entities(flat[0][None], flat[1], lengths, tags, find)]
    options = {} if mode is None else {"mode": mode, "scheme": getattr(seqeval_schemes, scheme)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hits, chosen, true = (side.sum() for side in counts)
        assert hits / chosen == pytest.approx(precision_score(truth, answers, **options))
        assert hits / true == pytest.approx(recall_score(truth, answers, **options))
        assert 2 * hits / (chosen + true) == pytest.approx(f1_score(truth, answers, **options))
        per_type = 2 * counts[0] / (counts[1] + counts[2])
        assert per_type == pytest.approx(f1_score(truth, answers, average=None, **options))
    assert list_types(tags) == ["a", "b-c", "d"]
