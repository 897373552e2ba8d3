"""Kinds of figures with axes: doses, lines, spectra, manifolds, scatters and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.bars import bars, stacked_bars
from steerlab.figures.curves import lines, spectrum
from steerlab.figures.doses import dose_response
from steerlab.figures.kinds.columns import (
    SCALES,
    Columns,
    Drawn,
    chosen,
    labels,
    listed,
    number,
    numbers,
    relabelled,
    series,
    texts,
)
from steerlab.figures.kinds.panelled import beside, side_by_side
from steerlab.figures.labels import Axis
from steerlab.figures.manifolds import Coordinate, manifold
from steerlab.figures.scatters import scatter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def doses(columns: Columns, plot: Drawn) -> Figure:
    """Columns `x` and `y`, and every one whose name starts with ``<y> random``."""
    x, y = plot.options["x"], plot.options["y"]
    controls = [numbers(columns, name) for name in columns if name.startswith(f"{y} random")]
    words = (plot.options.get("x label", x), plot.options.get("y label", y))
    return dose_response(numbers(columns, x), numbers(columns, y), controls, plot.title, labels=words)


def lined(columns: Columns, plot: Drawn) -> Figure:
    """A column `x` and those that `y` lists, by comma.

    ``<y> low`` and ``<y> high`` are the edges of a band, what starts with ``<y> random`` is a control. Each
    axis may have a `label`, a `scale` (``log``), `ticks` (``whole``), a `reference` and its `reference
    label`, as in ``y scale``.
    """
    x, names = plot.options["x"], _several(plot, "y")
    words = labels(plot, x, names[0] if len(names) == 1 else "")
    return lines(numbers(columns, x), series(columns, names), labels=words)


def spectral(columns: Columns, plot: Drawn) -> Figure:
    """The columns that `y` lists, against their place; `noise` names the one that chance gives.

    `effective ranks` lists a number a column; `scale` is ``log`` unless it is ``linear``.
    """
    names = _several(plot, "y")
    values = {name: numbers(columns, name, gaps=True) for name in names}
    ranks = listed(plot, "effective ranks")
    if len(ranks) not in (0, len(names)):
        raise SteerlabError(f"{len(ranks)} effective ranks for {len(names)} spectra")
    noise = numbers(columns, plot.options["noise"], gaps=True) if "noise" in plot.options else None
    y = Axis(plot.options.get("y label", "value"), chosen(plot, "scale", SCALES[::-1]) == "log")
    words = labels(plot, "rank")
    given = {name: _rank(rank) for name, rank in zip(names, ranks, strict=False)}
    return spectrum(values, noise, ranks=given, labels=type(words)(words.title, words.x, y))


def curved(columns: Columns, plot: Drawn) -> Figure:
    """Columns ``x``, ``y`` and perhaps ``z``; ``part`` says of each row ``point``, or the path it is on.

    `colour` names a column that colours the points, with its `label`, and `period` where it is cyclic;
    `names` a column of texts beside them. `panel` names a column of texts, one plane each side by side.
    """
    if "panel" in plot.options:
        return side_by_side(columns, plot)
    sides = [side for side in ("x", "y", "z") if side in columns or side != "z"]
    places = np.stack([numbers(columns, side) for side in sides], 1)
    parts = np.array(texts(columns, "part") if "part" in columns else ["point"] * len(places))
    points = parts == "point"
    paths = {str(part): places[parts == part] for part in dict.fromkeys(parts.tolist()) if part != "point"}
    names = texts(columns, plot.options["names"]) if "names" in plot.options else []
    colour = None
    if "colour" in plot.options:
        column = plot.options["colour"]
        values = numbers(columns, column, gaps=True)[points]
        colour = Coordinate(values, plot.options.get("label", column), number(plot, "period"))
    return manifold(
        places[points],
        paths,
        names=[name for name, point in zip(names, points, strict=False) if point],
        colour=colour if points.any() else None,
        labels=labels(plot, *sides),
    )


def scattered(columns: Columns, plot: Drawn) -> Figure:
    """Columns `x` and `y`; `classes` and `names` are columns of texts, and axes are as for lines.

    `panel` names a column of texts, one panel each side by side on the same axes.
    """
    if "panel" in plot.options:
        return beside(columns, plot)
    x, y = plot.options["x"], plot.options["y"]
    words = [
        texts(columns, plot.options[option]) if option in plot.options else []
        for option in ("classes", "names")
    ]
    given = labels(plot, x, y)
    return scatter(numbers(columns, x), numbers(columns, y), classes=words[0], names=words[1], labels=given)


def barred(columns: Columns, plot: Drawn) -> Figure:
    """A column `names` and those that `y` lists, with bands and controls as for lines.

    `label` is their quantity with its unit, `names label` what the names are; `form` is ``beside`` or
    ``stacked``. ``x reference`` is a line across, such as what chance retrieves, with its label.
    """
    column, given = plot.options["names"], _several(plot, "y")
    quantity = plot.options.get("label", given[0] if len(given) == 1 else "")
    words = relabelled(labels(plot), x=quantity, y=plot.options.get("names label", column))
    draw = {"beside": bars, "stacked": stacked_bars}[chosen(plot, "form", ("beside", "stacked"))]
    return draw(columns[column], series(columns, given), labels=words)


def _several(plot: Drawn, option: str) -> list[str]:
    """Names by comma, at least one."""
    names = listed(plot, option)
    if not names:
        raise KeyError(option)
    return names


def _rank(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SteerlabError(f"the effective rank {text!r} is not a number") from None
