"""Which teacher layer a student layer imitates."""

import pytest

from layer_matching import check_final_norm, resolve_layer_matching


@pytest.mark.parametrize(
    ("teacher_num_layers", "student_num_layers", "expected"),
    [(12, 6, [1, 3, 5, 7, 9, 11]), (12, 4, [2, 5, 8, 11]), (6, 4, [0, 2, 3, 5]), (5, 5, [0, 1, 2, 3, 4]), (7, 1, [6])],
)
def test_by_default_a_student_layer_imitates_the_end_of_its_block(teacher_num_layers, student_num_layers, expected):
    assert resolve_layer_matching("block", teacher_num_layers, student_num_layers) == expected


def test_a_strategy_or_a_list_says_it_otherwise():
    assert resolve_layer_matching("top", 12, 3) == [0, 1, 2]
    assert resolve_layer_matching("11,0,5", 12, 3) == [11, 0, 5]


@pytest.mark.parametrize(
    ("matching", "message"),
    [
        ("1,2", "names 2 layers, and the student has 3: name one teacher layer per student layer"),
        ("1,2,12", "names layer 12, and the teacher has 0 to 11"),
        ("1,-1,2", "-1"),
        ("blok", "blok"),
        ("scratch", "scratch names no teacher layer"),
    ],
)
def test_what_cannot_be_matched_is_refused(matching, message):
    with pytest.raises(ValueError, match=message):
        resolve_layer_matching(matching, 12, 3)


def test_a_state_behind_the_final_norm_is_compared_with_its_like_only():
    check_final_norm("bert", [0, 1], 4)
    check_final_norm("llama", [1, 3], 4)
    for layers in ([0, 1], [3, 3]):
        with pytest.raises(ValueError, match=r"has passed the final norm.*with teacher layer 3"):
            check_final_norm("llama", layers, 4)
