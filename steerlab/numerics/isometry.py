"""Whether two manifolds of one concept have one geometry: distances along one against along the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.numerics.surfaces import Surface


@dataclass(frozen=True, eq=False)
class Isometry:
    """How distances along two manifolds go together.

    Attributes
    ----------
    along : float
        Pearson correlation of lengths along the first with lengths along the second.
    chord : float
        The same with straight distances in the first: what curvature adds nothing to.
    first, second, straight : Tensor
        The distances themselves, ``[pair]``.
    """

    along: float
    chord: float
    first: torch.Tensor
    second: torch.Tensor
    straight: torch.Tensor


def isometry(first: Surface, second: Surface, *, interior: int = 0, steps: int = 150) -> Isometry:
    """Correlate distances along two manifolds of the same values (arXiv 2605.05115).

    Vertices are the values and, for every pair of them, `interior` places at equal fractions of the short way
    between, in each manifold's own coordinates. Two vertices are left out where one's supporting values are
    among the other's: they lie on one segment, and any two curves agree there. (The paper says "nested"; that
    the values decide is our own reading.) It is a property of two fitted curves, with no intervention in it,
    and a wrong order of values used for both does not lower it.

    Parameters
    ----------
    first, second : Surface
        Of activations and of behaviour; lengths in the units of each, which a correlation forgets.
    interior : int
        Places inside each pair; the paper has 4 for 7 values, 1 for 12 and 0 for 91.
    steps : int
        Chords that a length is the sum of.
    """
    count = len(first.chart.knots)
    if len(second.chart.knots) != count:
        raise ValueError(f"manifolds of {count} and {len(second.chart.knots)} values are not of one concept")
    pairs = torch.combinations(torch.arange(count))
    ends = torch.cat([torch.arange(count)[:, None].expand(-1, 2), pairs.repeat_interleave(interior, 0)])
    inside = torch.arange(1, interior + 1, dtype=torch.float64) / (interior + 1)
    fractions = torch.cat([torch.zeros(count, dtype=torch.float64), inside.repeat(len(pairs))])
    a, b = torch.combinations(torch.arange(len(ends))).unbind(-1)
    apart = ~_nested(ends, count)[a, b]
    a, b = a[apart], b[apart]
    lengths, straight = [], None
    for surface in (first, second):
        begin, finish = (surface.chart.knots[ends[:, side]] for side in (0, 1))
        places = begin + fractions[:, None] * surface.chart.shift(begin, finish)
        start, shift = places[a], surface.chart.shift(places[a], places[b])
        lengths.append(surface.arc_length(start, shift, steps=steps))
        if straight is None:
            points = surface.at(places)
            straight = (points[a] - points[b]).norm(dim=-1)
    return Isometry(pearson(*lengths), pearson(straight, lengths[1]), *lengths, straight)


def pearson(x: torch.Tensor, y: torch.Tensor) -> float:
    """Pearson's correlation of ``[sample]`` with ``[sample]``."""
    return float(torch.corrcoef(torch.stack([x.double(), y.double()]))[0, 1])


def _nested(ends: torch.Tensor, count: int) -> torch.Tensor:
    """Whether the values that carry one vertex are among those that carry the other, ``[vertex, vertex]``."""
    carries = torch.zeros(len(ends), count, dtype=torch.float64)
    carries.scatter_(1, ends, 1.0)
    shared, sizes = carries @ carries.T, carries.sum(1)
    return shared == torch.minimum(sizes[:, None], sizes[None, :])
