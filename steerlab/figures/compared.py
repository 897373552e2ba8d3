"""Groups of paired measurements: bars of their means, each measurement as a dot, and tests as brackets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from steerlab.errors import SteerlabError, listing, nearest
from steerlab.figures.drawing import KINDS, array, canvas
from steerlab.figures.labels import Labels, dress, fold, legend_below, plain, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HATCHES = ("", "///", "...", "\\\\\\", "xx", "++", "oo")
_SPREAD = 0.22  # how far dots lie aside of their bar's middle, in bars


def compared(
    groups: Mapping[str, Any],
    tests: Mapping[tuple[str, str], float] | None = None,
    *,
    paired: bool = False,
    labels: Labels | None = None,
) -> Figure:
    """Means with standard errors over the single measurements, and p values over the groups they compare.

    Parameters
    ----------
    groups : mapping
        Name -> values ``[unit]``, such as the energy of each pair under one mode of steering.
    tests : mapping, optional
        Two names -> the p value of their comparison, drawn as a bracket over both.
    paired : bool
        Whether equal places of all groups are one unit; a thin line then joins its dots.
    labels : Labels, optional
        Title; `y` is the quantity with its unit, whose axis may be logarithmic and have a reference.

    Examples
    --------
    >>> figure = compared({"curve": [1.0, 3.0], "chord": [4.0, 6.0]}, {("curve", "chord"): 0.004})
    >>> [float(bar.get_height()) for bar in figure.axes[0].patches]
    [2.0, 5.0]
    """
    labels, tests = labels or Labels(), tests or {}
    if not groups:
        raise SteerlabError("no groups to compare")
    every = {name: array(values, "unit") for name, values in groups.items()}
    for name in {name for pair in tests for name in pair} - set(every):
        raise SteerlabError(f"no group {name!r} to test{nearest(name, every)} (known: {listing(every)})")
    sizes = {len(values) for values in every.values()}
    if paired and len(sizes) > 1:
        raise SteerlabError(f"paired groups are equally large, not {sorted(sizes)}")
    log = labels.axes()[1].log
    low = min(float(values.min()) for values in every.values())
    high = max(float(values.max()) for values in every.values())
    if log and low <= 0:
        raise SteerlabError("measurements on a logarithmic axis need values above 0")
    figure = canvas(5.2, 3.3)
    axes = figure.add_subplot()
    dress(axes, labels)
    aside = {name: i + _SPREAD * _spread(len(values)) for i, (name, values) in enumerate(every.items())}
    if paired:
        joined = np.stack(list(every.values()))
        axes.plot(np.stack(list(aside.values())), joined, color="#8c8c8c", linewidth=0.5, alpha=0.5, zorder=2)
    for i, (name, values) in enumerate(every.items()):
        mean, error = float(values.mean()), _standard_error(values)
        style = {"color": KINDS[i % len(KINDS)], "hatch": _HATCHES[i % len(_HATCHES)], "edgecolor": "white"}
        axes.bar(i, mean, 0.62, linewidth=0.5, alpha=0.75, **style)
        dots = {"s": 9, "color": "#333333", "linewidths": 0, "alpha": 0.6, "zorder": 3}
        axes.scatter(aside[name], values, **dots)
        axes.errorbar(i, mean, yerr=error, color="black", elinewidth=1.6, capsize=4, zorder=4)
    axes.set_xticks(
        range(len(every)), [fold(one, 60 // len(every)) for one in plain(list(every))], fontsize=8
    )
    axes.tick_params(axis="x", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not log:
        axes.axhline(0, color="black", linewidth=0.8)
    _brackets(axes, list(every), tests, (low if log else min(low, 0.0), high))
    legend_below(figure, axes)
    titled(figure, labels.title)
    return figure


def _standard_error(values: np.ndarray) -> float:
    """Standard error of a mean; 0 for one measurement, of which nothing is known."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _spread(count: int) -> np.ndarray:
    """Where dots lie aside, from -1 to 1: by the golden ratio, so that neighbours are far apart."""
    return 2 * ((np.arange(count) * 0.6180339887498949 + 0.5) % 1) - 1 if count > 1 else np.zeros(1)


def _brackets(
    axes: Any, names: list[str], tests: Mapping[tuple[str, str], float], ends: tuple[float, float]
) -> None:
    """A line over each pair that was tested with its p value, the narrow ones below; the axis makes room."""
    low, high = ends
    log = axes.get_yscale() == "log"
    unit = (math.log(high / low) if high > low else 1.0) if log else (high - low or 1.0)

    def up(steps: float) -> float:
        return high * math.exp(steps * unit) if log else high + steps * unit

    spans = sorted((sorted(names.index(one) for one in pair), p) for pair, p in tests.items())
    spans = sorted(spans, key=lambda span: span[0][1] - span[0][0])
    for level, ((first, last), p) in enumerate(spans):
        bottom, top = up(0.06 + 0.13 * level), up(0.085 + 0.13 * level)
        line = ([first, first, last, last], [bottom, top, top, bottom])
        axes.plot(*line, color="black", linewidth=0.9, clip_on=False)
        axes.text((first + last) / 2, top, spoken(p), ha="center", va="bottom", fontsize=7.5)
    bottom = axes.get_ylim()[0] if log else (low if low == 0 else low - 0.06 * unit)
    axes.set_ylim(bottom, up(0.06 + 0.13 * len(spans)))


def spoken(p: float) -> str:
    """A p value as it is written: ``p = 0.004``, ``p = 6e-05``, ``p < 1e-16`` where rounding ends."""
    if not 0 <= p <= 1:
        raise SteerlabError(f"p={p:g} is not from 0 to 1")
    if p < 1e-16:
        return "p < 1e-16"
    return f"p = {p:.1g}" if p < 0.01 else f"p = {p:.2g}"
