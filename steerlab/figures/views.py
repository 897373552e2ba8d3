"""Tables of two coordinates for figures: what is shown of spaces that have many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from steerlab.errors import SteerlabError
from steerlab.numerics.gaps import modality_gap
from steerlab.numerics.linear import principal_components

Rows = dict[str, torch.Tensor | list[str]]


def two_spaces(
    panels: Mapping[str, tuple[torch.Tensor, Mapping[str, torch.Tensor]]], names: Sequence[str] = ()
) -> Rows:
    """The table of a ``manifold`` figure with panels, from knots and paths in spaces of any width.

    Each panel shows the first two principal components of its own first path, which is the fitted curve, so
    a path that leaves the curve's plane is seen as far as it stays in that plane. The curve runs against the
    clock in all of them, from the right on (all of it our own definition). Draw it with
    the options ``panel="panel"`` and ``names="name"``.

    Parameters
    ----------
    panels : mapping
        What a space is called -> its knots ``[value, dim]``, and name -> path ``[step, dim]``: the curve,
        then the ways that are compared. For behaviour give the square roots of distributions, in which
        straight distances are Hellinger's.
    names : sequence of str
        What the knots are called, ``[value]``.

    Returns
    -------
    dict
        Columns ``panel``, ``part``, ``x``, ``y`` and ``name``.
    """
    rows: dict[str, list[str]] = {"panel": [], "part": [], "name": []}
    places = []
    for title, (knots, paths) in panels.items():
        if not paths:
            raise SteerlabError(f"{title!r} has no path: its first one says what is looked at")
        if len(names) not in (0, len(knots)):
            raise SteerlabError(f"{title!r} has {len(knots)} knots, and there are {len(names)} names")
        curve = next(iter(paths.values())).detach().double().cpu()
        mean, frame, _ = principal_components(curve, 2)
        frame = _anticlockwise((curve - mean) @ frame.T)[:, None] * frame
        parts = {"point": knots} | dict(paths)
        for part, points in parts.items():
            places.append((points.detach().double().cpu() - mean) @ frame.T)
            rows["panel"] += [title] * len(points)
            rows["part"] += [part] * len(points)
            own = [str(name) for name in names] if part == "point" and len(names) else [""] * len(points)
            rows["name"] += own
    x, y = torch.cat(places).float().unbind(-1)
    return {**rows, "x": x, "y": y}


def gap_view(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], *, most: int = 400
) -> Rows:
    """The table of a ``scatter`` figure with panels: two groups of embeddings before and after a change.

    The first axis is the difference of the groups' means before; the second the first principal component of
    what is left of all points before. The gap in the panels' titles is the distance of the groups' means, of
    all samples (arXiv 2602.06218); the choice of the second axis is our own. Draw it with ``panel="panel"``,
    ``x="x"``, ``y="y"`` and ``classes="class"``.

    Parameters
    ----------
    before, after : mapping
        Name of a group -> embeddings ``[sample, dim]``; the same two groups in both.
    most : int
        Samples of a group that are drawn.

    Returns
    -------
    dict
        Columns ``panel``, ``class``, ``x`` and ``y``.
    """
    if len(before) != 2 or set(before) != set(after):
        raise SteerlabError(f"a gap is between two groups, the same before and after: {list(before)}")
    groups = [one.detach().double().cpu() for one in before.values()]
    means = [one.mean(0) for one in groups]
    middle, way = (means[0] + means[1]) / 2, means[0] - means[1]
    if not float(way.norm()) > 0:
        raise SteerlabError("both groups have one mean before: there is no gap to look along")
    first = way / way.norm()
    left = torch.cat([one - middle for one in groups])
    left = left - (left @ first)[:, None] * first
    _, frame, _ = principal_components(left, 1)
    axes = torch.stack([first, frame[0]])
    columns: dict[str, Any] = {"panel": [], "class": []}
    places = []
    for title, own in (("before", before), ("after", after)):
        gap = modality_gap(*(own[name].detach().double().cpu() for name in before))
        for name in before:
            points = own[name][:most].detach().double().cpu()
            places.append((points - middle) @ axes.T)
            columns["panel"] += [f"{title}: gap {gap:.2g}"] * len(points)
            columns["class"] += [name] * len(points)
    x, y = torch.cat(places).float().unbind(-1)
    return {**columns, "x": x, "y": y}


def _anticlockwise(curve: torch.Tensor) -> torch.Tensor:
    """Signs of two axes under which a curve ``[step, 2]`` encloses an area to its left and begins right."""
    x, y = curve.unbind(-1)
    first = torch.ones((), dtype=x.dtype) if float(x[0]) >= 0 else -torch.ones((), dtype=x.dtype)
    area = (x * y.roll(-1) - y * x.roll(-1)).sum() * first
    return torch.stack([first, torch.ones_like(first) if float(area) >= 0 else -torch.ones_like(first)])
