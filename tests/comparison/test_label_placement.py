"""Names stand inside the frame, clear of each other and of what is drawn, in the order of their points."""

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from layer_distillation.comparison.label_placement import LINE_PIXELS, NEAR_GAP, WIDE_GAP, place_labels, spread_heights

FRAME = Bbox([[0, 0], [600, 400]])


def test_a_lone_name_stands_right_beside_its_point():
    (box,) = place_labels(np.array([[100.0, 200.0]]), [80.0], FRAME, [])
    assert (box.x0, (box.y0 + box.y1) / 2) == (100 + NEAR_GAP, pytest.approx(200, abs=1))


def test_a_name_that_does_not_fit_on_the_right_stands_on_the_left():
    (box,) = place_labels(np.array([[560.0, 200.0]]), [80.0], FRAME, [])
    assert box.x1 == 560 - NEAR_GAP


def test_a_name_moves_off_an_obstacle():
    obstacle = Bbox([[0, 195], [600, 205]])
    (box,) = place_labels(np.array([[100.0, 200.0]]), [80.0], FRAME, [obstacle])
    assert not box.overlaps(obstacle)


@pytest.mark.parametrize("seed", range(5))
def test_crowded_names_do_not_overlap_and_stay_in_the_frame(seed):
    generator = np.random.default_rng(seed)
    anchors = np.column_stack([generator.choice([80.0, 200.0, 330.0], 12), generator.uniform(100, 180, 12)])
    boxes = place_labels(anchors, list(generator.uniform(20, 200, 12)), FRAME, [])
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # with itself alone
    assert all(FRAME.x0 <= box.x0 and box.x1 <= FRAME.x1 and FRAME.y0 <= box.y0 <= box.y1 <= FRAME.y1 for box in boxes)


def test_names_of_a_dense_column_keep_its_order_at_the_wide_gap():
    anchors = np.array([[100.0, 200.0 + step] for step in (4, 0, 8)])
    boxes = place_labels(anchors, [50.0] * 3, FRAME, [])
    assert np.argsort([box.y0 for box in boxes]).tolist() == [1, 0, 2]
    assert {box.x0 for box in boxes} == {100 + WIDE_GAP}


def test_heights_that_are_far_apart_stay_and_close_ones_spread_about_their_mean():
    anchors = np.array([[0.0, 100.0], [0.0, 100.0], [0.0, 300.0], [50.0, 100.0]])
    heights = spread_heights(anchors, 0.0, 400.0)
    assert heights.tolist() == [100 - LINE_PIXELS / 2, 100 + LINE_PIXELS / 2, 300, 100]


def test_heights_stay_within_their_limits():
    heights = spread_heights(np.array([[0.0, 5.0], [0.0, 5.0]]), 10.0, 400.0)
    assert heights.tolist() == [10, 10 + LINE_PIXELS]
