"""Values by name as bars, with what they vary by and what they must exceed, or stacked as shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.curves import Series
from steerlab.figures.drawing import CONTROL, KINDS, array, canvas
from steerlab.figures.labels import Labels, dress, fold, legend_below, plain, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HATCHES = ("", "///", "...", "\\\\\\", "xx", "++", "oo")
_THICK, _SLOT = 0.8, 0.22  # of a name's room filled by its bars; inches a bar
_NAME = 22  # characters of a line of a name


def bars(names: Sequence[Any], values: Mapping[str, Any], *, labels: Labels | None = None) -> Figure:
    """Values by name, the first on top; several quantities stand side by side, random controls in grey.

    Parameters
    ----------
    names : sequence
        ``[name]``.
    values : mapping
        Quantity -> ``[name]`` or a `Series`, whose band becomes error bars; the mean of its controls is a
        grey bar and each control a point on it.
    labels : Labels, optional
        Title; `x` is the values' axis, with its unit, `y` says what the names are.

    Examples
    --------
    >>> figure = bars(["head 3", "head 5"], {"effect": [0.2, 0.7]}, labels=Labels(x="KL (nats)"))
    >>> [round(float(bar.get_width()), 3) for bar in figure.axes[0].patches]
    [0.2, 0.7]
    """
    labels, every = labels or Labels(), _series(names, values)
    slots = sum(1 + (len(one.controls) > 0) for one in every.values())
    thick = _THICK / slots
    figure, axes = _panel(names, slots)
    rows, slot = np.arange(len(names)), 0
    for i, (name, one) in enumerate(every.items()):
        middle = rows - _THICK / 2 + thick * (slot + 0.5)
        colour = KINDS[i % len(KINDS)]
        style = {
            "color": colour,
            "hatch": _HATCHES[i % len(_HATCHES)],
            "edgecolor": "white",
            "linewidth": 0.5,
        }
        axes.barh(middle, one.values, thick * 0.94, label=name, **style)
        if one.low is not None:
            ends = np.stack([one.values - one.low, one.high - one.values])
            if bool((ends < 0).any()):
                raise SteerlabError(f"a value of {name!r} lies outside its error bar")
            style = {"fmt": "none", "ecolor": "black", "elinewidth": 1, "capsize": 2}
            axes.errorbar(one.values, middle, xerr=ends, **style)
        slot += 1
        if one.controls:
            middle, controls = middle + thick, np.stack(one.controls)
            label = "random" if "random" not in axes.get_legend_handles_labels()[1] else None
            axes.barh(middle, controls.mean(0), thick * 0.94, color=CONTROL, alpha=0.55, label=label)
            places = np.broadcast_to(middle, controls.shape)
            axes.scatter(controls.ravel(), places.ravel(), s=6, color="#4d4d4d", zorder=3)
            slot += 1
    axes.axvline(0, color="black", linewidth=0.8)
    return _finished(figure, axes, names, labels, legend=slots > 1)


def stacked_bars(names: Sequence[Any], values: Mapping[str, Any], *, labels: Labels | None = None) -> Figure:
    """Shares of a whole by name, one after the other from 0 to 1; colours and hatches tell them apart.

    Parameters
    ----------
    names : sequence
        ``[name]``, the first on top.
    values : mapping
        Part -> ``[name]``, from 0 to 1; together they are 1 at every name.
    labels : Labels, optional
        Title; `x` is the shares' axis, `y` says what the names are.

    Examples
    --------
    >>> figure = stacked_bars([0, 1], {"shape": [0.25, 0.5], "colour": [0.75, 0.5]}, labels=Labels(y="block"))
    >>> [float(bar.get_x()) for bar in figure.axes[0].patches]
    [0.0, 0.0, 0.25, 0.5]
    """
    every = {name: one.values for name, one in _series(names, values).items()}
    shares = np.stack(list(every.values()))
    total = shares.sum(0)
    if bool((shares < -1e-6).any()) or bool((np.abs(total - 1) > 1e-3).any()):
        worst = int(np.abs(total - 1).argmax())
        raise SteerlabError(
            f"stacked shares are 0 or more and sum to 1; at {_text(names[worst])!r} they sum to "
            f"{total[worst]:.4g}, and the smallest of all is {shares.min():.3g}"
        )
    figure, axes = _panel(names, 1)
    left = np.zeros(len(names), shares.dtype)
    for i, (name, share) in enumerate(every.items()):
        style = {"color": KINDS[i % len(KINDS)], "hatch": _HATCHES[i % len(_HATCHES)]}
        axes.barh(np.arange(len(names)), share, 0.82, left, label=name, edgecolor="white", **style)
        left = left + share
    axes.set_xlim(0, 1)
    return _finished(figure, axes, names, labels or Labels(), legend=True)


def _series(names: Sequence[Any], values: Mapping[str, Any]) -> dict[str, Series]:
    if not len(names) or not values:
        raise SteerlabError(f"nothing to draw: {len(names)} names and {len(values)} quantities")
    given = {name: one if isinstance(one, Series) else Series(one) for name, one in values.items()}
    every = {name: one.arrays(name, len(names)) for name, one in given.items()}
    for name, one in every.items():
        for numbers in (one.values, *one.controls):
            array(numbers, name.replace(", ", " "))  # a missing bar would look like a bar of length 0
    return every


def _panel(names: Sequence[Any], slots: int) -> tuple[Figure, Any]:
    figure = canvas(5.2, min(max(_SLOT * slots * len(names), 0.8) + 0.7, 14))
    axes = figure.add_subplot(ylim=(len(names) - 0.5, -0.5))
    return figure, axes


def _finished(figure: Figure, axes: Any, names: Sequence[Any], labels: Labels, *, legend: bool) -> Figure:
    dress(axes, labels)
    texts = [fold(text, _NAME) for text in plain([_text(name) for name in names])]
    axes.set_yticks(range(len(names)), texts, fontsize=8)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if legend:
        legend_below(figure, axes)
    titled(figure, labels.title)
    return figure


def _text(name: Any) -> str:
    """A name: a text as it is, a number of a column without its decimals where it has none."""
    return name if isinstance(name, str) else f"{float(name):g}"
