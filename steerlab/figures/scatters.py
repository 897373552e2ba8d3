"""Two quantities against each other, in classes that colour and mark tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.curves import MARKERS
from steerlab.figures.drawing import KINDS, array, canvas
from steerlab.figures.labels import Labels, dress, legend_below, titled
from steerlab.figures.names import place_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 6  # extremes that are named


def scatter(
    x: Any,
    y: Any,
    *,
    classes: Sequence[str] = (),
    names: Sequence[str] = (),
    labels: Labels | None = None,
) -> Figure:
    """Points of two quantities; every class has its own colour and its own mark.

    Parameters
    ----------
    x, y : Tensor
        ``[point]``.
    classes : list of str, optional
        ``[point]``; they are drawn, and stand in the legend, in the order in which they first occur.
    names : list of str, optional
        ``[point]``: the six points farthest from the medians, in units of the quartile distances, are named.
        That rule is our own.
    labels : Labels, optional
        Title and axes; the reference of an axis is a dashed threshold.

    Examples
    --------
    >>> figure = scatter([0, 1], [1, 0], classes=["sink", "other"], labels=Labels(x="norm", y="attention"))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['sink', 'other']
    """
    labels = labels or Labels()
    places = [array(x, "point"), array(y, "point")]
    count = len(places[0])
    for what, given in (("values of y", places[1]), ("classes", classes), ("names", names)):
        if len(given) != count and (len(given) or what == "values of y"):
            raise SteerlabError(f"{count} points and {len(given)} {what}: one a point is needed")
    for values, axis in zip(places, labels.axes(), strict=False):
        if axis.log and not bool((values > 0).all()):
            raise SteerlabError("points on a logarithmic axis need values above 0")
    points = np.stack(places, 1)
    kinds = list(dict.fromkeys(classes)) if len(classes) else [""]
    figure = canvas(4.8, 3.5)
    axes = figure.add_subplot()
    for i, kind in enumerate(kinds):
        own = points[[one == kind for one in classes]] if len(classes) else points
        style = {"color": KINDS[i % len(KINDS)], "marker": MARKERS[i % len(MARKERS)]}
        size = 26 if count <= 200 else 10
        axes.scatter(*own.T, s=size, label=kind or None, linewidths=0.4, edgecolors="white", **style)
    dress(axes, labels)
    axes.margins(0.12)
    legend_below(figure, axes)
    titled(figure, labels.title)
    if len(names):
        log = [axis.log for axis in labels.axes()[:2]]
        far = _extremes(np.where(log, np.log(np.where(log, points, 1)), points))
        place_names(axes, points, [str(name) if i in far else "" for i, name in enumerate(names)])
    return figure


def _extremes(points: np.ndarray) -> set[int]:
    low, middle, high = np.quantile(points, (0.25, 0.5, 0.75), axis=0)
    spread = np.maximum(high - low, 1e-3 * np.ptp(points, axis=0).clip(1e-12))
    far = (np.abs(points - middle) / spread).max(1)
    return set(np.argsort(-far, kind="stable")[:_NAMED].tolist())
