"""Curves and paths in several spaces side by side: the same colours mean the same path in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.curves import MARKERS
from steerlab.figures.drawing import KINDS, array, canvas
from steerlab.figures.labels import Labels, dress, fold, legend_below, titled
from steerlab.figures.manifolds import draw_path, share_units
from steerlab.figures.names import place_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 3  # panels that a phone shows side by side
_WIDTH, _HEIGHT = 6.4, 3.0  # inches


@dataclass(frozen=True, eq=False)
class Space:
    """What is drawn in one panel.

    Parameters
    ----------
    points : Tensor
        Knots ``[point, 2]``; ``[0, 2]`` where only curves are drawn.
    paths : mapping
        Name -> ``[step, 2]``.
    names : sequence of str
        ``[point]``; an empty name is not written.
    """

    points: Any
    paths: Mapping[str, Any] = field(default_factory=dict)
    names: Sequence[str] = ()


def spaces(panels: Mapping[str, Space], *, labels: Labels | None = None) -> Figure:
    """A curve with its knots and the paths beside it, in activation space and again in behaviour space.

    The first path of all panels is the fitted curve: grey and solid. Every other one has a colour and a dash
    of its own in all panels, and a mark at its last step.

    Parameters
    ----------
    panels : mapping
        What a space is called -> what is drawn there.
    labels : Labels, optional
        Title, and the axes of every panel. Axes have equal units of length unless one is more than four times
        as long.

    Examples
    --------
    >>> line = {"curve": [[0, 0], [1, 1]]}
    >>> figure = spaces({"activations": Space([[0, 1]], line), "behaviour": Space([[1, 0]], line)})
    >>> [axes.get_title() for axes in figure.axes]
    ['activations', 'behaviour']
    """
    labels = labels or Labels()
    if not 1 <= len(panels) <= MOST:
        raise SteerlabError(f"{len(panels)} spaces side by side: 1 to {MOST} can be read")
    order = list(dict.fromkeys(name for space in panels.values() for name in space.paths))
    figure = canvas(_WIDTH, _HEIGHT)
    panes = figure.subplots(1, len(panels), squeeze=False)[0]
    drawn = []
    for axes, (title, space) in zip(panes, panels.items(), strict=True):
        points = _plane(space.points, title, "point") if len(space.points) else np.zeros((0, 2), np.float32)
        if len(space.names) not in (0, len(points)):
            raise SteerlabError(f"{title!r} has {len(points)} points and {len(space.names)} names")
        every = {name: _plane(path, f"{title}: {name}", "step") for name, path in space.paths.items()}
        for name, path in every.items():
            draw_path(axes, path, name, order.index(name))
        if len(points):
            axes.scatter(*points.T, s=26, color=KINDS[0], edgecolors="#333333", linewidths=0.6, zorder=3)
        share_units(axes, np.concatenate([points, *every.values()]))
        dress(axes, labels)
        axes.set_title(fold(title, int(13 * _WIDTH / len(panels))), fontsize=9)
        drawn.append((axes, points, space.names))
    legend_below(figure, panes)
    titled(figure, labels.title)
    for axes, points, names in drawn:
        if len(names):
            place_names(axes, points, [str(name) for name in names])
    return figure


def clouds(
    panels: Mapping[str, Mapping[str, Any]], *, labels: Labels | None = None, shared: bool = True
) -> Figure:
    """Points in classes, panel by panel on the same axes, such as before a change and after it.

    Parameters
    ----------
    panels : mapping
        Title of a panel, with its figure, such as ``"before: gap 0.83"`` -> class -> points ``[point, 2]``.
    labels : Labels, optional
        Title, and the axes of every panel.
    shared : bool
        Whether all panels show the same stretch of both axes.

    Examples
    --------
    >>> figure = clouds({"before": {"image": [[0, 0]], "text": [[1, 1]]}})
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['image', 'text']
    """
    labels = labels or Labels()
    if not 1 <= len(panels) <= MOST:
        raise SteerlabError(f"{len(panels)} clouds side by side: 1 to {MOST} can be read")
    kinds = list(dict.fromkeys(kind for groups in panels.values() for kind in groups))
    figure = canvas(_WIDTH, _HEIGHT)
    panes = figure.subplots(1, len(panels), squeeze=False, sharex=shared, sharey=shared)[0]
    for axes, (title, groups) in zip(panes, panels.items(), strict=True):
        for kind, given in groups.items():
            points, i = _plane(given, f"{title}: {kind}", "point"), kinds.index(kind)
            style = {"color": KINDS[i % len(KINDS)], "marker": MARKERS[i % len(MARKERS)], "alpha": 0.7}
            size = 22 if len(points) <= 100 else 10
            axes.scatter(*points.T, s=size, label=kind or None, linewidths=0.3, edgecolors="white", **style)
        dress(axes, labels)
        axes.margins(0.08)
        axes.set_title(fold(title, int(13 * _WIDTH / len(panels))), fontsize=9)
    if shared:
        for axes in panes[1:]:
            axes.set_ylabel("")
    legend_below(figure, panes)
    titled(figure, labels.title)
    return figure


def _plane(values: Any, what: str, rows: str) -> np.ndarray:
    """Places ``[row, 2]``, or an error that says of what."""
    try:
        places = array(values, f"{rows}, axis")
    except SteerlabError as fault:
        raise SteerlabError(f"{what!r}: {fault}") from None
    if places.shape[1] != 2:
        raise SteerlabError(f"{what!r} has {places.shape[1]} axes: panels side by side have 2")
    if rows == "step" and len(places) < 2:
        raise SteerlabError(f"the path {what!r} has 1 step: 2 or more are needed")
    return places
