"""Exact match and F1 are those of SQuAD's own scripts, v1.1 and v2.0."""

import random

import pytest

from layer_distillation.tasks.kinds.squad_scores import score_answer

# As the scripts evaluate-v1.1.py and evaluate-v2.0.py scored them, (exact match, F1) each; None: v1.1 has no such row.
OFFICIAL = [
    ("Denver Broncos", ["the Denver Broncos."], (1, 1), (1, 1)),
    ("Broncos", ["Denver Broncos", "Carolina Panthers"], (0, 2 / 3), (0, 2 / 3)),
    ("in 1999, in 1999", ["1999"], (0, 0.4), (0, 0.4)),
    ("U.S.", ["us"], (1, 1), (1, 1)),
    ("an-a", ["ana"], (1, 1), (1, 1)),
    ("caf\u00e9", ["cafe"], (0, 0), (0, 0)),
    ("\u201cx\u201d", ["x"], (0, 0), (0, 0)),  # only ASCII's punctuation goes
    ("the", ["a"], (1, 0), (1, 1)),
    ("", ["the"], (1, 0), (1, 1)),
    ("the", ["a", "Denver"], (1, 0), (0, 0)),  # v2 drops answers without a word where there are others
    ("Denver", ["a", "Denver"], (1, 1), (1, 1)),
    ("", [], None, (1, 1)),
    ("a", [], None, (1, 1)),
    ("Denver", [], None, (0, 0)),
    ("", ["Denver"], (0, 0), (0, 0)),
]


@pytest.mark.parametrize(("predicted", "golds", "first_version", "second_version"), OFFICIAL)
def test_as_the_official_scripts(predicted, golds, first_version, second_version):
    assert score_answer(predicted, golds, allows_null=True) == pytest.approx(second_version)
    if first_version is not None:
        assert score_answer(predicted, golds, allows_null=False) == pytest.approx(first_version)


@pytest.mark.slow
def test_v1_as_torchmetrics():
    squad = pytest.importorskip("torchmetrics.functional.text", reason="needs torchmetrics").squad
    draw = random.Random(0)
    words = [
        "the",
        "a",
        "An",
        "Denver",
        "denver,",
        "Broncos",
        "24",
        "10",
        "U.S.",
        "us",
        "--",
        "\u00e9t\u00e9",
        "theory",
    ]
    predicted = [" ".join(draw.choices(words, k=draw.randint(1, 4))) + " x" for _ in range(300)]  # an x: never empty
    golds = [[" ".join(draw.choices(words, k=draw.randint(1, 4))) + " y x" for _ in range(3)] for _ in range(300)]
    theirs = squad(
        [{"prediction_text": text, "id": str(row)} for row, text in enumerate(predicted)],
        [{"answers": {"text": texts, "answer_start": [0] * 3}, "id": str(row)} for row, texts in enumerate(golds)],
    )
    ours = [score_answer(*row, allows_null=False) for row in zip(predicted, golds, strict=True)]
    assert 100 * sum(scores.exact_match for scores in ours) / 300 == pytest.approx(theirs["exact_match"].item())
    assert 100 * sum(scores.f1 for scores in ours) / 300 == pytest.approx(theirs["f1"].item())
