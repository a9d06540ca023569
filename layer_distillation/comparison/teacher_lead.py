"""Whether a teacher has learned its task: is it beyond what one answer for all rows scores?

A task whose teacher is not says nothing of what students keep of one; it stays in its own tables, marked, and is left
out of whatever averages over tasks.

Entry: `measure_lead`.
"""

from typing import NamedTuple

import numpy as np

from layer_distillation.comparison.metrics import resample_scores, score_all_rows
from layer_distillation.comparison.runs import Run
from layer_distillation.comparison.statistics import Estimate, compare_runs, compute_covariance
from layer_distillation.tasks.weighted_scores import RANKING_NAMES

NUM_RESAMPLES = 2000  # the interval's width is then good to 2 %


class TeacherLead(NamedTuple):
    """A teacher's metric minus that of the best constant answer, on the same rows, over which the interval is."""

    metric_name: str
    teacher: float
    constant: float
    answer: str | None  # the class's name; None where every constant answer scores 0
    estimate: Estimate

    @property
    def is_shown(self) -> bool:
        return self.estimate.low > 0

    @property
    def rival(self) -> str:
        if self.metric_name in RANKING_NAMES:
            return "one answer for all rows"
        if self.answer is None:
            return "zero"
        return "the majority class" if self.metric_name == "accuracy" else f"answering {self.answer} always"

    def describe(self) -> str:
        """`is not told from the majority class: 0.542 against 0.527, interval of the difference [-0.021, 0.051]`"""
        verb = "is worse than" if self.estimate.high < 0 else "is not told from"
        interval = f"[{self.estimate.low:.3f}, {self.estimate.high:.3f}]"
        numbers = f"{self.teacher:.3f} against {self.constant:.3f}"
        return f"{verb} {self.rival}: {self.metric_name} {numbers}, 95 % interval of the difference {interval}"


def measure_lead(run: Run, split: str, metric_name: str) -> TeacherLead | None:
    """Of the teacher of a run; None where its outputs on the split are not kept, or are the
    labels.

    The answer is the one that scores highest: for accuracy the largest class, for F1 the class that it counts. Constant
    answers have a Matthews correlation, and a correlation with numbers, of 0.
    """
    has_teacher = split in run.labelled_rows and run.get_kept(split, "teacher") is not None
    if not has_teacher or run.has_teacher_for_gold(split):
        return None
    truth, given = run.get_truth(split), run.get_answers(metric_name, split, "teacher")
    constants = run.list_constants(metric_name, given, split)
    answers = np.stack([given, *constants.values()])
    scores = score_all_rows(run.make_scorer(metric_name, answers, split), truth.num_rows)
    best = 1 + int(np.argmax(scores[1:]))
    scorer = run.make_scorer(metric_name, answers[[0, best]], split)
    num_resamples = run.limit_resamples(NUM_RESAMPLES, metric_name, split, 2)
    covariance = compute_covariance(resample_scores(scorer, truth.num_rows, num_resamples))
    estimate = compare_runs(scores[[0, best]], covariance, [0], [1], truth.num_rows)
    answer = list(constants)[best - 1] if scores[best] > 0 and metric_name not in RANKING_NAMES else None
    return TeacherLead(metric_name, float(scores[0]), float(scores[best]), answer, estimate)
