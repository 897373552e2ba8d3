"""The kind of figure that shows both sides of modes of queries and keys over pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from steerlab.errors import SteerlabError
from steerlab.figures.kinds.columns import Columns, Drawn, listed, numbers, texts
from steerlab.figures.labels import titled
from steerlab.figures.two_sided import two_sided_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mode_maps(columns: Columns, plot: Drawn) -> Figure:
    """A column ``image`` ``[n, height, width, colour]``, and two for each name that `modes` lists, by comma.

    ``<name> query`` is drawn in red and ``<name> key`` in cyan, ``[n, row, column]`` each; `rows` is a column
    of texts.
    """
    if not isinstance(columns["image"], torch.Tensor):
        raise SteerlabError("column 'image' holds no pictures: they are a tensor [n, height, width, colour]")
    names = listed(plot, "modes")
    if not names:
        raise KeyError("modes")
    sides = [
        [numbers(columns, f"{name} {side}", "n, row, column") for name in names] for side in ("query", "key")
    ]
    rows = texts(columns, plot.options["rows"]) if "rows" in plot.options else []
    figure = two_sided_maps([image.numpy() for image in columns["image"]], *sides, names, rows=rows)
    titled(figure, plot.title)
    return figure
