"""Shortest paths under a metric that stretches space: L-BFGS on the points between two ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Metric = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Descent:
    """How a geodesic is looked for.

    Parameters
    ----------
    points : int
        Points of the path, both ends included. Too few may jump a gap between data: the ratio tells.
    bows : tuple of float
        Starts: how far the middle of the chord is bent aside, in lengths of the chord. A straight start
        between mirrored arcs can stay on the saddle.
    steps : int
        Iterations of L-BFGS, at most, from each start.
    seed : int
        Of the direction of bows, which is random across the chord.
    """

    points: int = 100
    bows: tuple[float, ...] = (0.0, 0.2, -0.2)
    steps: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Geodesic:
    """A path and what is known of it.

    Attributes
    ----------
    points : Tensor
        ``[point, dim]``, equally far apart in Riemannian time, not in space (`evenly` makes them so).
    length : float
        ``sum_k sqrt(f(m_k)) |x_{k+1} - x_k|``, the factor taken in the middle of each step, where the descent
        did not see it.
    energy : float
        ``K = 1/2 sum_k f_k |x_{k+1} - x_k|^2 (points - 1)``.
    variation : float
        Standard deviation of the Riemannian speed over its mean; below 0.01 where it has converged.
    """

    points: torch.Tensor
    length: float
    energy: float
    variation: float

    @property
    def ratio(self) -> float:
        """``L^2 / 2 K``: 1 at the optimum, less where speed varies, more where steps jump over a rise."""
        return self.length**2 / (2 * self.energy)


def geodesic(
    metric: Metric, start: torch.Tensor, end: torch.Tensor, *, descent: Descent | None = None
) -> Geodesic:
    """Minimise the kinetic energy of a path between two points (arXiv 2505.18230).

    ``K = 1/2 sum_k 1/2 (f(x_k) + f(x_{k+1})) |x_{k+1} - x_k|^2 (T - 1)``, symmetric in direction, over the
    points between; its minimum is also the shortest path, at constant speed. The paper trains a network or
    runs Adam; here scipy's L-BFGS-B works on sine coefficients of what departs from the chord, each divided
    by its frequency, in which a constant metric has a round bowl. The best of several starts is kept (both
    our own).

    Parameters
    ----------
    metric : callable
        The factor ``[...]`` at points ``[..., dim]``, above 0 and with gradients: a `Conformal`.
    start, end : Tensor
        ``[dim]``.
    descent : Descent, optional
        How it is looked for.
    """
    descent = descent or Descent()
    start, end = start.detach().double().cpu(), end.detach().double().cpu()
    if start.shape != end.shape or start.ndim != 1 or not float((end - start).norm()) > 0:
        raise ValueError(f"a geodesic runs between two points [dim], not {list(start.shape)} and itself")
    if descent.points < 3:
        raise ValueError(f"points={descent.points}: a path has one point or more between its ends")
    t = torch.linspace(0, 1, descent.points, dtype=torch.float64)[:, None]
    chord = start + t * (end - start)
    across = _across(end - start, descent.seed)
    found = [_descended(metric, chord, bow * across * 4 * t * (1 - t), descent.steps) for bow in descent.bows]
    return min((measured(metric, points) for points in found), key=lambda path: path.energy)


def measured(metric: Metric, points: torch.Tensor) -> Geodesic:
    """Length, energy and evenness of a path ``[point, dim]`` under a metric."""
    with torch.no_grad():
        pieces = _pieces(metric, points)
        middles = metric((points[1:] + points[:-1]) / 2)
    length = float((middles.sqrt() * points.diff(dim=0).norm(dim=-1)).sum())
    speeds = pieces.sqrt()
    variation = float(speeds.std(correction=0) / speeds.mean())
    return Geodesic(points, length, float(pieces.sum() * len(pieces) / 2), variation)


def evenly(points: torch.Tensor, count: int) -> torch.Tensor:
    """`count` points ``[count, dim]`` on the line through ``[point, dim]``, equally far apart along it."""
    steps = points.diff(dim=0).norm(dim=-1)
    reached = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    wanted = torch.linspace(0, 1, count, dtype=reached.dtype, device=reached.device) * reached[-1]
    after = torch.searchsorted(reached, wanted).clamp(1, len(points) - 1)
    share = (wanted - reached[after - 1]) / steps[after - 1].clamp_min(torch.finfo(steps.dtype).tiny)
    return points[after - 1] + share[:, None] * (points[after] - points[after - 1])


def _pieces(metric: Metric, points: torch.Tensor) -> torch.Tensor:
    """Squared Riemannian lengths of the steps, ``[point - 1]``, with the mean factor of their ends."""
    factors = metric(points)
    return (factors[1:] + factors[:-1]) / 2 * points.diff(dim=0).square().sum(-1)


def _across(way: torch.Tensor, seed: int) -> torch.Tensor:
    """A direction across `way` and as long, ``[dim]``; on a line there is none, and it is zero."""
    if len(way) == 1:
        return torch.zeros_like(way)
    random = torch.randn(len(way), generator=torch.Generator().manual_seed(seed), dtype=way.dtype)
    random = random - (random @ way) / (way @ way) * way
    return random / random.norm() * way.norm()


def _descended(metric: Metric, chord: torch.Tensor, bow: torch.Tensor, steps: int) -> torch.Tensor:
    from scipy.optimize import minimize

    count, dim = len(chord), chord.shape[1]
    waves = torch.arange(1, count - 1, dtype=torch.float64)
    modes = torch.sin(torch.pi * waves[:, None] * waves / (count - 1)) / waves
    scale = (2 / (count - 1)) ** 0.5 * float((chord[-1] - chord[0]).norm())

    def path(coefficients: torch.Tensor) -> torch.Tensor:
        inside = chord[1:-1] + scale * modes @ coefficients.reshape(-1, dim)
        return torch.cat([chord[:1], inside, chord[-1:]])

    def value_and_slope(flat: object) -> tuple[float, object]:
        coefficients = torch.as_tensor(flat, dtype=torch.float64).requires_grad_()
        with torch.enable_grad():
            value = _pieces(metric, path(coefficients)).sum() * (count - 1) / 2
            (slope,) = torch.autograd.grad(value, coefficients)
        return value.item(), slope.numpy()

    first = torch.linalg.solve(scale * modes, bow[1:-1]).flatten()
    options = {"maxiter": steps, "maxfun": 4 * steps, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-9}
    found = minimize(value_and_slope, first.numpy(), jac=True, method="L-BFGS-B", options=options)
    return path(torch.as_tensor(found.x, dtype=torch.float64))
