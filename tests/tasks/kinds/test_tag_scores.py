"""Scores of tags by hand, and which of them tags have."""

import numpy as np
import pytest

from layer_distillation.tasks.kinds import tag_scores
from layer_distillation.tasks.kinds.entry import Truth

TAGS = ["B-a", "B-b", "I-a", "O"]


def test_names_without_a_prefix_have_accuracy_alone():
    assert tag_scores.list_default_metrics(["NOUN", "VERB"]) == ("accuracy",)
    assert tag_scores.list_default_metrics(TAGS)[0] == "entity_f1"
    with pytest.raises(ValueError, match=r"entity_f1 cannot score the tags 'NOUN', 'VERB': choose from accuracy"):
        tag_scores.check_metric("entity_f1", ["NOUN", "VERB"])
    with pytest.raises(ValueError, match="strict_entity_f1 cannot score the tags"):
        tag_scores.check_metric("strict_entity_f1", ["I-a", "O"])


def test_scores_by_hand_and_by_weights():
    """Two sentences: a rightly found entity, one of another type, one missed."""
    labels, answers = np.array([0, 2, 3, 1, 3]), np.array([0, 2, 3, 0, 3])
    truth = Truth(labels, TAGS, np.array([3, 2]))
    logits = np.eye(4)[answers]
    scores = tag_scores.score(logits, truth, ("entity_f1", "entity_precision", "accuracy"))
    assert scores == {
        "entity_f1": 0.5,
        "entity_precision": 0.5,
        "accuracy": 0.8,
        "entity_f1_a": pytest.approx(2 / 3),
        "entity_f1_b": 0.0,
    }
    scorer = tag_scores.list_scorers(TAGS)["entity_f1"](answers[None], truth)
    assert scorer(np.array([[2.0, 0.0], [0.0, 2.0]])).tolist() == [[1.0], [0.0]]
    constants = tag_scores.list_constants("entity_f1", answers, truth)
    assert set(constants) == {"O"}
