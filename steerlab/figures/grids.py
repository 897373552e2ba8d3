"""Values over blocks and heads, and values over the words of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import array, canvas, colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 0.3  # inches
_LINE = 68  # characters of a line of tokens


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
    figure.suptitle(_lines(title, int(width * 11)), fontsize=10)
    axes.set_title(f"framed: block {block}, head {head}: {grid[block, head]:.3g}", fontsize=8)
    axes.tick_params(labelsize=8)
    figure.colorbar(scale, ax=axes, label=label)
    return figure


def token_strip(tokens: Sequence[str], values: Any, title: str = "", label: str = "") -> Figure:
    """A text whose words are coloured by a number each.

    Parameters
    ----------
    tokens : list of str
        Pieces of text in order; a leading space begins a word, as tokenizers give it.
    values : Tensor
        ``[token]``.
    title : str
        What is seen.
    label : str
        The quantity with its unit, beside the colour bar.

    Examples
    --------
    >>> figure = token_strip(["The", " cat"], [0.25, 0.75], label="attention")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['The', 'cat']
    """
    from matplotlib.patches import Rectangle

    numbers = array(values, "token")
    if len(tokens) != len(numbers):
        raise SteerlabError(f"{len(tokens)} tokens and {len(numbers)} values: one value a token is needed")
    scale = colours(numbers)
    shown = [_printable(token) for token in tokens]
    places, right, line = [], 0.0, 0
    for text in shown:
        width = max(len(text), 2) + 1.0
        if right and right + width > _LINE:
            right, line = 0.0, line + 1
        places.append((right, line, width))
        right += width
    wide = max(x + width for x, _, width in places)
    figure = canvas(max(wide * 0.105, 3.0) + 1.3, 0.36 * (line + 1) + 0.9)
    axes = figure.add_subplot(xlim=(0, wide), ylim=(line + 1, 0))
    axes.set_axis_off()
    axes.set_title(_lines(title, int(wide * 1.4) + 20), fontsize=10, loc="left")
    for (x, y, width), text, number in zip(places, shown, numbers, strict=True):
        colour = scale.to_rgba(float(number))
        axes.add_patch(Rectangle((x, y + 0.06), width - 0.15, 0.88, facecolor=colour, linewidth=0))
        ink = "black" if np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.5 else "white"
        middle = (x + (width - 0.15) / 2, y + 0.5)
        axes.text(*middle, text, color=ink, ha="center", va="center", family="monospace", fontsize=9)
    figure.colorbar(scale, ax=axes, label=label, aspect=8, fraction=0.06)
    return figure


def _printable(token: str) -> str:
    """A token as a reader knows it, with line ends visible and without what matplotlib would interpret."""
    text = token.strip(" ").replace("\n", "\\n").replace("\t", "\\t")
    return text.replace("$", r"\$") or "␣"


def _ticks(count: int) -> range:
    return range(0, count, 1 if count <= 16 else 2 if count <= 32 else -(-count // 16))


def _lines(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, max(width, 12)))
