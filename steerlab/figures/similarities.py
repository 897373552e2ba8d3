"""Similarities of everything with everything, such as of the states at the steps of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import SEQUENTIAL, array, canvas
from steerlab.figures.labels import Labels, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def similarity(
    matrix: Any, phases: Any = None, *, names: Sequence[str] = (), labels: Labels | None = None
) -> Figure:
    """A matrix of similarities; phases, stretches of equal number, are framed and named on the axes.

    Parameters
    ----------
    matrix : Tensor
        ``[n, n]``.
    phases : Tensor, optional
        ``[n]``: whole numbers; a phase that comes back is framed each time.
    names : sequence of str, optional
        One a phase, in ascending order of their numbers.
    labels : Labels, optional
        Title, axes, and as `value` what the similarity is.

    Examples
    --------
    >>> figure = similarity([[1.0, 0.2], [0.2, 1.0]], [0, 1], names=["early", "late"])
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['early', 'late']
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    labels = labels or Labels()
    grid = array(matrix, "n, n")
    count = len(grid)
    if grid.shape[1] != count:
        raise SteerlabError(f"similarities are as many rows as columns, not {list(grid.shape)}")
    figure = canvas(4.9, 3.9)
    axes = figure.add_subplot()
    # one order of lightness even where some are negative: for most similarities zero is nothing special
    low, high = float(grid.min()), float(grid.max())
    shown = axes.imshow(
        grid, cmap=SEQUENTIAL, vmin=low, vmax=high if high > low else low + 1, interpolation="nearest"
    )
    x, y, _ = labels.axes()
    axes.set_xlabel(x.label, fontsize=9)
    axes.set_ylabel(y.label or x.label, fontsize=9)
    axes.tick_params(labelsize=8)
    if phases is not None:
        stretches = _stretches(array(phases, "n"), count)
        numbers = sorted({number for number, _, _ in stretches})
        if len(names) not in (0, len(numbers)):
            raise SteerlabError(f"{len(names)} names for {len(numbers)} phases")
        named = dict(zip(numbers, names or [f"phase {number}" for number in numbers], strict=True))
        frame = {"fill": False, "edgecolor": "white", "linewidth": 1.6}
        halo = [withStroke(linewidth=3.2, foreground="black")]
        for _, start, stop in stretches:
            square = Rectangle((start - 0.5, start - 0.5), stop - start, stop - start, **frame)
            square.set_path_effects(halo)
            axes.add_patch(square)
        middles = [(start + stop - 1) / 2 for _, start, stop in stretches]
        texts = [named[number] for number, _, _ in stretches]
        axes.set_yticks(middles, texts)
        crowded = sum(map(len, texts)) > 36
        axes.set_xticks(middles, texts, rotation=45 if crowded else 0, ha="right" if crowded else "center")
        axes.tick_params(length=0)
    bar = figure.colorbar(shown, ax=axes, shrink=0.9)
    bar.set_label(labels.value or "similarity", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    titled(figure, labels.title)
    return figure


def _stretches(phases: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """Phase, first place and the place after the last of every stretch of equal phases."""
    if len(phases) != count or bool((phases != phases.round()).any()):
        raise SteerlabError(f"phases are {count} whole numbers, one a row of the matrix")
    starts = [0, *(np.flatnonzero(np.diff(phases)) + 1).tolist(), count]
    return [(int(phases[a]), a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)]
