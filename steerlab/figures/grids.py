"""Values over blocks and heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.figures.drawing import array, canvas, colours
from steerlab.figures.labels import fold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 0.3  # inches


def block_head_grid(values: Any, title: str = "", label: str = "", *, log: bool = False) -> Figure:
    """One number a head as a grid; the strongest is framed.

    Parameters
    ----------
    values : Tensor
        ``[block, head]``.
    title : str
        What is seen.
    label : str
        The quantity with its unit, beside the colour bar.
    log : bool
        A logarithmic scale of colour, where few heads matter much more than the rest.

    Examples
    --------
    >>> figure = block_head_grid([[0.0, 1.0], [2.0, 3.0]], "effect of each head", "KL (nats)")
    >>> figure.axes[0].get_xlabel()
    'head'
    """
    from matplotlib.patches import Rectangle

    grid = array(values, "block, head")
    blocks, heads = grid.shape
    width, height = max(_CELL * heads, 2.4) + 2.0, max(_CELL * 0.72 * blocks, 2.0) + 1.2
    figure = canvas(width, height)
    axes = figure.add_subplot()
    scale = colours(grid, log=log)
    axes.imshow(grid, norm=scale.norm, cmap=scale.cmap, aspect="auto", interpolation="nearest")
    block, head = np.unravel_index(np.abs(grid).argmax(), grid.shape)
    frame = {"fill": False, "edgecolor": "#d62728", "linewidth": 2}
    axes.add_patch(Rectangle((head - 0.5, block - 0.5), 1, 1, **frame))
    axes.set(xlabel="head", ylabel="block", xticks=_ticks(heads), yticks=_ticks(blocks))
    figure.suptitle(fold(title, int(width * 11)), fontsize=10)
    axes.set_title(f"framed: block {block}, head {head}: {grid[block, head]:.3g}", fontsize=8)
    axes.tick_params(labelsize=8)
    figure.colorbar(scale, ax=axes, label=label)
    return figure


def _ticks(count: int) -> range:
    return range(0, count, 1 if count <= 16 else 2 if count <= 32 else -(-count // 16))
