"""Reading a table of a report for a figure: its columns, its options, and what is said of wrong ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch

from steerlab.errors import SteerlabError, listing, nearest
from steerlab.figures.curves import Series
from steerlab.figures.drawing import array
from steerlab.figures.labels import Axis, Labels

Columns = Mapping[str, Any]
SCALES = ("linear", "log")


class Drawn(Protocol):
    """What is needed of a plot."""

    @property
    def kind(self) -> str:
        """One of `PLOTS`."""
        ...

    @property
    def title(self) -> str:
        """What it shows."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """Names of columns and words for axes."""
        ...


def listed(plot: Drawn, option: str) -> list[str]:
    """The names that an option holds, by comma; none where it is not given."""
    return [name.strip() for name in plot.options.get(option, "").split(",") if name.strip()]


def numbers(columns: Columns, name: str, axes: str = "row", *, gaps: bool = False) -> np.ndarray:
    """A column of numbers with the named axes, or an error that names the column."""
    try:
        return array(columns[name], axes, gaps=gaps)
    except SteerlabError as fault:
        raise SteerlabError(f"column {name!r}: {fault}") from None


def texts(columns: Columns, name: str) -> list[str]:
    """A column of texts."""
    values = columns[name]
    if isinstance(values, torch.Tensor) or not all(isinstance(value, str) for value in values):
        raise SteerlabError(f"column {name!r} does not hold texts")
    return list(values)


def number(plot: Drawn, option: str) -> float | None:
    """An option that is a number, written as a text."""
    given = plot.options.get(option)
    try:
        value = None if given is None else float(given)
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise SteerlabError(f"the option {option}={given!r} is not a number")
    return value


def chosen(plot: Drawn, option: str, known: Iterable[str]) -> str:
    """An option that is one of some words, the first by default."""
    known = tuple(known)
    given = plot.options.get(option, known[0])
    if given not in known:
        raise SteerlabError(f"the option {option}={given!r}{nearest(given, known)} (known: {listing(known)})")
    return given


def axis(plot: Drawn, side: str, label: str = "") -> Axis:
    """One axis: options ``x label``, ``x scale``, ``x ticks``, ``x reference`` and its label."""
    return Axis(
        plot.options.get(f"{side} label", label),
        chosen(plot, f"{side} scale", SCALES) == "log",
        chosen(plot, f"{side} ticks", ("any", "whole")) == "whole",
        number(plot, f"{side} reference"),
        plot.options.get(f"{side} reference label", ""),
    )


def labels(plot: Drawn, x: str = "", y: str = "", z: str = "") -> Labels:
    """What is written around the data; the given labels stand where the options have none."""
    sides = [axis(plot, side, label) for side, label in (("x", x), ("y", y), ("z", z))]
    return Labels(plot.title, *sides, plot.options.get("label", ""))


def relabelled(given: Labels, **sides: str) -> Labels:
    """The same with other labels of some axes."""
    return replace(given, **{side: replace(getattr(given, side), label=text) for side, text in sides.items()})


def series(columns: Columns, names: Iterable[str]) -> dict[str, Series]:
    """Quantities by name: each with its columns ``low`` and ``high`` and those that start with ``random``."""
    found = {}
    for name in names:
        low, high = (
            numbers(columns, edge, gaps=True) if (edge := f"{name} {side}") in columns else None
            for side in ("low", "high")
        )
        others = [numbers(columns, one, gaps=True) for one in columns if one.startswith(f"{name} random")]
        found[name] = Series(numbers(columns, name, gaps=True), low, high, others)
    return found
