"""Figures of reports: each kind takes a table of named columns and the names that say what is what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steerlab.errors import SteerlabError, listing, nearest
from steerlab.figures.kinds import panelled, pictured, plotted, sided
from steerlab.figures.kinds.columns import Columns, Drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS: dict[str, Callable[[Columns, Drawn], Figure]] = {
    "head grid": pictured.head_grid,
    "tokens": pictured.tokens,
    "maps": pictured.maps,
    "frames": pictured.frames,
    "pictures": pictured.pictures,
    "mode maps": sided.mode_maps,
    "similarity": pictured.similarities,
    "dose response": plotted.doses,
    "lines": plotted.lined,
    "spectrum": plotted.spectral,
    "manifold": plotted.curved,
    "scatter": plotted.scattered,
    "bars": plotted.barred,
    "compared": panelled.grouped,
    "ribbons": panelled.ribboned,
}


def draw(kind: str, columns: Columns, plot: Drawn) -> Figure:
    """Draw one figure of a report."""
    if kind not in PLOTS:
        raise SteerlabError(f"no figure of kind {kind!r}{nearest(kind, PLOTS)} (known: {listing(PLOTS)})")
    if columns and not any(len(values) for values in columns.values()):
        raise SteerlabError(f"figure {plot.title!r}: its table has no rows (columns: {listing(columns)})")
    try:
        return PLOTS[kind](columns, plot)
    except KeyError as missing:
        raise SteerlabError(
            f"figure {plot.title!r}: it needs {missing.args[0]!r}, and its table has {listing(columns)}"
        ) from None
    except SteerlabError as fault:
        raise SteerlabError(f"figure {plot.title!r}: {fault}") from None
