"""A metric knows which way it is better."""

import pytest

from distill_trainer import DistillationTrainingArguments
from layer_distillation.tasks.metric_directions import LARGER_IS_BETTER, SMALLER_IS_BETTER, is_larger_better
from layer_distillation.tasks.metrics import METRICS, compute_teacher_agreement


@pytest.mark.parametrize(
    ("metric", "is_larger"),
    [
        ("loss", False),
        ("kl_to_teacher", False),
        ("eval_kl_to_teacher", False),
        ("eval_mismatched_mse_to_teacher", False),
        ("agreement", True),
        ("eval_accuracy", True),
        ("cost", True),  # somebody else's: stock's rule
        ("my_loss", False),
    ],
)
def test_the_best_student_is_chosen_by_the_metric_s_own_direction(tmp_path, metric, is_larger):
    args = DistillationTrainingArguments(str(tmp_path), use_cpu=True, metric_for_best_model=metric)
    assert args.greater_is_better is is_larger


def test_the_user_may_say_so_but_not_otherwise(tmp_path):
    options = {"use_cpu": True, "metric_for_best_model": "kl_to_teacher"}
    assert DistillationTrainingArguments(str(tmp_path), **options, greater_is_better=False).greater_is_better is False
    with pytest.raises(ValueError, match="kl_to_teacher, which is better when smaller: leave --greater_is_better out"):
        DistillationTrainingArguments(str(tmp_path), **options, greater_is_better=True)
    own = DistillationTrainingArguments(
        str(tmp_path), use_cpu=True, metric_for_best_model="cost", greater_is_better=False
    )
    assert own.greater_is_better is False


def test_every_metric_of_our_own_making_has_its_direction():
    closeness = {*compute_teacher_agreement([[0.0, 1.0]], [[1.0, 0.0]]), *compute_teacher_agreement([[0.0]], [[1.0]])}
    assert closeness <= SMALLER_IS_BETTER | LARGER_IS_BETTER
    assert all(is_larger_better(metric) for metric in METRICS)
    assert is_larger_better("somebody_else_s") is None
