"""Pictures before and after an intervention, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError, listing
from steerlab.figures.drawing import SEQUENTIAL, canvas
from steerlab.figures.maps import as_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 1.25  # inches of a panel


def before_after(
    images: Mapping[str, Sequence[Any]],
    titles: Sequence[str] = (),
    *,
    title: str = "",
    differences: Sequence[str] = (),
) -> Figure:
    """Rows of pictures, one column a seed or prompt; the first row is what the others are compared with.

    Parameters
    ----------
    images : mapping
        Name of a row, such as ``"before"``, ``"after"``, ``"random direction"`` -> PIL images or arrays
        ``[height, width, colour]``, as many in each row.
    titles : sequence of str
        One a column.
    title : str
        Above everything.
    differences : sequence of str
        Names of rows under which their change is drawn: the absolute difference from the first row, averaged
        over colours, all on one scale.

    Examples
    --------
    >>> black, white = np.zeros((4, 4, 3)), np.ones((4, 4, 3))
    >>> figure = before_after({"before": [black], "after": [white]}, ["seed 0"], differences=["after"])
    >>> [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    ['before', 'after', 'change', 'change (of 1)']
    """
    rows = {name: [as_picture(image) for image in row] for name, row in images.items()}
    counts = {len(row) for row in rows.values()}
    if len(counts) != 1 or not next(iter(counts), 0) or (titles and len(titles) not in counts):
        raise SteerlabError(
            f"rows of {[len(row) for row in rows.values()]} pictures with {len(titles)} titles: "
            "each row needs one picture a column"
        )
    for name in differences:
        if name not in list(rows)[1:]:
            raise SteerlabError(f"no row {name!r} to compare with the first (rows: {listing(rows)})")
    base = next(iter(rows.values()))
    changes = {name: _change(base, rows[name], name) for name in differences}
    scale = max([1e-6, *(float(change.max()) for row in changes.values() for change in row)])
    lines = [(name, row, None) for name, row in rows.items()]
    for name in differences:
        lines.insert([line[0] for line in lines].index(name) + 1, ("change", changes[name], scale))
    above = 0.3 + 0.2 * title.count("\n") if title else 0.0
    figure = canvas(_SIDE * counts.pop() + 0.9, (_SIDE + 0.05) * len(lines) + above + 0.2 * bool(titles))
    panels = figure.subplots(len(lines), len(base), squeeze=False)
    for axes, (name, row, reach) in zip(panels, lines, strict=True):
        for panel, image in zip(axes, row, strict=True):
            shown = panel.imshow(image, cmap=SEQUENTIAL, vmin=0, vmax=reach or 1, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name, fontsize=8)
        if reach:
            bar = figure.colorbar(shown, ax=list(axes), label="change (of 1)", shrink=0.9)
            bar.ax.tick_params(labelsize=7)
            bar.ax.yaxis.label.set_size(7)
    for panel, text in zip(panels[0], titles, strict=False):
        panel.set_title(text, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _change(before: Sequence[np.ndarray], after: Sequence[np.ndarray], name: str) -> list[np.ndarray]:
    """Mean absolute difference over colours, ``[height, width]`` a picture."""
    if any(a.shape != b.shape for a, b in zip(before, after, strict=True)):
        raise SteerlabError(f"the pictures of {name!r} differ in size from those of the first row")
    return [np.abs(a - b).mean(-1) for a, b in zip(before, after, strict=True)]
