"""Places for names beside points such that none overlap; all lengths are pixels, y upwards."""

import numpy as np
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

LINE_PIXELS = 19.0  # of 9 points at 100 dots per inch, with a gap
NEAR_GAP, WIDE_GAP = 14, 40  # from a point to its name: where it stands beside it, where a thin line leads to it


def place_labels(anchors: np.ndarray, widths: list[float], frame: Bbox, obstacles: list[Bbox]) -> list[Bbox]:
    """For anchors (points, 2) the boxes of their names, inside the frame, clear of the obstacles and of each other.

    Where a column of points is so dense that one name has to move, all names of that column stand at the wide gap.
    """
    heights = spread_heights(anchors, frame.y0 + LINE_PIXELS, frame.y1 - LINE_PIXELS)
    is_moved = np.abs(heights - anchors[:, 1]) > 0.7 * LINE_PIXELS
    boxes: dict[int, Bbox] = {}
    for index in map(int, np.argsort(-heights, kind="stable")):
        is_crowded = bool(is_moved[anchors[:, 0] == anchors[index, 0]].any())
        choices = list_choices(anchors[index], heights[index], widths[index], frame, is_crowded)
        taken = [*obstacles, *boxes.values()]
        boxes[index] = next((box for box in choices if not box.count_overlaps(taken)), choices[0])
    return [boxes[index] for index in range(len(anchors))]


def spread_heights(anchors: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """For anchors (points, 2), heights at least a line apart among those of equal x, as near as can be.

    In ascending order, heights less their rank times the distance have to ascend: an isotonic regression.
    """
    heights = np.empty(len(anchors))
    for column in np.unique(anchors[:, 0]):
        group = np.flatnonzero(anchors[:, 0] == column)
        group = group[np.argsort(anchors[group, 1], kind="stable")]
        shifts = LINE_PIXELS * np.arange(len(group))
        fitted = isotonic_regression(anchors[group, 1] - shifts).x
        heights[group] = np.clip(fitted, lowest, highest - shifts[-1]) + shifts
    return heights


def list_choices(anchor: np.ndarray, height: float, width: float, frame: Bbox, is_crowded: bool) -> list[Bbox]:
    """Boxes inside the frame on both sides of the anchor, the nearest to `height` first; outside if none fits."""
    num_steps = 2 * int(frame.height / LINE_PIXELS)
    shifts = sorted((0.65 * LINE_PIXELS * step for step in range(-num_steps, num_steps + 1)), key=abs)
    boxes = []
    for middle in (height + shift for shift in shifts):
        is_beside = abs(middle - anchor[1]) <= 0.7 * LINE_PIXELS and not is_crowded
        gap = NEAR_GAP if is_beside else WIDE_GAP
        for left in (anchor[0] + gap, anchor[0] - gap - width):
            boxes.append(Bbox.from_bounds(left, middle - LINE_PIXELS / 2, width, LINE_PIXELS - 1))
    inside = [box for box in boxes if np.all(box.min > frame.min) and np.all(box.max < frame.max)]
    return inside or boxes[:1]
