"""Which layers a strategy or a list chooses, and what a user hears who asks for the impossible. No model is built."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AlbertConfig,
    BertConfig,
    FunnelConfig,
    GPTNeoConfig,
    ModernBertConfig,
    PreTrainedConfig,
    ResNetConfig,
)

from student_init import (
    LAYER_STRATEGIES,
    LAYER_STRATEGY_ALIASES,
    check_layers_fit,
    choose_student_layers,
    parse_layer_list,
)


@pytest.mark.parametrize(
    ("strategy", "layers"),
    [
        ("top", [0, 1, 2, 3, 4, 5]),
        ("first", [0, 1, 2, 3, 4, 5]),
        ("bottom", [6, 7, 8, 9, 10, 11]),
        ("last", [6, 7, 8, 9, 10, 11]),
        ("odd", [1, 3, 5, 7, 9, 11]),
        ("even", [0, 2, 4, 6, 8, 10]),
        ("spread", [0, 2, 4, 7, 9, 11]),
        ("ends", [0, 1, 2, 9, 10, 11]),
        ("scratch", [None] * 6),
    ],
)
def test_twelve_layers_to_six_is_the_documented_table(strategy: str, layers: list[int | None]) -> None:
    assert choose_student_layers(strategy, 12, 6) == choose_student_layers(strategy, 12) == layers


@pytest.mark.parametrize(
    ("strategy", "num_layers", "layers"),
    [
        ("odd", 3, [1, 7, 11]),
        ("even", 3, [0, 6, 10]),
        ("odd", 2, [1, 11]),
        ("ends", 5, [0, 1, 2, 10, 11]),
        ("spread", 4, [0, 4, 7, 11]),
        ("spread", 1, [0]),
        ("ends", 1, [0]),
        ("odd", 1, [1]),
        ("bottom", 1, [11]),
    ],
)
def test_other_sizes_by_hand(strategy: str, num_layers: int, layers: list[int]) -> None:
    assert choose_student_layers(strategy, 12, num_layers) == layers


@given(
    strategy=st.sampled_from(sorted(LAYER_STRATEGIES)),
    teacher_num_layers=st.integers(1, 48),
    student_num_layers=st.integers(1, 48),
    seed=st.integers(0, 2**31),
)
def test_strategies_choose_ascending_layers_or_say_why_not(
    strategy: str, teacher_num_layers: int, student_num_layers: int, seed: int
) -> None:
    def choose() -> list[int | None]:
        return choose_student_layers(strategy, teacher_num_layers, student_num_layers, seed=seed)

    most = {"odd": teacher_num_layers // 2, "even": (teacher_num_layers + 1) // 2}.get(strategy, teacher_num_layers)
    if student_num_layers > teacher_num_layers:
        with pytest.raises(ValueError, match=f"need 1 to {teacher_num_layers}"):
            choose()
    elif student_num_layers > most:
        with pytest.raises(ValueError, match=f"'{strategy}' has at most {most} layers.*has as many: top,") as refusal:
            choose()
        for name in str(refusal.value).rpartition(": ")[2].split(", "):  # every one that is named has as many
            assert len(choose_student_layers(name, teacher_num_layers, student_num_layers)) == student_num_layers
    elif strategy == "scratch":
        assert choose() == [None] * student_num_layers
    else:
        layers = choose()
        assert len(layers) == student_num_layers
        assert layers == sorted(set(layers)) == choose()
        assert 0 <= layers[0] <= layers[-1] < teacher_num_layers
        if strategy in ("odd", "even"):
            assert {layer % 2 for layer in layers} == {int(strategy == "odd")}
        if strategy in ("spread", "ends") and student_num_layers > 1:
            assert (layers[0], layers[-1]) == (0, teacher_num_layers - 1)


@given(teacher_num_layers=st.integers(2, 48), student_num_layers=st.integers(2, 48))
def test_spread_leaves_no_gap_a_layer_larger_than_another(teacher_num_layers: int, student_num_layers: int) -> None:
    layers = choose_student_layers("spread", max(teacher_num_layers, student_num_layers), student_num_layers)
    gaps = {later - earlier for earlier, later in pairwise(layers)}
    assert max(gaps) - min(gaps) <= 1


def test_random_reaches_every_layer_and_repeats_for_a_seed() -> None:
    draws = [choose_student_layers("random", 6, 3, seed=seed) for seed in range(200)]
    assert {layer for draw in draws for layer in draw} == set(range(6))
    assert len({tuple(draw) for draw in draws}) == 20  # each of the 6-choose-3 sets
    assert draws == [choose_student_layers("random", 6, 3, seed=seed) for seed in range(200)]


def test_listed_layers_are_taken_as_given() -> None:
    assert choose_student_layers(None, 12, student_layers=parse_layer_list("11,1,3, 5,7,9")) == [11, 1, 3, 5, 7, 9]
    assert choose_student_layers(None, 2, student_layers=[1, 1, 0, 1]) == [1, 1, 0, 1]


def test_aliases_name_strategies() -> None:
    assert LAYER_STRATEGY_ALIASES == {"first": "top", "last": "bottom"}


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda: choose_student_layers("spred", 12), "'spred', did you mean 'spread'.*valid: top, .*first, last"),
        (lambda: choose_student_layers("Bottom", 12), "did you mean 'bottom'"),
        (lambda: choose_student_layers(None, 12), "valid: top, .*or give student_layers"),
        (lambda: choose_student_layers("top", 12, 0), "student_num_layers is 0, need 1 to 12"),
        (lambda: choose_student_layers("top", 12, 13), "student_num_layers is 13, need 1 to 12"),
        (lambda: choose_student_layers("top", 12, 2.5), "student_num_layers is 2.5, need a whole number"),
        (lambda: choose_student_layers("top", 0), "the teacher has 0 layers, need at least 1"),
        (lambda: choose_student_layers("odd", 12, 7), "'odd' has at most 6 layers"),
        (lambda: choose_student_layers("odd", 1), "'odd' has at most 0 layers"),
        (lambda: choose_student_layers("top", 12, student_layers=[1]), "both .*leave the other out"),
        (lambda: choose_student_layers(None, 12, student_layers=[]), "empty student_layers, need at least one"),
        (
            lambda: choose_student_layers(None, 12, student_layers=[0, 12]),
            "entry of student_layers is 12, need 0 to 11",
        ),
        (lambda: choose_student_layers(None, 12, student_layers=[-1]), "entry of student_layers is -1, need 0 to 11"),
        (lambda: choose_student_layers(None, 12, student_layers=["1"]), "student_layers is '1', need a whole number"),
        (lambda: choose_student_layers(None, 12, student_layers=[True]), "student_layers is True, need a whole number"),
        (
            lambda: choose_student_layers(None, 12, 3, [0, 1]),
            "student_num_layers 3 and 2 student_layers .0, 1.; give student_num_layers 2 or leave it out",
        ),
        (lambda: parse_layer_list("1,x"), "'1,x', need whole numbers with commas"),
        (lambda: parse_layer_list(""), "'', need whole numbers with commas"),
        (lambda: check_layers_fit(BertConfig(num_hidden_layers=6), [0, 6]), "is 6, need 0 to 5"),
        (lambda: check_layers_fit(BertConfig(num_hidden_layers=6), []), "need at least one"),
    ],
)
def test_user_errors_say_in_one_line_what_to_change(choose: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        choose()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (AlbertConfig(), "all its layers share one set of weights"),
        (FunnelConfig(), "its layers sit in blocks"),
        (GPTNeoConfig(), "its config counts the layers in nested blocks"),
        (ResNetConfig(), "no num_hidden_layers"),
    ],
)
def test_architecture_is_refused_from_its_config_with_the_reason(config: PreTrainedConfig, reason: str) -> None:
    with pytest.raises(ValueError, match=f"{config.model_type}.*{reason}.*choose a teacher"):
        check_layers_fit(config, [0])


def test_modernbert_refuses_its_layer_0_in_a_later_place() -> None:
    check_layers_fit(ModernBertConfig(), [0, 5, 3])
    with pytest.raises(ValueError, match="put layer 0 first, once, or leave it out"):
        check_layers_fit(ModernBertConfig(), [2, 0])


def test_modernbert_norm_bias_that_no_weight_could_take_over_is_refused() -> None:
    check_layers_fit(ModernBertConfig(norm_bias=True, attention_bias=True), [2, 3])
    with pytest.raises(ValueError, match="keep layer 0 first"):
        check_layers_fit(ModernBertConfig(norm_bias=True), [2, 3])
