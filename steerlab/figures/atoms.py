"""Where atoms fire: texts as heat lines, pictures under heat maps, videos as strips of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from steerlab.atoms.checking import SiteCheck
from steerlab.atoms.maps import CodeMap
from steerlab.errors import SteerlabError
from steerlab.figures.drawing import GREY, array, canvas, colours, ink
from steerlab.figures.maps import as_picture, patch_maps
from steerlab.figures.tokens import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AROUND = 12  # tokens shown on either side of the strongest
_FRAME = 1.3  # inches


def atom_texts(examples: Sequence[CodeMap], title: str = "") -> Figure:
    """Texts around the token where an atom fires most, one a line, all on one scale of colour.

    Parameters
    ----------
    examples : list of CodeMap
        ``top_inputs(...)[atom]``, or what `steerlab.atoms.atom_map` gives.
    title : str
        What is seen; the atom's number by default.
    """
    from matplotlib.patches import Rectangle

    _refuse(examples, 1, "texts")
    scale = colours(np.concatenate([array(one.codes, "token") for one in examples]))
    lines = [_around(one) for one in examples]
    wide = max(sum(len(text) + 1 for text, _ in line) for line in lines)
    figure = canvas(max(wide * 0.095, 3.0) + 1.4, 0.34 * len(lines) + 0.8)
    axes = figure.add_subplot(xlim=(0, wide), ylim=(len(lines), 0))
    axes.set_axis_off()
    axes.set_title(title or f"atom {examples[0].atom}", fontsize=10, loc="left")
    for row, line in enumerate(lines):
        right = 0.0
        for text, code in line:
            colour = scale.to_rgba(code)
            width = len(text) + 1
            box = Rectangle((right, row + 0.06), width - 0.1, 0.88, facecolor=colour, linewidth=0)
            axes.add_patch(box)
            middle = (right + width / 2, row + 0.5)
            axes.text(
                *middle, text, color=ink(colour), ha="center", va="center", family="monospace", fontsize=8
            )
            right += width
    figure.colorbar(scale, ax=axes, label="code", aspect=8, fraction=0.05)
    return figure


def atom_pictures(examples: Sequence[CodeMap], images: Sequence[Any] | None = None) -> Figure:
    """Pictures beside the codes of an atom at their patches.

    Parameters
    ----------
    examples : list of CodeMap
        Maps ``[row, column]``.
    images : list, optional
        Pictures to draw on; by default each map's own input, tensors stretched to the range of colours.
    """
    _refuse(examples, 2, "pictures")
    shown = [picture_of(one.input) for one in examples] if images is None else images
    return patch_maps(shown, [[one.codes] for one in examples], [f"atom {examples[0].atom}"], label="code")


def atom_frames(examples: Sequence[CodeMap], videos: Sequence[Any] | None = None) -> Figure:
    """Videos as strips of frames under the codes of an atom, one video a row with its own scale.

    Parameters
    ----------
    examples : list of CodeMap
        Maps ``[frame, row, column]``; a map's frame may stand for several frames of the video, of which
        the first is drawn.
    videos : list, optional
        Frames to draw on; by default each map's own input.
    """
    _refuse(examples, 3, "videos")
    most = max(len(one.codes) for one in examples)
    figure = canvas(_FRAME * most + 1.0, (_FRAME + 0.2) * len(examples) + 0.4)
    panels = figure.subplots(len(examples), most, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    for row, (own, one) in enumerate(zip(panels, examples, strict=True)):
        codes = array(one.codes, "frame, row, column")
        given = one.input if videos is None else videos[row]
        frames = list(_pixels(given) if isinstance(given, Mapping) else given)
        scale, step = colours(codes), max(1, len(frames) // len(codes))
        for axes, values, frame in zip(own, codes, frames[::step], strict=False):
            picture = as_picture(picture_of(frame))
            height, width = picture.shape[:2]
            axes.imshow(picture @ GREY.astype(picture.dtype), cmap="gray", vmin=0, vmax=1)
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            axes.imshow(
                values, norm=scale.norm, cmap=scale.cmap, alpha=0.6, interpolation="nearest", extent=extent
            )
        figure.colorbar(scale, ax=list(own), label="code", shrink=0.85).ax.tick_params(labelsize=7)
    panels[0, 0].set_title(f"atom {examples[0].atom}", fontsize=9, loc="left")
    return figure


def site_fit(check: SiteCheck) -> Figure:
    """R2 of a dictionary at every candidate site, the best and the declared one marked.

    Parameters
    ----------
    check : SiteCheck
        What `steerlab.atoms.check_site` gives.
    """
    names = [str(row.site) for row in check.rows]
    values = array([row.r2 for row in check.rows], "site")
    figure = canvas(max(0.28 * len(names), 3.0) + 1.2, 3.4)
    # below -1 a dictionary is simply wrong there, and how wrong would squeeze everything else
    axes = figure.add_subplot(ylabel="R2", ylim=(max(-1.05, min(0.0, float(values.min())) - 0.05), 1.05))
    axes.plot(range(len(names)), values, marker="o", markersize=4, linewidth=1, color="#3b528b")
    axes.axhline(0, color="grey", linewidth=0.6)
    marks = (("best", check.best, "#d62728", "o"), ("declared", check.at_declared, "#ff9f1c", "s"))
    for label, row, colour, marker in marks:
        if row is not None:
            style = {"marker": marker, "markersize": 10, "fillstyle": "none", "color": colour}
            axes.plot([check.rows.index(row)], [row.r2], linestyle="", label=label, **style)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_title(check.verdict.split(";")[0], fontsize=9, loc="left")
    axes.legend(fontsize=8, frameon=False)
    return figure


def picture_of(given: Any) -> Any:
    """Something to draw: pictures as they are, tensors ``[colour, height, width]`` stretched to 0 to 1."""
    given = _pixels(given) if isinstance(given, Mapping) else given
    if not isinstance(given, torch.Tensor):
        return given
    picture = given.detach().float().cpu()
    if picture.ndim == 3 and picture.shape[0] in (1, 3):
        picture = picture.movedim(0, -1).expand(*picture.shape[1:], 3)
    low, high = picture.min(), picture.max()
    return ((picture - low) / (high - low).clamp_min(1e-12)).numpy()


def _pixels(given: Mapping[str, Any]) -> torch.Tensor:
    """What a model was given of a picture or a video, among its keyword arguments."""
    for value in given.values():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 2:
            return value
    raise SteerlabError("these inputs hold no pictures; pass them: atom_pictures(examples, images)")


def _around(one: CodeMap) -> list[tuple[str, float]]:
    """Tokens and codes about the strongest token."""
    pieces = one.pieces or [str(i) for i in range(len(one.codes))]
    start = max(0, one.place[0] - _AROUND)
    span = slice(start, one.place[0] + _AROUND + 1)
    return [(printable(text), float(code)) for text, code in zip(pieces[span], one.codes[span], strict=True)]


def _refuse(examples: Sequence[CodeMap], axes: int, what: str) -> None:
    if not examples:
        raise SteerlabError("nothing to draw: the atom never fired")
    if any(one.codes.ndim != axes for one in examples):
        raise SteerlabError(f"these maps are not of {what}: their codes are {list(examples[0].codes.shape)}")
