"""Points in two or three coordinates with the curves through them and the paths between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.curves import DASHES, MARKERS
from steerlab.figures.drawing import CYCLIC, KINDS, array, canvas, colours
from steerlab.figures.labels import Labels, dress, legend_below, titled
from steerlab.figures.names import place_names

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_FIRST = "#4d4d4d"  # the fitted curve is the ground on which coloured paths are compared


@dataclass(frozen=True, eq=False)
class Coordinate:
    """What the colours of points mean.

    Parameters
    ----------
    values : Tensor
        ``[point]``.
    label : str
        The coordinate with its unit.
    period : float, optional
        Where it begins again, such as 7 for days of the week; the colours then close too.
    """

    values: Any
    label: str = ""
    period: float | None = None

    def scale(self) -> ScalarMappable:
        """Its colours."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        if self.period is None:
            return colours(array(self.values, "point"))
        if not self.period > 0:
            raise SteerlabError(f"period={self.period:g} of the coordinate is not above 0")
        return ScalarMappable(Normalize(0, self.period), CYCLIC)


def manifold(
    points: Any,
    paths: Mapping[str, Any] | None = None,
    *,
    names: Sequence[str] = (),
    colour: Coordinate | None = None,
    labels: Labels | None = None,
) -> Figure:
    """Points and curves in a plane or in space; the first curve is solid, the others are coloured and dashed.

    Parameters
    ----------
    points : Tensor
        ``[point, axis]`` with 2 or 3 axes; ``[0, axis]`` where only curves are drawn.
    paths : mapping, optional
        Name -> ``[step, axis]``, drawn in the order of its rows. The last step bears a mark.
    names : list of str, optional
        ``[point]``; an empty name is not written.
    colour : Coordinate, optional
        What the colour of the points shows.
    labels : Labels, optional
        Title and axes. Axes have equal units of length unless one is more than four times as long.

    Examples
    --------
    >>> figure = manifold([[0, 1], [1, 0]], {"straight": [[0, 1], [1, 0]]}, labels=Labels(x="PC 1", y="PC 2"))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['straight']
    """
    labels, paths = labels or Labels(), paths or {}
    every = {name: array(path, "step, axis") for name, path in paths.items()}
    given = np.asarray(points, dtype=np.float32) if not len(points) else array(points, "point, axis")
    sizes = (
        {part.shape[-1] for part in (given, *every.values())}
        if len(given)
        else {part.shape[-1] for part in every.values()}
    )
    if len(sizes) != 1 or not sizes <= {2, 3}:
        raise SteerlabError(f"points and paths have 2 or 3 axes, all of them as many, not {sorted(sizes)}")
    if short := [name for name, path in every.items() if len(path) < 2]:
        raise SteerlabError(f"the path {short[0]!r} has 1 step: 2 or more are needed")
    size = sizes.pop()
    given = given.reshape(-1, size)
    counted = [("names", names, len(names))]
    counted += [] if colour is None else [("coordinates", colour.values, 1)]
    for what, values, needed in counted:
        if needed and len(values) != len(given):
            raise SteerlabError(f"{len(given)} points and {len(values)} {what}: one a point is needed")
    figure = canvas(5.2, 4.3)
    axes = figure.add_subplot(projection="3d" if size == 3 else None)
    for i, (name, path) in enumerate(every.items()):
        draw_path(axes, path, name, i)
    if len(given):
        _draw_points(figure, axes, given, colour)
    _shape(axes, np.concatenate([given, *every.values()]), labels)
    legend_below(figure, axes)
    titled(figure, labels.title)
    if len(names):
        place_names(axes, given, [str(name) for name in names])
    return figure


def draw_path(axes: Any, path: np.ndarray, name: str, place: int) -> None:
    """Draw one path ``[step, axis]`` as its place among all says; the first is the ground of the others."""
    i = place
    style = {"color": KINDS[(i - 1) % len(KINDS)] if i else _FIRST, "linestyle": DASHES[i % len(DASHES)]}
    if i:
        style |= {"marker": MARKERS[i % len(MARKERS)], "markevery": [len(path) - 1], "markersize": 6}
    axes.plot(*path.T, label=name, linewidth=1.8 if i else 1.4, **style)


def share_units(axes: Any, places: np.ndarray) -> None:
    """Equal units of length on both axes of a plane, where that leaves both of them readable."""
    ranges = np.ptp(places, axis=0)
    axes.margins(0.12)
    if ranges.min() * 4 >= ranges.max() > 0:
        axes.set_aspect("equal", adjustable="datalim")


def _draw_points(figure: Figure, axes: Any, points: np.ndarray, colour: Coordinate | None) -> None:
    # both ends of a cyclic map are pale: the dark edge keeps them visible on white
    style = {"s": 34, "edgecolors": "#333333", "linewidths": 0.6, "zorder": 3}
    style |= {"depthshade": False} if points.shape[1] == 3 else {}
    if colour is None:
        axes.scatter(*points.T, color=KINDS[0], **style)
        return
    values, scale = array(colour.values, "point"), colour.scale()
    values = values if colour.period is None else values % colour.period
    axes.scatter(*points.T, color=scale.to_rgba(values), **style)
    bar = figure.colorbar(scale, ax=axes, shrink=0.8, pad=0.12 if points.shape[1] == 3 else 0.02)
    bar.set_label(colour.label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _shape(axes: Any, places: np.ndarray, labels: Labels) -> None:
    """Label the axes and give them equal units of length where that leaves all of them readable."""
    if places.shape[1] == 2:
        dress(axes, labels)
        share_units(axes, places)
        return
    ranges = np.ptp(places, axis=0)
    for side, own in zip((axes.xaxis, axes.yaxis, axes.zaxis), labels.axes(), strict=True):
        side.set_label_text(own.label, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.set_box_aspect(ranges / ranges.max() if ranges.min() * 4 >= ranges.max() > 0 else None)
