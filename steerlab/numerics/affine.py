"""Affine maps from one state to the next, by least squares from moments that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Affine:
    """``y = x W^T + b`` with ``weight [out, in]`` and ``bias [out]``."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """From ``[..., in]`` to ``[..., out]``."""
        return x @ self.weight.T + self.bias


@dataclass(frozen=True)
class PairMoments:
    """Sums over pairs ``(x, y)``, enough for a least-squares map; moments of disjoint data add up.

    Attributes
    ----------
    gram : Tensor
        ``sum [x, 1]^T [x, 1]``, ``[in + 1, in + 1]``.
    cross : Tensor
        ``sum [x, 1]^T y``, ``[in + 1, out]``.
    square : float
        ``sum |y|^2``.
    """

    gram: torch.Tensor
    cross: torch.Tensor
    square: float

    def __add__(self, other: PairMoments) -> PairMoments:
        return PairMoments(self.gram + other.gram, self.cross + other.cross, self.square + other.square)


def pair_moments(x: torch.Tensor, y: torch.Tensor) -> PairMoments:
    """Moments of pairs ``[..., in]`` and ``[..., out]``, in float64."""
    given, wanted = x.flatten(0, -2).double(), y.flatten(0, -2).double()
    given = torch.cat([given, given.new_ones(len(given), 1)], 1)
    return PairMoments(given.T @ given, given.T @ wanted, float(wanted.square().sum()))


def affine_fit(moments: PairMoments, *, ridge: float = 0.0) -> Affine:
    """The map that minimises ``sum |y - W x - b|^2 + ridge |W|^2``; the shortest one where many do."""
    gram = moments.gram.clone()
    gram[:-1, :-1].diagonal().add_(ridge)
    solution = torch.linalg.lstsq(gram, moments.cross, driver="gelsd").solution
    return Affine(solution[:-1].T, solution[-1])


def fit_error(moments: PairMoments) -> float:
    """The smallest ``sum |y - W x - b|^2``, to about 1e-14 of ``sum |y|^2``."""
    fit = affine_fit(moments)
    whole = torch.cat([fit.weight, fit.bias[:, None]], 1).T
    explained = 2 * (whole * moments.cross).sum() - (whole * (moments.gram @ whole)).sum()
    return max(0.0, moments.square - float(explained))


def shared_errors(steps: Sequence[PairMoments]) -> torch.Tensor:
    """The error of one shared map for every run of steps ``[a, b)``: a table ``[n + 1, n + 1]``.

    It is the table of costs of a functional segmentation (our own definition); see
    `steerlab.numerics.segmentation.best_segments`.
    """
    count = len(steps)
    table = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    for first in range(count):
        moments = steps[first]
        for last in range(first + 1, count + 1):
            if last > first + 1:
                moments = moments + steps[last - 1]
            table[first, last] = fit_error(moments)
    return table


def closed_loop(start: torch.Tensor, maps: Sequence[Affine]) -> torch.Tensor:
    """The states after each map when each takes what the one before gave: ``[map, ..., dim]``."""
    states, state = [], start
    for one in maps:
        state = one(state)
        states.append(state)
    return torch.stack(states)
