"""Values of patches, laid over the pictures they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import GREY, array, canvas, colours
from steerlab.figures.labels import fold

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_SIDE, _LEAST, _PAGE = 2.5, 1.3, 6.5  # inches: of a panel at most and at least, and of what a phone shows
_BAR = 0.6  # inches of a colour bar


@dataclass(frozen=True)
class Scale:
    """A scale of colours.

    Parameters
    ----------
    label : str
        The quantity with its unit.
    shared : bool
        One scale for all panels, so that they can be compared; else each has its own.
    """

    label: str = ""
    shared: bool = False


def patch_maps(
    images: Sequence[Any],
    maps: Sequence[Sequence[Any]],
    titles: Sequence[str],
    *,
    label: str | Scale = "",
    rows: Sequence[str] = (),
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
    label : str or Scale
        Beside every colour bar, where all kinds share a quantity; a `Scale` may be shared by all maps.
    rows : list of str, optional
        One a picture, on its left.

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
    if len(rows) not in (0, len(images)):
        raise SteerlabError(f"{len(images)} pictures with {len(rows)} labels: one a picture is needed")
    bar = label if isinstance(label, Scale) else Scale(label)
    grids = [[array(values, "row, column") for values in own] for own in maps]
    scales = [[colours(grid) for grid in own] for own in grids]
    if bar.shared and titles:
        scales = [[shared(grids)] * len(titles)] * len(images)
    room = _PAGE - _BAR * (1 if bar.shared else len(titles))
    side = min(_SIDE, max(_LEAST, room / (1 + len(titles))))
    heads = [fold(title, int(side * 15)) for title in ("picture", *titles)]
    above = 0.2 + 0.16 * max(head.count("\n") + 1 for head in heads)
    bars = _BAR * (1 if bar.shared else len(titles))
    figure = canvas(side * (1 + len(titles)) + bars, (side + 0.1) * len(images) + above)
    panels = figure.subplots(len(images), 1 + len(titles), squeeze=False)
    for row, image in enumerate(images):
        picture = as_picture(image)
        panels[row, 0].imshow(picture, vmin=0, vmax=1)
        for axes, grid, scale in zip(panels[row, 1:], grids[row], scales[row], strict=True):
            overlay(axes, picture, grid, scale)
            if not bar.shared:
                figure.colorbar(scale, ax=axes, label=bar.label, shrink=0.85).ax.tick_params(labelsize=7)
    if bar.shared and titles:
        figure.colorbar(scales[0][0], ax=panels, label=bar.label, shrink=0.85).ax.tick_params(labelsize=7)
    for axes, head in zip(panels[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    for axes, name in zip(panels[:, 0], rows, strict=False):
        axes.set_ylabel(fold(str(name), int(side * 14)), fontsize=8)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    return figure


def overlay(axes: Any, picture: np.ndarray, grid: np.ndarray, scale: ScalarMappable) -> None:
    """A grid ``[row, column]`` in colours over the grey of the whole picture ``[height, width, 3]``."""
    height, width = picture.shape[:2]
    axes.imshow(picture @ GREY.astype(picture.dtype), cmap="gray", vmin=0, vmax=1)
    axes.imshow(
        grid,
        norm=scale.norm,
        cmap=scale.cmap,
        alpha=0.7,
        interpolation="nearest",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )


def shared(grids: Sequence[Sequence[np.ndarray]]) -> ScalarMappable:
    """One scale of colours for all of some grids."""
    return colours(np.concatenate([grid.ravel() for own in grids for grid in own]))


def as_picture(image: Any) -> np.ndarray:
    """A picture as floats ``[height, width, 3]`` in 0 to 1."""
    picture = np.asarray(image)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise SteerlabError(f"a picture is [height, width, colour], not {list(picture.shape)}")
    picture = picture[..., :3].astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
    return picture.clip(0, 1)
