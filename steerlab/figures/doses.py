"""Dose and response: a measure against the strength of an edit, beside random controls and the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import array, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EDIT, _CONTROL = "#3b528b", "#8c8c8c"


def dose_response(
    strengths: Any,
    response: Any,
    controls: Sequence[Any] = (),
    title: str = "",
    *,
    labels: tuple[str, str] = ("strength", "response"),
) -> Figure:
    """One line for the edit, a thin grey one for each control; the dotted line is the base at strength 0.

    Parameters
    ----------
    strengths, response : Tensor
        ``[dose]``.
    controls : sequence of Tensor
        ``[dose]`` each: random directions of equal length.
    title : str
        What is seen.
    labels : tuple of str
        Of the two axes, with units.
    """
    x, y = array(strengths, "dose"), array(response, "dose")
    others = [array(control, "dose") for control in controls]
    if any(len(values) != len(x) for values in (y, *others)):
        raise SteerlabError(f"{len(x)} strengths with {len(y)} responses: one response a strength is needed")
    order = np.argsort(x)
    figure = canvas(4.6, 3.2)
    axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    for i, values in enumerate(others):
        axes.plot(x[order], values[order], color=_CONTROL, linewidth=1, label="random" if not i else None)
    axes.plot(x[order], y[order], color=_EDIT, marker="o", markersize=5, linewidth=2, label="edit")
    at_zero = np.flatnonzero(x == 0)
    if len(at_zero):
        axes.axhline(y[at_zero[0]], color="black", linewidth=0.8, linestyle=":", label="base")
    figure.suptitle(title, fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.tick_params(labelsize=8)
    return figure
