"""Kinds of figures with panels side by side: curves in two spaces, clouds, ribbons and compared groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steerlab.errors import SteerlabError
from steerlab.figures.compared import compared
from steerlab.figures.kinds.columns import Columns, Drawn, labels, listed, numbers, texts
from steerlab.figures.ribbons import ribbons
from steerlab.figures.spaces import Space, clouds, spaces

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def side_by_side(columns: Columns, plot: Drawn) -> Figure:
    """As `plotted.curved` in a plane, with one panel for each text of the column that `panel` names.

    ``part`` is ``point`` or the path's name; the first path of all is the fitted curve. `names` is a column
    of texts beside the points.
    """
    panel, part = texts(columns, plot.options["panel"]), np.array(texts(columns, "part"))
    names = texts(columns, plot.options["names"]) if "names" in plot.options else []
    places = np.stack([numbers(columns, side) for side in ("x", "y")], 1)
    found = {}
    for title in dict.fromkeys(panel):
        own = np.array([one == title for one in panel])
        paths = {
            str(name): places[own & (part == name)]
            for name in dict.fromkeys(part[own].tolist())
            if name != "point"
        }
        points = own & (part == "point")
        found[title] = Space(
            places[points], paths, [names[i] for i in np.flatnonzero(points)] if names else []
        )
    return spaces(found, labels=labels(plot, "", ""))


def beside(columns: Columns, plot: Drawn) -> Figure:
    """As `plotted.scattered`, with one panel for each text of the column that `panel` names.

    The text is the panel's title, such as ``"before: gap 0.83"``; `classes` is a column of texts.
    """
    x, y = plot.options["x"], plot.options["y"]
    panel = texts(columns, plot.options["panel"])
    classes = texts(columns, plot.options["classes"]) if "classes" in plot.options else [""] * len(panel)
    places = np.stack([numbers(columns, x), numbers(columns, y)], 1)
    pairs = list(zip(panel, classes, strict=True))
    found: dict[str, dict[str, np.ndarray]] = {}
    for title, kind in dict.fromkeys(pairs):
        found.setdefault(title, {})[kind] = places[[pair == (title, kind) for pair in pairs]]
    return clouds(found, labels=labels(plot, x, y))


def ribboned(columns: Columns, plot: Drawn) -> Figure:
    """A column `x` of fractions and those of the outcomes that `y` lists, by comma; `other` is drawn in grey.

    `panel` names a column of texts, one panel each.
    """
    x, outcomes = plot.options["x"], listed(plot, "y")
    if not outcomes:
        raise KeyError("y")
    t, shares = numbers(columns, x), {name: numbers(columns, name) for name in outcomes}
    panel = texts(columns, plot.options["panel"]) if "panel" in plot.options else [""] * len(t)
    rows = {title: [one == title for one in panel] for title in dict.fromkeys(panel)}
    parts = {title: {name: all_[own] for name, all_ in shares.items()} for title, own in rows.items()}
    other = plot.options.get("other", "other")
    if "other" in plot.options and other not in outcomes:
        raise KeyError(other)
    fractions = {title: t[own] for title, own in rows.items()}
    return ribbons(fractions, parts, other=other, labels=labels(plot, x, "probability"))


def grouped(columns: Columns, plot: Drawn) -> Figure:
    """A column `y` of measurements in the groups of the column `groups`, in the order of first occurrence.

    `tests` lists p values by semicolon, as in ``curve/chord=0.004; curve/random=1e-5``. `units` names a
    column of texts; every unit is then in every group once, and a line joins its dots.
    """
    y, kinds = plot.options["y"], texts(columns, plot.options["groups"])
    values, order = numbers(columns, y), list(dict.fromkeys(kinds))
    rows = {kind: [i for i, one in enumerate(kinds) if one == kind] for kind in order}
    if "units" in plot.options:
        units = texts(columns, plot.options["units"])
        rows = {kind: sorted(own, key=lambda i: units[i]) for kind, own in rows.items()}
        lists = [[units[i] for i in own] for own in rows.values()]
        if any(one != lists[0] or len(set(one)) < len(one) for one in lists):
            raise SteerlabError("the groups do not have the same units, each once")
    groups = {kind: values[own] for kind, own in rows.items()}
    tests = dict(_test(text) for text in plot.options.get("tests", "").split(";") if text.strip())
    return compared(groups, tests, paired="units" in plot.options, labels=labels(plot, "", y))


def _test(text: str) -> tuple[tuple[str, str], float]:
    """One test as it is written in the options."""
    names, _, p = text.rpartition("=")
    first, _, second = names.partition("/")
    try:
        return (first.strip(), second.strip()), float(p)
    except ValueError:
        raise SteerlabError(f"the test {text!r} does not read like 'curve/chord=0.004'") from None
