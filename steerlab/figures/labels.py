"""The words around data: a title, axes with units, and a legend that never lies on the data."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.figures.drawing import CONTROL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE = 0.17  # inches, of a line of a legend or a title


@dataclass(frozen=True)
class Axis:
    """One axis.

    Parameters
    ----------
    label : str
        The quantity with its unit.
    log : bool
        Equal factors are equally far apart; what is not above 0 is not drawn.
    whole : bool
        Ticks at whole numbers alone, as for blocks.
    reference : float, optional
        A dashed line there, such as chance or a threshold.
    reference_label : str
        What that line is, in the legend.
    """

    label: str = ""
    log: bool = False
    whole: bool = False
    reference: float | None = None
    reference_label: str = ""


@dataclass(frozen=True)
class Labels:
    """What is written around the data.

    Parameters
    ----------
    title : str
        What is seen.
    x, y, z : Axis or str
        The axes; a text is their label.
    value : str
        The quantity that colours show, with its unit, beside the colour bar.
    """

    title: str = ""
    x: Axis | str = ""
    y: Axis | str = ""
    z: Axis | str = ""
    value: str = ""

    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The three axes."""
        x, y, z = (Axis(one) if isinstance(one, str) else one for one in (self.x, self.y, self.z))
        return x, y, z


def dress(axes: Any, labels: Labels) -> None:
    """Label the two axes of a panel, set their scales and ticks, and draw the reference lines."""
    from matplotlib.ticker import MaxNLocator

    x, y, _ = labels.axes()
    axes.tick_params(labelsize=8)
    for own, side, line in ((x, axes.xaxis, axes.axvline), (y, axes.yaxis, axes.axhline)):
        side.set_label_text(own.label, fontsize=9)
        if own.log:
            axes.set(**{f"{side.axis_name}scale": "log"})
        if own.whole:
            side.set_major_locator(MaxNLocator(integer=True))
        if own.reference is not None:
            label = own.reference_label or None
            line(own.reference, color="#4d4d4d", linewidth=1, linestyle=(0, (4, 3)), label=label, zorder=1)


def titled(figure: Figure, title: str) -> None:
    """A title above everything, folded to the width; the figure grows by its lines."""
    if title:
        text = fold(title, int(figure.get_figwidth() * 13))
        figure.suptitle(text, fontsize=10, parse_math=False)
        figure.set_figheight(figure.get_figheight() + _LINE * (text.count("\n") + 1))


def legend_below(figure: Figure, axes: Any) -> None:
    """A legend under one panel or several, one entry a label; the figure grows by its lines."""
    handles: dict[str, Any] = {}
    for pane in np.ravel(axes):
        handles |= dict(zip(*reversed(pane.get_legend_handles_labels()), strict=True)) | handles
    if handles:
        widest = 0.55 + 0.064 * max(len(line) for label in handles for line in label.split("\n"))
        columns = min(len(handles), max(1, int(figure.get_figwidth() / widest)))
        lines = -(-len(handles) // columns) * max(label.count("\n") + 1 for label in handles)
        figure.set_figheight(figure.get_figheight() + _LINE * lines + 0.1)
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=columns,
            fontsize=8,
            frameon=False,
            columnspacing=1.2,
        )


def fold(text: str, width: int) -> str:
    """A text on lines of some characters, broken at spaces and else after the dots and strokes of a name."""
    lines = []
    for line in text.split("\n"):
        for part in textwrap.wrap(line, max(width, 4), break_long_words=False) or [""]:
            lines += _pieces(part, max(width, 4))
    return "\n".join(lines)


def _pieces(word: str, width: int) -> list[str]:
    lines = [""]
    for piece in re.split(r"(?<=[ ./_-])", word):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return lines


def random_label(first: bool) -> str | None:
    """A label for the first of the controls alone, so that the legend names them once."""
    return "random" if first else None


def control_style(count: int) -> dict[str, Any]:
    """How controls are drawn: grey, and fainter the more there are."""
    return {"color": CONTROL, "linewidth": 1, "alpha": 1.0 if count < 6 else 0.6, "zorder": 1.5}


def plain(texts: Sequence[Any]) -> list[str]:
    """Texts without what matplotlib would take for mathematics."""
    return [str(text).replace("$", r"\$") for text in texts]
