"""Kinds of figures whose colours are the values: grids, words, maps over pictures, similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from steerlab.errors import SteerlabError
from steerlab.figures.frames import frame_maps
from steerlab.figures.grids import block_head_grid
from steerlab.figures.kinds.columns import Columns, Drawn, chosen, labels, listed, numbers, texts
from steerlab.figures.labels import titled
from steerlab.figures.maps import Scale, patch_maps
from steerlab.figures.pictures import before_after
from steerlab.figures.similarities import similarity
from steerlab.figures.tokens import token_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def head_grid(columns: Columns, plot: Drawn) -> Figure:
    """Columns ``block``, ``head`` and `value`; `label` is its unit, `scale` may be ``log``."""
    block, head = (torch.as_tensor(numbers(columns, name)).long() for name in ("block", "head"))
    grid = torch.zeros(int(block.max()) + 1, int(head.max()) + 1)
    grid[block, head] = torch.as_tensor(numbers(columns, plot.options["value"]))
    log = chosen(plot, "scale", ("linear", "log")) == "log"
    return block_head_grid(grid, plot.title, plot.options.get("label", ""), log=log)


def tokens(columns: Columns, plot: Drawn) -> Figure:
    """Columns ``row`` (which text), ``token`` and `value`; `label` is its unit."""
    pieces, values = texts(columns, "token"), numbers(columns, plot.options["value"])
    return token_map(pieces, values, rows=columns["row"], labels=labels(plot))


def maps(columns: Columns, plot: Drawn) -> Figure:
    """A column ``image`` ``[n, height, width, colour]`` and the columns that `maps` lists, by comma.

    `rows` is a column of labels, `label` the unit, and `scale` may be ``shared``.
    """
    kinds, images = [name.strip() for name in plot.options["maps"].split(",")], _images(columns)
    values = {kind: numbers(columns, kind, "n, row, column") for kind in kinds}
    rows = [[values[kind][i] for kind in kinds] for i in range(len(images))]
    scale = Scale(plot.options.get("label", ""), chosen(plot, "scale", ("own", "shared")) == "shared")
    figure = patch_maps(images, rows, kinds, label=scale, rows=_labels(columns, plot, "rows"))
    titled(figure, plot.title)
    return figure


def frames(columns: Columns, plot: Drawn) -> Figure:
    """Maps over frames, in one of two forms.

    A table with a row an input: columns ``image`` ``[n, frame, height, width, colour]``, or without frames,
    and `value` ``[n, frame, row, column]``; `rows` is a column of labels, `columns` lists those
    of the frames.
    A table with a row a frame of one input: columns ``image`` ``[frame, height, width, colour]`` and the ones
    that `maps` lists, ``[frame, row, column]``, each a row of the figure; `columns` is a column of labels.
    """
    images = _images(columns)
    if "maps" in plot.options:
        rows = listed(plot, "maps")
        values = [numbers(columns, name, "frame, row, column") for name in rows]
        images, heads = [images] * len(rows), _labels(columns, plot, "columns")
    else:
        values = list(numbers(columns, plot.options["value"], "n, frame, row, column"))
        rows, heads = _labels(columns, plot, "rows"), listed(plot, "columns")
    return frame_maps(images, values, rows=rows, columns=heads, labels=labels(plot))


def pictures(columns: Columns, plot: Drawn) -> Figure:
    """Every column of pictures ``[n, height, width, colour]``; `changes` lists those with difference maps."""
    rows = {
        name: [picture.numpy() for picture in values]
        for name, values in columns.items()
        if isinstance(values, torch.Tensor) and values.ndim == 4
    }
    titles = [str(title) for title in columns.get("title", ())]
    return before_after(rows, titles, title=plot.title, differences=listed(plot, "changes"))


def similarities(columns: Columns, plot: Drawn) -> Figure:
    """A column `value` ``[n, n]`` and, where there is one, ``phase`` ``[n]``, whose names `phases` lists."""
    phases = numbers(columns, "phase") if "phase" in columns else None
    grid = numbers(columns, plot.options["value"], "n, n")
    return similarity(grid, phases, names=listed(plot, "phases"), labels=labels(plot))


def _images(columns: Columns) -> list[np.ndarray]:
    """The column ``image``, one array a row."""
    if not isinstance(columns["image"], torch.Tensor):
        raise SteerlabError("column 'image' holds no pictures: they are a tensor [n, height, width, colour]")
    return [image.numpy() for image in columns["image"]]


def _labels(columns: Columns, plot: Drawn, option: str) -> list[str]:
    """Labels from the column that an option names: texts, or numbers without needless decimals."""
    if option not in plot.options:
        return []
    column = columns[plot.options[option]]
    if isinstance(column, torch.Tensor) and column.ndim != 1:
        raise SteerlabError(f"column {plot.options[option]!r} holds no labels: it is {list(column.shape)}")
    return [one if isinstance(one, str) else f"{float(np.asarray(one)):g}" for one in column]
