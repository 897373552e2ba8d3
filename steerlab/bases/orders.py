"""The negative control of a manifold: its values in an order that they do not have."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from steerlab.bases.manifold import Manifold
from steerlab.errors import SteerlabError


def wrong_order(manifold: Manifold, *, order: Sequence[int] | None = None, seed: int = 0) -> Manifold:
    """The same values, means and components, with the values' places on the curve exchanged.

    What a manifold buys must not be had by any curve through the same points: a path of this one passes the
    values in a wrong order, so its behaviour should be far less natural (the control that arXiv 2605.05115
    lacks, our own). Correlations of lengths do not see it, energies do.

    Parameters
    ----------
    manifold : Manifold
        The right one.
    order : sequence of int, optional
        The number of the value whose place each value gets. At random by default, but not one that is the
        right order read backwards or, where the axis closes, from elsewhere on.
    seed : int
        Of the random order.
    """
    count = len(manifold.knots)
    if order is None:
        generator, least = torch.Generator().manual_seed(seed), 4 if _closes(manifold) else 3
        if count < least:
            raise SteerlabError(f"{count} values on this manifold have no order that is wrong")
        order = torch.randperm(count, generator=generator).tolist()
        while _is_right(manifold, order):
            order = torch.randperm(count, generator=generator).tolist()
    elif sorted(order) != list(range(count)):
        raise SteerlabError(f"order={list(order)} does not have each of the {count} values once")
    facts = manifold.facts | {"order": ", ".join(str(one) for one in order)}
    return dataclasses.replace(manifold, knots=manifold.knots[list(order)], facts=facts)


def _closes(manifold: Manifold) -> bool:
    return len(manifold.periods) == 1 and manifold.periods[0] is not None


def _is_right(manifold: Manifold, order: Sequence[int]) -> bool:
    """Whether values follow each other as in the right order, in either direction."""
    if manifold.chart.axes > 1:
        return list(order) == list(range(len(order)))
    size = len(order)
    ranks = manifold.knots[:, 0].argsort().argsort()
    given = ranks[list(order)][ranks.argsort()]
    steps = given.diff() if not _closes(manifold) else (given.roll(-1) - given).remainder(size)
    turns = (1, size - 1) if _closes(manifold) else (1, -1)
    return any(bool((steps == turn).all()) for turn in turns)
