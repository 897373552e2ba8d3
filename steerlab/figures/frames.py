"""Values of patches frame by frame: one row an input, one column a frame or a denoising step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import array, canvas
from steerlab.figures.labels import Labels, fold, titled
from steerlab.figures.maps import as_picture, overlay, shared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE, _LEAST, _PAGE = 1.3, 0.5, 6.5  # inches: of a panel at most and at least, and of what a phone shows
_NAMES, _BAR = 1.0, 0.75  # inches of the rows' names and of the colour bar


def frame_maps(
    images: Sequence[Any],
    maps: Sequence[Any],
    *,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    labels: Labels | None = None,
) -> Figure:
    """Maps over frames or denoising steps, all on one scale of colours, over the grey pictures.

    Parameters
    ----------
    images : list
        One an input: pictures ``[frame, height, width, colour]``, or one ``[height, width, colour]`` that
        lies under all of its maps.
    maps : list
        One an input: ``[frame, row, column]``, covering the whole picture.
    rows : list of str, optional
        One an input, on its left.
    columns : list of str, optional
        One a frame, above it; their numbers by default.
    labels : Labels, optional
        Title; `x` is what the columns are, such as ``"frame"``; `value` the quantity with its unit.

    Examples
    --------
    >>> figure = frame_maps([np.zeros((8, 8, 3))], [np.ones((2, 2, 2))], labels=Labels(x="frame"))
    >>> [axes.get_title() for axes in figure.axes][:2]
    ['0', '1']
    """
    labels = labels or Labels()
    grids = [array(one, "frame, row, column") for one in maps]
    counts = sorted({len(one) for one in grids})
    if not grids or len(images) != len(grids) or len(counts) > 1:
        raise SteerlabError(
            f"{len(images)} inputs with maps of {counts} frames: each needs as many frames as the others"
        )
    count = counts[0]
    for what, names, needed in (("rows", rows, len(grids)), ("columns", columns, count)):
        if len(names) not in (0, needed):
            raise SteerlabError(f"{len(names)} labels of {what}, and there are {needed} {what}")
    under = [_pictures(image, count) for image in images]
    left = _NAMES if len(rows) else 0.1
    side = min(_SIDE, max(_LEAST, (_PAGE - left - _BAR) / count))
    heads = [fold(str(name), max(4, int(side * 14))) for name in (columns if len(columns) else range(count))]
    shapes = [picture.shape for own in under for picture in own]
    tall = side * max(height / width for height, width, _ in shapes) + 0.06
    above = 0.35 + 0.14 * max(head.count("\n") + 1 for head in heads) + 0.2 * bool(labels.axes()[0].label)
    figure = canvas(side * count + left + _BAR, max(tall * len(grids) + above, 1.3))
    panels = figure.subplots(len(grids), count, squeeze=False)
    scale = shared(grids)
    for own, pictures, grid in zip(panels, under, grids, strict=True):
        for axes, picture, values in zip(own, pictures, grid, strict=True):
            overlay(axes, picture, values, scale)
            axes.set(xticks=[], yticks=[])
    for axes, head in zip(panels[0], heads, strict=True):
        axes.set_title(head, fontsize=8)
    for axes, name in zip(panels[:, 0], rows, strict=False):
        style = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 8}
        axes.set_ylabel(fold(str(name), 14), **style)
    figure.supxlabel(labels.axes()[0].label, fontsize=9)
    bar = figure.colorbar(scale, ax=panels, shrink=0.9, fraction=0.05, aspect=15)
    bar.set_label(labels.value, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    titled(figure, labels.title)
    return figure


def _pictures(image: Any, count: int) -> list[np.ndarray]:
    """The picture under each frame: its own, or one for all."""
    several = isinstance(image, (list, tuple)) or np.ndim(image) == 4
    pictures = [as_picture(one) for one in image] if several else [as_picture(image)] * count
    if len(pictures) != count:
        raise SteerlabError(f"{len(pictures)} pictures under {count} frames: one a frame, or one for all")
    return pictures
