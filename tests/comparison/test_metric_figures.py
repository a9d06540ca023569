"""The figures of the metric carry the values that they were given."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from figure_checks import LONG_NAMES, LOSS_NAMES, check_legible, list_texts
from layer_distillation.comparison.metric_figures import (
    ArmInterval,
    ParetoPoint,
    build_mean_ranks,
    build_metric_intervals,
    build_pareto,
    choose_limits,
    find_pareto_front,
    list_groups,
)

ARMS = [
    ArmInterval("scratch", 0.75, 0.72, 0.78, [0.74, 0.76], True),
    ArmInterval("odd", 0.5, 0.4, 0.6, [0.45, 0.5, 0.55], False),
    ArmInterval("even", 0.625, 0.6, 0.65, [0.62, 0.63], False),
]


def get_line(figure: Figure, label: str) -> Line2D:
    return next(line for line in figure.axes[0].lines if line.get_label() == label)


def list_rows(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_arms_are_sorted_by_mean_and_controls_come_last():
    assert list_rows(build_metric_intervals(ARMS, "accuracy", None)) == ["even", "odd", "scratch"]


def test_row_0_is_at_the_top():
    bottom, top = build_metric_intervals(ARMS, "accuracy", None).axes[0].get_ylim()
    assert bottom > top


def test_an_interval_ends_at_low_and_high_with_its_one_marker_at_the_mean():
    line = get_line(build_metric_intervals(ARMS, "accuracy", None), "odd")
    assert line.get_xdata().tolist() == [0.4, 0.5, 0.6]
    assert line.get_markevery() == [1]
    assert set(line.get_ydata()) == {1}


def test_an_interval_wider_than_all_there_is_to_see_leaves_the_others_legible():
    wide = ArmInterval("random", 0.6, 0.0, 1.0, [0.45, 0.74], True)
    assert choose_limits([*ARMS, wide], [0.45, 0.76]) == pytest.approx((0.4 - 0.019, 0.78 + 0.019))
    low, high = build_metric_intervals([*ARMS, wide], "accuracy", 0.8).axes[0].get_xlim()
    assert 0.3 < low < 0.4
    assert 0.8 < high < 0.9


def test_a_single_arm_has_an_axis_around_its_interval():
    assert choose_limits([ArmInterval("odd", 0.5, 0.4, 0.6, [0.5], False)]) == pytest.approx((0.39, 0.61))
    low, high = choose_limits([ArmInterval("odd", 0.5, 0.5, 0.5, [0.5], False)])
    assert low < 0.5 < high


def test_every_seed_is_a_tick_in_its_row():
    seeds = [line for line in build_metric_intervals(ARMS, "accuracy", None).axes[0].lines if line.get_marker() == "|"]
    assert [list(line.get_xdata()) for line in seeds] == [[0.62, 0.63], [0.45, 0.5, 0.55], [0.74, 0.76]]
    assert [round(line.get_ydata()[0]) for line in seeds] == [0, 1, 2]


def test_controls_have_another_marker_and_lie_below_a_divider():
    figure = build_metric_intervals(ARMS, "accuracy", None)
    assert get_line(figure, "scratch").get_marker() != get_line(figure, "odd").get_marker()
    divider = next(line for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1])
    assert 1.3 < divider.get_ydata()[0] < 2


def test_the_teacher_is_a_dashed_labelled_line_at_its_value():
    figure = build_metric_intervals(ARMS, "accuracy", 0.875)
    line = next(line for line in figure.axes[0].lines if list(line.get_xdata()) == [0.875, 0.875])
    assert line.get_linestyle() == "--"
    assert "teacher 0.875" in list_texts(figure)
    assert not any("teacher" in text for text in list_texts(build_metric_intervals(ARMS, "accuracy", None)))


@pytest.mark.parametrize(
    "arms",
    [
        [ArmInterval("one", 0.5, 0.5, 0.5, [0.5], False)],
        [ArmInterval("control", 0.5, 0.5, 0.5, [0.5], True)],
        [ArmInterval(name, 0.5, 0.5, 0.5, [0.5] * 3, index > 8) for index, name in enumerate(LONG_NAMES)],
        [ArmInterval("$\\frac$", 1e-9, -1e-9, 2e-9, [1e-9], False)],
    ],
)
def test_extreme_arms_stay_legible(arms):
    check_legible(build_metric_intervals(arms, "test cross-entropy (nats)", 0.99))


POINTS = [
    ParetoPoint("small", 10_000_000, 0.7, 0.69, 0.71),
    ParetoPoint("best", 20_000_000, 0.9, 0.89, 0.91),
    ParetoPoint("beaten", 20_000_000, 0.8, 0.79, 0.81),
    ParetoPoint("large", 30_000_000, 0.85, 0.84, 0.86),
]


def test_the_front_holds_what_no_smaller_or_equal_student_matches():
    assert [point.name for point in find_pareto_front(POINTS)] == ["small", "best"]


def test_of_equal_students_one_is_on_the_front():
    assert len(find_pareto_front([POINTS[0], POINTS[0]._replace(name="twin")])) == 1


def test_the_front_is_drawn_as_steps_over_millions_of_parameters():
    line = get_line(build_pareto(POINTS, "accuracy"), "Pareto front")
    assert line.get_drawstyle() == "steps-post"
    assert np.column_stack(line.get_data()).tolist() == [[10, 0.7], [20, 0.9]]


def test_intervals_and_beaten_students_are_drawn_too():
    figure = build_pareto(POINTS, "accuracy")
    segments = np.array(figure.axes[0].collections[0].get_segments())
    assert segments.tolist() == [[[10, 0.69], [10, 0.71]], [[30, 0.84], [30, 0.86]]]  # of one size: on each other
    beaten = get_line(figure, "matched or beaten by one that is no larger")
    assert np.column_stack(beaten.get_data()).tolist() == [[20, 0.8], [30, 0.85]]


@pytest.mark.parametrize(("spread", "sizes"), [(0.0, [66]), (0.001, [66]), (0.001, [52, 66, 81])])
def test_labels_of_twelve_students_do_not_overlap(spread, sizes):
    points = [
        ParetoPoint(name, sizes[index % len(sizes)] * 10**6, value := 0.8 + spread * index, value - 0.01, value + 0.01)
        for index, name in enumerate(LONG_NAMES)
    ]
    figure = build_pareto(points, "accuracy")
    check_legible(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = [text for text in figure.findobj(Annotation) if text.get_text() in LONG_NAMES]
    boxes = [super(Annotation, label).get_window_extent(renderer) for label in labels]  # without the thin line
    assert len(boxes) == 12
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # with itself alone


def test_the_axis_leaves_room_for_the_longest_name_beside_the_largest_student():
    points = [point._replace(name=name) for point, name in zip(POINTS, LONG_NAMES, strict=False)]
    labels = build_pareto(points, "accuracy").findobj(Annotation)
    assert [label.get_ha() for label in labels] == ["left"] * 4


def test_a_single_student_is_a_picture():
    check_legible(build_pareto([POINTS[0]._replace(low=0.7, high=0.7)], "accuracy"))


def test_groups_are_the_longest_runs_below_the_critical_difference():
    assert list_groups([1.0, 1.5, 2.5, 4.0], 1.6) == [(0, 2), (2, 3)]
    assert list_groups([1.0, 2.0, 3.0], 1.0) == []
    assert list_groups([2.0, 2.0, 2.0], 0.0) == [(0, 2)]


def test_every_arm_is_tied_to_its_mean_rank_and_named_with_it():
    figure = build_mean_ranks({"odd": 2.75, "even": 1.25, "top": 2.0}, None)
    assert {name: get_line(figure, name).get_xdata()[0] for name in ("even", "top", "odd")} == {
        "even": 1.25,
        "top": 2.0,
        "odd": 2.75,
    }
    assert {"even  1.25", "top  2.00", "2.75  odd"} <= set(list_texts(figure))


def test_thick_lines_cover_a_group_and_the_ruler_is_as_long_as_the_critical_difference():
    figure = build_mean_ranks({"odd": 2.75, "even": 1.25, "top": 2.0}, 1.0)
    groups = [line.get_xdata() for line in figure.axes[0].lines if line.get_label() == "group"]
    assert np.allclose(groups, [[1.25, 2.0], [2.0, 2.75]], atol=0.05)
    assert any(list(line.get_xdata()) == [1, 2.0] and line.get_marker() == "|" for line in figure.axes[0].lines)


def test_without_a_critical_difference_nothing_is_joined():
    figure = build_mean_ranks({"odd": 1.5, "even": 1.5}, None)
    assert not [line for line in figure.axes[0].lines if line.get_label() == "group"]
    assert not any("critical" in text for text in list_texts(figure))


@pytest.mark.parametrize(
    ("ranks", "difference"),
    [
        ({"one": 1.0}, None),
        ({"a": 1.4, "b": 1.6}, 7.5),
        ({name: 1.0 + index for index, name in enumerate(LONG_NAMES)}, 4.5),
        (dict.fromkeys(LONG_NAMES, 6.5), 4.5),
        ({name: 1.0 + index for index, name in enumerate(LOSS_NAMES)}, 2.5),
    ],
)
def test_extreme_ranks_stay_legible(ranks, difference):
    check_legible(build_mean_ranks(ranks, difference))
