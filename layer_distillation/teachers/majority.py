"""Whether a teacher knows more than one answer for all rows.

Entry: `warn_about_majority`.
"""

import logging

import numpy as np

from layer_distillation.tasks.data import TaskData

logger = logging.getLogger(__name__)

NOTHING_LEARNT = "it has learnt nothing that a student could imitate. Train it longer or at another learning rate"


def warn_about_majority(name: str, metrics: dict[str, dict[str, float]], data: TaskData) -> None:
    """Warns where the teacher knows no more than the most frequent class of the first validation set, or where the
    headline of another kind of task is 0: no entity found, no label given."""
    split, headline = next(iter(data.validation)), data.metric_names[0]
    if data.kind.has_label_lists and metrics.get(split, {}).get(headline) == 0:
        logger.warning(
            "%s of the teacher %s is 0 on %s, as if it gave no answer: %s",
            *(headline, name, split, NOTHING_LEARNT),
        )
    if data.is_regression or data.kind.has_label_lists or "accuracy" not in metrics.get(split, {}):
        return
    labels = np.asarray(data.validation[split]["labels"])
    majority = np.bincount(labels).max() / len(labels)
    if metrics[split]["accuracy"] <= majority:
        logger.warning(
            "the teacher %s is right on %.3f of the rows of %s, always answering the most frequent class on %.3f: %s",
            *(name, metrics[split]["accuracy"], split, majority, NOTHING_LEARNT),
        )
