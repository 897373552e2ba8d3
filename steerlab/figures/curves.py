"""Curves: quantities against a number, with bands and random controls, and spectra against their rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError, listing
from steerlab.figures.drawing import CONTROL, KINDS, array, canvas
from steerlab.figures.labels import Axis, Labels, control_style, dress, legend_below, random_label, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MARKED = 40  # points of a line beyond which marks would run together
_DEPTH = 1e-8  # of the largest value of a spectrum: what is less is rounding, and would flatten the rest


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity, with what it varies by and what it must exceed.

    Parameters
    ----------
    values : Tensor
        ``[place]``; some may be NaN, which leaves a gap.
    low, high : Tensor, optional
        ``[place]`` each: a band about it, both or neither.
    controls : sequence of Tensor
        ``[place]`` each: the same quantity under random changes.
    """

    values: Any
    low: Any = None
    high: Any = None
    controls: Sequence[Any] = ()

    def arrays(self, name: str, count: int) -> Series:
        """The same as arrays of some length, or an error that says which is not."""
        if (self.low is None) != (self.high is None):
            raise SteerlabError(f"{name!r} has one edge of a band: give low and high, or neither")

        def one(values: Any, what: str) -> np.ndarray:
            numbers = array(values, "place", gaps=True)
            if len(numbers) != count:
                raise SteerlabError(f"{what} has {len(numbers)} values for {count} places")
            return numbers

        edges = [
            None if edge is None else one(edge, f"an edge of the band of {name!r}")
            for edge in (self.low, self.high)
        ]
        controls = [one(control, f"a control of {name!r}") for control in self.controls]
        return Series(one(self.values, f"{name!r}"), *edges, controls)


def lines(x: Any, series: Mapping[str, Any], *, labels: Labels | None = None) -> Figure:
    """Quantities against a number: profiles over depth, scores along a path.

    Parameters
    ----------
    x : Tensor
        ``[place]``; the lines run in ascending order.
    series : mapping
        Name -> values ``[place]`` or a `Series`. Each has its own colour, dash and mark; controls are grey.
    labels : Labels, optional
        Title and axes; an axis may be logarithmic, have whole ticks or a reference line.

    Examples
    --------
    >>> figure = lines([0, 1], {"accuracy": [0.5, 0.9]}, labels=Labels(x="block", y="accuracy (share)"))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['accuracy']
    """
    labels = labels or Labels()
    places = array(x, "place")
    every = {name: _series(one).arrays(name, len(places)) for name, one in series.items()}
    if not every:
        raise SteerlabError("no quantity to draw against the places")
    axis = labels.axes()[1]
    for name, one in every.items():
        if axis.log and not bool((one.values > 0).any()):
            raise SteerlabError(f"{name!r} has no value above 0 to draw on a logarithmic axis")
    order = np.argsort(places, kind="stable")
    places = places[order]
    figure = canvas(5.0, 3.1)
    axes = figure.add_subplot()
    for i, (name, one) in enumerate(every.items()):
        style = {"color": KINDS[i % len(KINDS)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.8}
        marker = MARKERS[i % len(MARKERS)] if len(places) <= _MARKED else None
        axes.plot(places, one.values[order], label=name, marker=marker, markersize=4, **style)
        if one.low is not None:
            band = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
            axes.fill_between(places, one.low[order], one.high[order], **band)
    controls = [control for one in every.values() for control in one.controls]
    for i, control in enumerate(controls):
        axes.plot(places, control[order], label=random_label(i == 0), **control_style(len(controls)))
    dress(axes, labels)
    legend_below(figure, axes)
    titled(figure, labels.title)
    return figure


def spectrum(
    values: Mapping[str, Any],
    noise: Any = None,
    *,
    ranks: Mapping[str, float] | None = None,
    labels: Labels | None = None,
) -> Figure:
    """Singular values, variances or energies against their rank, in the order given.

    Parameters
    ----------
    values : mapping
        Name -> ``[rank]``; a shorter spectrum may end in NaN.
    noise : Tensor, optional
        ``[rank]``: what chance alone gives, in grey.
    ranks : mapping, optional
        Name -> effective rank, which the legend says.
    labels : Labels, optional
        Title and axes. The vertical axis is logarithmic unless it is given as an `Axis` that is not; it then
        ends at 1e-8 of the largest value, and what is 0 is not drawn.

    Examples
    --------
    >>> figure = spectrum({"block 3": [4.0, 1.0]}, ranks={"block 3": 1.47})
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['block 3 (effective rank 1.5)']
    """
    labels, ranks = labels or Labels(), ranks or {}
    x, y, _ = labels.axes()
    x = replace(x, label=x.label or "rank", whole=True)
    y = Axis(labels.y or "value", log=True) if isinstance(labels.y, str) else y
    every = {name: array(one, "rank", gaps=True) for name, one in values.items()}
    if not every:
        raise SteerlabError("no spectrum to draw")
    if unknown := sorted(set(ranks) - set(every)):
        raise SteerlabError(f"an effective rank of {unknown[0]!r}, and the spectra are {listing(every)}")
    drawn = list(every.values()) + ([] if noise is None else [array(noise, "rank", gaps=True)])
    top = max(float(np.nanmax(one)) for one in drawn)
    if y.log and (top <= 0 or min(float(np.nanmin(one)) for one in drawn) < 0):
        raise SteerlabError("a spectrum on a logarithmic axis needs values of 0 and above, not all of them 0")
    figure = canvas(4.8, 3.1)
    axes = figure.add_subplot()
    if noise is not None:
        axes.plot(np.arange(1, len(drawn[-1]) + 1), drawn[-1], color=CONTROL, linewidth=2, label="by chance")
    for i, (name, one) in enumerate(every.items()):
        label = f"{name} (effective rank {ranks[name]:.2g})" if name in ranks else name
        style = {"color": KINDS[i % len(KINDS)], "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.5}
        marker = MARKERS[i % len(MARKERS)] if len(one) <= _MARKED else None
        axes.plot(np.arange(1, len(one) + 1), one, label=label, marker=marker, markersize=4, **style)
    dress(axes, replace(labels, x=x, y=y))
    if y.log:
        axes.set_ylim(bottom=max(axes.get_ylim()[0], top * _DEPTH))
    legend_below(figure, axes)
    titled(figure, labels.title)
    return figure


def _series(given: Any) -> Series:
    return given if isinstance(given, Series) else Series(given)
