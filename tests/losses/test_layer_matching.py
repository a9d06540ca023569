"""Which teacher layer a student layer imitates."""

import itertools
import operator
import random

import pytest

from layer_distillation.losses.layer_matching import check_final_norm, match_in_order, resolve_layer_matching


@pytest.mark.parametrize(
    ("teacher_num_layers", "student_num_layers", "expected"),
    [
        (12, 6, [1, 3, 5, 7, 9, 11]),
        (12, 4, [2, 5, 8, 11]),
        (6, 4, [0, 2, 3, 5]),
        (5, 5, [0, 1, 2, 3, 4]),
        (7, 1, [6]),
        (2, 4, [0, 0, 0, 1]),
    ],
)
def test_by_default_a_student_layer_imitates_the_end_of_its_block(teacher_num_layers, student_num_layers, expected):
    assert resolve_layer_matching("block", teacher_num_layers, student_num_layers) == expected


def test_one_teacher_layer_cannot_be_the_last_and_another_of_several():
    assert match_in_order([[0.5]], ends_meet=True) == [0]
    with pytest.raises(ValueError, match="only layer can be matched with the last of the student's 2 layers"):
        match_in_order([[0.5], [0.5]], ends_meet=True)


def test_a_strategy_or_a_list_says_it_otherwise():
    assert resolve_layer_matching("top", 12, 3) == [0, 1, 2]
    assert resolve_layer_matching("11,0,5", 12, 3) == [11, 0, 5]


@pytest.mark.parametrize(
    ("matching", "message"),
    [
        ("1,2", "names 2 layers, and the student has 3: name one teacher layer per student layer"),
        ("1,2,12", "names layer 12, and the teacher has 0 to 11"),
        ("1,-1,2", "-1"),
        ("blok", "blok names no .* mean block. choose one of block, top, bottom, .* or list them, such as 1,3,5"),
        ("scratch", "scratch names no teacher layer"),
    ],
)
def test_what_cannot_be_matched_is_refused(matching, message):
    with pytest.raises(ValueError, match=message):
        resolve_layer_matching(matching, 12, 3)


def test_a_name_that_has_too_few_layers_says_which_flag_it_is():
    with pytest.raises(ValueError, match="--layer_matching odd: student_num_layers is 4, but"):
        resolve_layer_matching("odd", 6, 4)


def test_a_random_matching_is_drawn_by_the_seed():
    draws = {tuple(resolve_layer_matching("random", 12, 3, seed)) for seed in range(5)}
    assert len(draws) > 1
    assert tuple(resolve_layer_matching("random", 12, 3, seed=4)) in draws


def test_a_state_behind_the_final_norm_is_compared_with_its_like_only():
    check_final_norm("bert", [0, 1], 4)
    check_final_norm("llama", [1, 3], 4)
    for layers in ([0, 1], [3, 3]):
        with pytest.raises(ValueError, match=r"has passed the final norm.*with teacher layer 3"):
            check_final_norm("llama", layers, 4)


def test_best_keeps_the_order_and_gives_every_layer_a_target_of_its_own():
    # Layer by layer the largest are 2, 0 and 2; of the ascending triples 0 2 3 has the most.
    similarity = [[0.5, 0.2, 0.9, 0.0], [0.7, 0.1, 0.3, 0.2], [0.1, 0.2, 0.9, 0.8]]
    assert match_in_order(similarity) == [0, 2, 3]


def test_best_is_the_best_of_all_ascending_lists():
    draw = random.Random(0)
    for num_student_layers, num_teacher_layers in [(1, 5), (3, 6), (4, 4), (5, 7)]:
        similarity = [[draw.random() for _ in range(num_teacher_layers)] for _ in range(num_student_layers)]
        lists = itertools.combinations(range(num_teacher_layers), num_student_layers)
        expected = max(lists, key=lambda layers: sum(map(operator.getitem, similarity, layers)))
        assert match_in_order(similarity) == list(expected)


def test_best_repeats_layers_only_where_the_student_has_more():
    assert match_in_order([[0.9, 0.1], [0.8, 0.3], [0.1, 0.7]]) == [0, 0, 1]
    assert match_in_order([[0.5, 0.5, 0.5]] * 2) == [0, 1]  # a tie goes to the input's end


def test_best_matches_what_passed_the_final_norm_with_its_like():
    similarity = [[0.1, 0.2, 0.9], [0.9, 0.8, 0.1]]
    assert match_in_order(similarity, ends_meet=True) == [1, 2]
    assert match_in_order([[0.9, 0.8, 0.1]], ends_meet=True) == [2]
    check_final_norm("llama", match_in_order(similarity, ends_meet=True), 3)


def test_best_is_refused_where_nobody_has_looked_at_the_student():
    with pytest.raises(ValueError, match="best needs models at work on some rows: resolve it first, and name the list"):
        resolve_layer_matching("best", 12, 3)
