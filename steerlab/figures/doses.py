"""Dose and response: a measure against the strength of an edit, beside random controls and the base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.drawing import KINDS, array, canvas
from steerlab.figures.labels import Labels, control_style, dress, legend_below, random_label, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def dose_response(
    strengths: Any,
    response: Any,
    controls: Sequence[Any] = (),
    title: str = "",
    *,
    labels: tuple[str, str] = ("strength", "response"),
) -> Figure:
    """One line for the edit, a thin grey one for each control; dotted is the base, where 0 is a strength.

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
    figure = canvas(4.6, 3.0)
    axes = figure.add_subplot()
    axes.plot(x[order], y[order], color=KINDS[0], marker="o", markersize=5, linewidth=2, label="edit")
    for i, values in enumerate(others):
        axes.plot(x[order], values[order], label=random_label(i == 0), **control_style(len(others)))
    at_zero = np.flatnonzero(x == 0)
    if len(at_zero):
        base = {"color": "black", "linewidth": 0.9, "linestyle": ":"}
        axes.axhline(y[at_zero[0]], label="base (strength 0)", **base)
    dress(axes, Labels(x=labels[0], y=labels[1]))
    legend_below(figure, axes)
    titled(figure, title)
    return figure
