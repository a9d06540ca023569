"""The gate, the frontier and the verdict, from made-up measurements."""

import pytest

from layer_distillation.export.verdict import COSTS, find_frontier, get_quality, judge, write_verdict
from layer_distillation.records.export_record import STUDENT, TEACHER, TRIMMED, Artifact
from made_exports import STUDENT_FORMS, TEACHER_FORMS, make_artifact, make_export


def test_the_verdict_says_what_the_fastest_form_gains_and_which_the_quantized_teacher_dominates():
    assert write_verdict(make_export(*STUDENT_FORMS, *TEACHER_FORMS)) == [
        "the student is on the frontier: student, onnx-int8 against teacher, onnx-int8, 0.0116 less accuracy, 1.92 "
        "times as fast in batches of 1 and 2.00 times in batches of 32, 0.76 of its size",
        "dominated: student, pytorch by teacher, onnx-int8, 0.0089 more accuracy, 2.20 times as fast in batches of 1 "
        "and 1.25 times in batches of 32, 0.34 of its size",
    ]


def test_a_student_of_which_every_form_is_dominated_is_told_so():
    lines = write_verdict(make_export(STUDENT_FORMS[0], *TEACHER_FORMS))
    assert lines[0].startswith("the student is dominated: the teacher in some form is as good, as fast and as small")
    assert len(lines) == 2


def test_without_the_teacher_or_without_scores_there_is_no_verdict():
    assert write_verdict(make_export(*STUDENT_FORMS)) == []
    assert write_verdict(make_export(Artifact(STUDENT, "onnx", None, 1), *TEACHER_FORMS)) == []


def test_the_frontier_is_what_nothing_beats_at_no_higher_cost():
    export = make_export(*STUDENT_FORMS, *TEACHER_FORMS)
    frontier = find_frontier(export.artifacts, lambda made: get_quality(made, export), COSTS["ms, batch of 32"])
    assert [made.name for made in frontier] == ["student, onnx-int8", "teacher, onnx-int8", "teacher, pytorch"]


def test_of_two_at_one_cost_the_better_is_on_the_frontier():
    made = [make_artifact(STUDENT, form, quality, 1, 1, 5) for form, quality in (("onnx", 0.8), ("onnx-int8", 0.9))]
    export = make_export(*made)
    assert find_frontier(made, lambda one: get_quality(one, export), COSTS["MB"]) == [made[1]]


@pytest.mark.parametrize(("difference", "is_warned"), [(0.02, False), (-0.01, False), (-0.0101, True)])
def test_the_gate_warns_of_what_loses_more_than_is_allowed(difference, is_warned):
    made = make_artifact(TRIMMED, "onnx-int8", 0.8, 1, 1, 1)
    made.change = {"difference": difference, "low": difference - 0.005, "high": difference + 0.005}
    judge(made, make_export(made))
    assert (made.warning is not None) == is_warned
    if is_warned:
        assert made.warning == (
            "loses 0.0101 [0.0051, 0.0151] of test accuracy against the student in PyTorch, more than 0.01"
        )


def test_the_teacher_passes_no_gate():
    made = make_artifact(TEACHER, "onnx-int8", 0.5, 1, 1, 1)
    made.change = {"difference": -0.4, "low": -0.5, "high": -0.3}
    judge(made, make_export(made))
    assert made.warning is None
