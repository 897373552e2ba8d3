"""Values over the words of texts: boxes in the colour of the value, with the word printed in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import array, canvas, colours, ink
from steerlab.figures.labels import Labels, fold, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE = 62  # characters of a line of tokens
_CHARACTER, _HEIGHT = 0.085, 0.3  # inches, of a character and of a line
_LABEL = 18  # characters of a row's label at most


def token_map(
    tokens: Sequence[str], values: Any, *, rows: Sequence[Any] = (), labels: Labels | None = None
) -> Figure:
    """Texts whose words are coloured by a number each, every text on lines of its own.

    All texts share one scale of colours, diverging around zero where some values are negative.

    Parameters
    ----------
    tokens : list of str
        Pieces of all the texts in order; a leading space begins a word, as tokenizers give it.
    values : Tensor
        ``[token]``.
    rows : sequence, optional
        ``[token]``: to which text each belongs, a name or a number; a text is a stretch of equal ones.
    labels : Labels, optional
        Title and, as `value`, the quantity with its unit.

    Examples
    --------
    >>> figure = token_map(["The", " cat", "A", " dog"], [0.1, 0.9, 0.2, -0.7], rows=["a", "a", "b", "b"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['a', 'The', 'cat', 'b', 'A', 'dog']
    """
    from matplotlib.patches import Rectangle

    labels = labels or Labels()
    numbers = array(values, "token")
    if len(tokens) != len(numbers):
        raise SteerlabError(f"{len(tokens)} tokens and {len(numbers)} values: one value a token is needed")
    if len(rows) not in (0, len(tokens)):
        raise SteerlabError(f"{len(tokens)} tokens and {len(rows)} rows: each token is in one row")
    names = [_cut(_name(row), _LABEL) for row in rows] if len(rows) else [""] * len(tokens)
    starts = [i == 0 or (len(rows) > 0 and rows[i] != rows[i - 1]) for i in range(len(tokens))]
    margin = 0.8 * max(map(len, names)) + 1.5 if any(names) else 0.0  # labels are in a narrower font
    shown = [_cut(printable(token), int(_LINE - margin)) for token in tokens]
    places = _places(shown, starts, margin)
    wide, lines = max(x + width for x, _, width in places), places[-1][1] + 1
    figure = canvas(max(wide * _CHARACTER, 2.6) + 1.0, max(_HEIGHT * lines, 0.9) + 0.2)
    axes = figure.add_subplot(xlim=(0, wide), ylim=(lines, 0))
    axes.set_axis_off()
    scale = colours(numbers)
    for i, ((x, y, width), text) in enumerate(zip(places, shown, strict=True)):
        colour = scale.to_rgba(float(numbers[i]))
        if starts[i] and names[i]:
            axes.text(0, y + 0.5, *plain([names[i]]), ha="left", va="center", fontsize=8)
        axes.add_patch(Rectangle((x, y + 0.06), width - 0.15, 0.88, facecolor=colour, linewidth=0))
        middle = (x + (width - 0.15) / 2, y + 0.5)
        style = {"ha": "center", "va": "center", "family": "monospace", "fontsize": 8}
        axes.text(*middle, text, color=ink(colour), **style)
    bar = figure.colorbar(scale, ax=axes, aspect=max(6, 3 * lines), fraction=0.05, pad=0.02)
    bar.set_label(labels.value, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    if labels.title:
        title = fold(labels.title, int((figure.get_figwidth() - 0.8) * 13))
        axes.set_title(title, fontsize=10, loc="left")
        figure.set_figheight(figure.get_figheight() + 0.18 * (title.count("\n") + 1))
    return figure


def token_strip(tokens: Sequence[str], values: Any, title: str = "", label: str = "") -> Figure:
    """One text whose words are coloured by a number each; `token_map` draws several.

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
    return token_map(tokens, values, labels=Labels(title, value=label))


def printable(token: str) -> str:
    """A token as a reader knows it, with line ends visible and without what matplotlib would interpret."""
    text = token.strip(" ").replace("\n", "\\n").replace("\t", "\\t")
    return text.replace("$", r"\$") or "␣"


def _places(shown: Sequence[str], starts: Sequence[bool], margin: float) -> list[tuple[float, int, float]]:
    """Left edge, line and width of every box, in characters and lines."""
    places, right, line = [], margin, -1
    for text, first in zip(shown, starts, strict=True):
        width = max(len(text), 2) + 1.0
        if first or right + width > _LINE:
            right, line = margin, line + 1
        places.append((right, line, width))
        right += width
    return places


def _name(row: Any) -> str:
    return str(row) if isinstance(row, str) else f"{float(np.asarray(row)):g}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip("\\") + "…"
