"""Names beside points, each where it hides neither another name nor a point, as far as there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steerlab.figures.labels import plain

_SIZE = 7.5  # points of a letter
_FAR = 5.0  # points from the middle of a mark to its name
_SIDES = [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (-1, -1), (1, -1)]


def place_names(axes: Any, places: np.ndarray, names: Sequence[str]) -> None:
    """Write names beside points of a panel.

    Parameters
    ----------
    axes : matplotlib Axes
        With everything else drawn and its limits final.
    places : array
        ``[point, 2]``, or 3 in space, in the units of the data.
    names : list of str
        One a point; an empty one is not written.
    """
    axes.figure.draw_without_rendering()  # the layout decides where points are on the canvas
    if places.shape[1] == 3:
        from mpl_toolkits.mplot3d.proj3d import proj_transform

        places = np.stack(proj_transform(*places.T, axes.get_proj())[:2], 1)  # as they are seen
    dots = axes.figure.dpi / 72
    points = axes.transData.transform(places) / dots
    frame = axes.bbox.extents / dots
    centre = points.mean(0)
    taken = [np.array([x - 2.5, y - 2.5, x + 2.5, y + 2.5]) for x, y in points]
    for point, data, name in zip(points, places, plain(names), strict=True):
        if not name:
            continue
        away = (point - centre) / max(float(np.linalg.norm(point - centre)), 1e-9)
        # away from the middle first: that is where there is room
        sides = sorted(_SIDES, key=lambda side: -float(np.dot(side, away)) / float(np.hypot(*side)))
        boxes = [_box(point, side, name) for side in sides]
        best = min(range(len(sides)), key=lambda i: (_hidden(boxes[i], taken, frame), i))
        (right, up), box = sides[best], boxes[best]
        taken.append(box)
        ha, va = {-1: "right", 0: "center", 1: "left"}[right], {-1: "top", 0: "center", 1: "bottom"}[up]
        offset = {"xytext": (right * _FAR, up * _FAR), "textcoords": "offset points"}
        axes.annotate(name, data, ha=ha, va=va, fontsize=_SIZE, zorder=5, **offset)


def _box(point: np.ndarray, side: tuple[int, int], name: str) -> np.ndarray:
    """Left, bottom, right and top of a name on one side of a point, in points."""
    width, height = 0.6 * _SIZE * len(name), 1.2 * _SIZE
    right, up = side
    left = point[0] + right * _FAR - width * (1 - right) / 2
    bottom = point[1] + up * _FAR - height * (1 - up) / 2
    return np.array([left, bottom, left + width, bottom + height])


def _hidden(box: np.ndarray, taken: Sequence[np.ndarray], frame: np.ndarray) -> float:
    """Area of a box that lies on others or outside the frame."""
    whole = float(np.prod(box[2:] - box[:2]))
    return whole - _common(box, frame) + sum(_common(box, other) for other in taken)


def _common(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(sides.clip(0)))
