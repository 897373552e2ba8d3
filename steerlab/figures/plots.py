"""Figures of reports: each kind takes a table of named columns and the names that say what is what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from steerlab.errors import SteerlabError, listing, nearest
from steerlab.figures.doses import dose_response
from steerlab.figures.grids import block_head_grid
from steerlab.figures.maps import patch_maps
from steerlab.figures.pictures import before_after

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Columns = Mapping[str, Any]


class Drawn(Protocol):
    """What is needed of a plot."""

    @property
    def kind(self) -> str:
        """One of `PLOTS`."""
        ...

    @property
    def title(self) -> str:
        """What it shows."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """Names of columns and words for axes."""
        ...


def _head_grid(columns: Columns, plot: Drawn) -> Figure:
    """Columns ``block``, ``head`` and `value`; `label` is its unit, `scale` may be ``log``."""
    block, head = (torch.as_tensor(columns[name]).long() for name in ("block", "head"))
    grid = torch.zeros(int(block.max()) + 1, int(head.max()) + 1)
    grid[block, head] = torch.as_tensor(columns[plot.options["value"]]).float()
    log = plot.options.get("scale") == "log"
    return block_head_grid(grid, plot.title, plot.options.get("label", ""), log=log)


def _doses(columns: Columns, plot: Drawn) -> Figure:
    """Columns `x` and `y`, and every one whose name starts with ``<y> random``."""
    x, y = plot.options["x"], plot.options["y"]
    controls = [values for name, values in columns.items() if name.startswith(f"{y} random")]
    labels = (plot.options.get("x label", x), plot.options.get("y label", y))
    return dose_response(columns[x], columns[y], controls, plot.title, labels=labels)


def _maps(columns: Columns, plot: Drawn) -> Figure:
    """A column ``image`` ``[n, height, width, colour]`` and the columns that `maps` lists, by comma."""
    kinds = [name.strip() for name in plot.options["maps"].split(",")]
    rows = [[columns[kind][i].numpy() for kind in kinds] for i in range(len(columns["image"]))]
    images = [image.numpy() for image in columns["image"]]
    return patch_maps(images, rows, kinds, label=plot.options.get("label", ""))


def _pictures(columns: Columns, plot: Drawn) -> Figure:
    """Every column of pictures ``[n, height, width, colour]``; `changes` lists those with difference maps."""
    rows = {
        name: [picture.numpy() for picture in values]
        for name, values in columns.items()
        if isinstance(values, torch.Tensor) and values.ndim == 4
    }
    titles = [str(title) for title in columns.get("title", ())]
    changes = [name.strip() for name in plot.options.get("changes", "").split(",") if name.strip()]
    return before_after(rows, titles, title=plot.title, differences=changes)


PLOTS: dict[str, Callable[[Columns, Drawn], Figure]] = {
    "head grid": _head_grid,
    "dose response": _doses,
    "maps": _maps,
    "pictures": _pictures,
}


def draw(kind: str, columns: Columns, plot: Drawn) -> Figure:
    """Draw one figure of a report."""
    if kind not in PLOTS:
        raise SteerlabError(f"no figure of kind {kind!r}{nearest(kind, PLOTS)} (known: {listing(PLOTS)})")
    try:
        return PLOTS[kind](columns, plot)
    except KeyError as missing:
        raise SteerlabError(
            f"figure {plot.title!r}: it needs {missing.args[0]!r}, and its table has {listing(columns)}"
        ) from None
