"""Two sides of an exchange over pictures: what is read from queries in red, from keys in cyan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import GREY, array, canvas
from steerlab.figures.labels import fold
from steerlab.figures.maps import as_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RED, CYAN = np.array([0.9, 0.05, 0.05]), np.array([0.0, 0.8, 0.9])
_SIDE, _LEAST, _PAGE = 2.2, 1.3, 6.5  # inches: of a panel at most and at least, and of what a phone shows
_FULL = 0.98  # quantile of a side's values that is drawn in full colour


def two_sided_maps(
    images: Sequence[Any],
    query: Sequence[Any],
    key: Sequence[Any],
    titles: Sequence[str],
    *,
    rows: Sequence[str] = (),
) -> Figure:
    """Pictures, each beside its maps: one row a picture, one column a mode.

    A query in red attends more to the keys in cyan; that colours stand for sides so follows arXiv:2405.14880.
    Values above 0 are drawn, up to the 98th percentile of their side over all pictures.

    Parameters
    ----------
    images : list
        PIL images or arrays ``[height, width, colour]``, in 0 to 255 (integers) or 0 to 1 (floats).
    query, key : list of array
        One a mode: ``[picture, row, column]``, covering the whole picture.
    titles : list of str
        One a mode.
    rows : list of str, optional
        One a picture, on its left.

    Examples
    --------
    >>> figure = two_sided_maps([np.zeros((8, 8, 3))], [np.eye(2)[None]], [1 - np.eye(2)[None]], ["mode 0"])
    >>> [axes.get_title() for axes in figure.axes]
    ['picture', 'mode 0']
    """
    if not len(images) or not len(titles) or len(query) != len(titles) or len(key) != len(titles):
        raise SteerlabError(
            f"{len(images)} pictures, {len(query)} maps of queries, {len(key)} of keys and {len(titles)} "
            "titles: each mode needs both its sides and a title"
        )
    sides = [[array(one, "picture, row, column") for one in side] for side in (query, key)]
    for title, one in zip([*titles, *titles], [*sides[0], *sides[1]], strict=True):
        if len(one) != len(images):
            raise SteerlabError(f"{title!r} has {len(one)} maps for {len(images)} pictures")
    if len(rows) not in (0, len(images)):
        raise SteerlabError(f"{len(images)} pictures with {len(rows)} labels: one a picture is needed")
    side = min(_SIDE, max(_LEAST, _PAGE / (1 + len(titles))))
    heads = [fold(title, int(side * 12)) for title in ("picture", *titles)]
    above = 0.5 + 0.16 * max(head.count("\n") + 1 for head in heads)
    figure = canvas(side * (1 + len(titles)), (side + 0.1) * len(images) + above)
    panels = figure.subplots(len(images), 1 + len(titles), squeeze=False)
    weights = [[_weights(one) for one in own] for own in sides]
    for i, image in enumerate(images):
        picture = as_picture(image)
        panels[i, 0].imshow(picture, vmin=0, vmax=1)
        for axes, red, cyan in zip(panels[i, 1:], *weights, strict=True):
            axes.imshow(_blend(picture, red[i], cyan[i]), interpolation="nearest")
    for axes, head in zip(panels[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    for axes, name in zip(panels[:, 0], rows, strict=False):
        axes.set_ylabel(fold(str(name), int(side * 14)), fontsize=8)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    return figure


def _weights(values: np.ndarray) -> np.ndarray:
    """How strongly each place is coloured, 0 to 1."""
    positive = values.clip(0)
    full = float(np.quantile(positive, _FULL)) or float(positive.max()) or 1.0
    return (positive / full).clip(0, 1)


def _blend(picture: np.ndarray, red: np.ndarray, cyan: np.ndarray) -> np.ndarray:
    """The grey picture, darkened and tinted by both sides."""
    height, width = picture.shape[:2]
    grey = 0.6 * (picture @ GREY.astype(picture.dtype))[..., None].repeat(3, 2)
    large = [
        one[(np.arange(height) * one.shape[0] // height)[:, None], np.arange(width) * one.shape[1] // width]
        for one in (red, cyan)
    ]
    for weight, colour in zip(large, (RED, CYAN), strict=True):
        grey = grey + 0.75 * weight[..., None] * (colour - 0.3)
    return grey.clip(0, 1)
