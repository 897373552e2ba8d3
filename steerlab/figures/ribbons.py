"""Shares of a whole along a path as stacked areas, one panel a way of going there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError, listing
from steerlab.figures.drawing import CONTROL, CYCLIC, KINDS, array, canvas, ink
from steerlab.figures.labels import Axis, Labels, dress, fold, legend_below, plain, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT, _ROW = 6.4, 1.7, 2  # inches of all, of a panel; panels beside each other
_LETTER, _TALL = 0.023, 0.1  # of a panel: a letter's width, a line's height
_PLACES = 200  # where a name may stand


def ribbons(
    fractions: Any,
    panels: Mapping[str, Mapping[str, Any]],
    *,
    other: str = "other",
    labels: Labels | None = None,
) -> Figure:
    """Stacked areas of the probabilities of outcomes over the fraction of a path.

    Parameters
    ----------
    fractions : Tensor
        ``[waypoint]``, how far along; or a mapping with one such for each panel.
    panels : mapping
        Name of a path -> outcome -> probabilities ``[waypoint]``, the same outcomes in each; together they
        are 1 at every waypoint.
    other : str
        The outcome that is drawn in grey, on top.
    labels : Labels, optional
        Title; `x` is the way, `y` the quantity.

    Examples
    --------
    >>> figure = ribbons([0, 1], {"straight": {"Monday": [1, 0], "other": [0, 1]}})
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['Monday', 'other']
    """
    labels = labels or Labels()
    if not panels:
        raise SteerlabError("no path to draw probabilities along")
    first = next(iter(panels.values()))
    outcomes = [name for name in first if name != other] + [name for name in first if name == other]
    colours = _colours(outcomes, other)
    columns = min(_ROW, len(panels))
    rows = -(-len(panels) // columns)
    figure = canvas(_WIDTH, _HEIGHT * rows + 0.5)
    panes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panes.flat[len(panels) :]:
        axes.set_visible(False)
    for i, (title, shares) in enumerate(panels.items()):
        axes = panes.flat[i]
        if set(shares) != set(outcomes):
            raise SteerlabError(f"{title!r} has the outcomes {listing(shares)}, not {listing(outcomes)}")
        t = array(fractions[title] if isinstance(fractions, Mapping) else fractions, "waypoint")
        tall = _whole(title, {name: shares[name] for name in outcomes}, len(t))
        order = np.argsort(t, kind="stable")
        t, tall = t[order], tall[:, order]
        style = {"colors": colours, "labels": plain(outcomes), "edgecolor": "white", "linewidth": 0.4}
        axes.stackplot(t, tall, **style)
        _name_areas(axes, t, tall, outcomes, colours)
        last_row = i + columns >= len(panels)
        own = Labels("", *(Axis(axis.label) for axis in labels.axes()[:2]))
        dress(axes, Labels("", own.x if last_row else "", own.y if i % columns == 0 else ""))
        axes.tick_params(labelbottom=last_row)
        axes.set(xlim=(t[0], t[-1] if t[-1] > t[0] else t[0] + 1), ylim=(0, 1))
        axes.set_title(fold(title, int(13 * _WIDTH / columns)), fontsize=9)
    legend_below(figure, panes)
    titled(figure, labels.title)
    return figure


def _whole(title: str, shares: Mapping[str, Any], count: int) -> np.ndarray:
    """Shares ``[outcome, waypoint]``, which are a whole at every waypoint."""
    found = []
    for name, values in shares.items():
        given = array(values, "waypoint")
        if len(given) != count:
            raise SteerlabError(f"{title!r}, {name!r}: {len(given)} values for {count} waypoints")
        found.append(given)
    every = np.stack(found)
    total = every.sum(0)
    if bool((every < -1e-4).any()) or bool((np.abs(total - 1) > 1e-2).any()):
        worst = int(np.abs(total - 1).argmax())
        raise SteerlabError(
            f"probabilities are 0 or more and sum to 1; those of {title!r} sum to {total[worst]:.4g} at "
            f"waypoint {worst}, and the smallest of all is {every.min():.3g}"
        )
    return every.clip(0)


def _colours(outcomes: list[str], other: str) -> list[Any]:
    """A colour for each outcome: the palette's, or steps round a closed map where it is too short."""
    from matplotlib import colormaps

    named = [name for name in outcomes if name != other]
    few = KINDS[:-1]
    if len(named) <= len(few):
        own = list(few[: len(named)])
    else:
        turn = colormaps[CYCLIC]
        own = [turn((i + 0.5) / len(named)) for i in range(len(named))]
    return own + [CONTROL] * (len(outcomes) - len(named))


def _name_areas(axes: Any, t: np.ndarray, tall: np.ndarray, outcomes: list[str], colours: list[Any]) -> None:
    """Write an outcome's name into its area where it fits inside: colours alone are hard to tell apart."""
    from matplotlib.colors import to_rgb

    tops = tall.cumsum(0)
    fine = np.linspace(t[0], t[-1], _PLACES)
    for i, name in enumerate(outcomes):
        top = np.interp(fine, t, tops[i])
        bottom = np.interp(fine, t, tops[i] - tall[i])
        reach = int(np.ceil(_LETTER * (len(name) + 1) / 2 * _PLACES))
        # what is free over the whole width of the name
        starts = range(reach, _PLACES - reach)
        ceiling = np.array([top[k - reach : k + reach + 1].min() for k in starts])
        floor = np.array([bottom[k - reach : k + reach + 1].max() for k in starts])
        if not len(ceiling) or float((ceiling - floor).max()) < _TALL:
            continue
        best = int((ceiling - floor).argmax())
        at = (float(fine[best + reach]), float(ceiling[best] + floor[best]) / 2)
        colour = ink(to_rgb(colours[i]))
        axes.text(*at, plain([name])[0], ha="center", va="center", fontsize=7, color=colour)
