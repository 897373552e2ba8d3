"""Values of patches, laid over the pictures they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import array, canvas, colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 2.5  # inches of a panel


def patch_maps(
    images: Sequence[Any], maps: Sequence[Sequence[Any]], titles: Sequence[str], *, label: str = ""
) -> Figure:
    """Pictures, each beside its maps: one row a picture, one column a kind of map.

    A map keeps its patches visible: it is enlarged without smoothing, over the grey picture.

    Parameters
    ----------
    images : list
        PIL images or arrays ``[height, width, colour]``, in 0 to 255 (integers) or 0 to 1 (floats).
    maps : list of lists
        ``maps[image][kind]`` is ``[row, column]``, covering the whole picture.
    titles : list of str
        One a kind of map, with its unit.
    label : str
        Beside every colour bar, where all kinds share a quantity.

    Examples
    --------
    >>> figure = patch_maps([np.zeros((8, 8, 3))], [[np.eye(2)]], ["norm"])
    >>> [axes.get_title() for axes in figure.axes][:2]
    ['picture', 'norm']
    """
    if not len(images) or len(images) != len(maps) or any(len(row) != len(titles) for row in maps):
        kinds = [len(row) for row in maps]
        raise SteerlabError(
            f"{len(images)} pictures with {kinds} maps and {len(titles)} titles: "
            "each picture needs one map a title"
        )
    above = 0.2 + 0.16 * max(title.count("\n") + 1 for title in ("", *titles))
    figure = canvas(_SIDE + (_SIDE + 0.6) * len(titles), (_SIDE + 0.1) * len(images) + above)
    panels = figure.subplots(len(images), 1 + len(titles), squeeze=False)
    for row, (image, own) in enumerate(zip(images, maps, strict=True)):
        picture = as_picture(image)
        height, width = picture.shape[:2]
        grey = picture @ np.array([0.299, 0.587, 0.114], picture.dtype)
        panels[row, 0].imshow(picture, vmin=0, vmax=1)
        for axes, values in zip(panels[row, 1:], own, strict=True):
            grid = array(values, "row, column")
            scale = colours(grid)
            axes.imshow(grey, cmap="gray", vmin=0, vmax=1)
            axes.imshow(
                grid,
                norm=scale.norm,
                cmap=scale.cmap,
                alpha=0.7,
                interpolation="nearest",
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            )
            figure.colorbar(scale, ax=axes, label=label, shrink=0.85).ax.tick_params(labelsize=7)
    for axes, title in zip(panels[0], ["picture", *titles], strict=True):
        axes.set_title(title, fontsize=9)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    return figure


def as_picture(image: Any) -> np.ndarray:
    """A picture as floats ``[height, width, 3]`` in 0 to 1."""
    picture = np.asarray(image)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise SteerlabError(f"a picture is [height, width, colour], not {list(picture.shape)}")
    picture = picture[..., :3].astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
    return picture.clip(0, 1)
