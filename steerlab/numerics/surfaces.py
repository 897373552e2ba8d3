"""Curves and surfaces in space: the nearest point, and the length of the way between two places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from steerlab.numerics.charts import Chart
from steerlab.numerics.copies import Copies

STEPS = {1: 4, 2: 10, 3: 10}  # by axes: on a line the error squares every time, on a surface it shrinks
AT_ONCE = 2**23  # products of points and places held at once: 64 MiB of doubles
Map = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Surface:
    """A chart and where its places lie.

    Parameters
    ----------
    chart : Chart
        The coordinates.
    at : callable
        From places ``[..., axis]`` to points ``[..., dim]``.
    slopes : callable
        From places to the derivatives of `at`, ``[..., axis, dim]``.
    bends : callable, optional
        From places to the second derivative along a line, ``[..., dim]``.
    """

    chart: Chart
    at: Map
    slopes: Map
    bends: Map | None = None
    searched: dict = field(init=False, repr=False, default_factory=dict)

    def nearest(self, points: torch.Tensor) -> torch.Tensor:
        """Places ``[..., axis]`` whose points are nearest to `points` ``[..., dim]``.

        The best of a dense grid, then Newton's steps on the squared distance, each no longer than a cell of
        the grid; where there is no bend, or it would lead uphill, Gauss-Newton's. The last step carries the
        gradient, which on a curve is that of the true nearest place. The published code starts at the
        nearest value instead, which may be another branch.
        """
        rows = points.reshape(-1, points.shape[-1])
        kept = rows.detach()
        with torch.no_grad():
            searched = self._searched(kept)
            u = searched.best(kept)
            for _ in range(STEPS[self.chart.axes] - 1):
                u = self._improved(u, kept, searched)
        u = self.chart.wrapped(self._improved(u, rows, searched))
        return u.reshape(*points.shape[:-1], self.chart.axes)

    def arc_length(self, start: torch.Tensor, shift: torch.Tensor, *, steps: int = 150) -> torch.Tensor:
        """Length of the way from `start` along `shift`, ``[..., axis]`` each: ``[...]``.

        The sum of `steps` chords, as in the published code (arXiv 2605.05115).
        """
        t = torch.linspace(0, 1, steps + 1, dtype=start.dtype, device=start.device)[:, None]
        start, shift = (v.reshape(-1, v.shape[-1]) for v in torch.broadcast_tensors(start, shift))
        block = max(AT_ONCE // (steps * 64), 1)
        lengths = [
            self.at(a[:, None] + t * d[:, None]).diff(dim=-2).norm(dim=-1).sum(-1)
            for a, d in zip(start.split(block), shift.split(block), strict=True)
        ]
        return torch.cat(lengths)

    def _searched(self, points: torch.Tensor) -> _Searched:
        key = (points.device, points.dtype)
        if key not in self.searched:
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve gradients later
                low, high = (b.to(points) for b in self.chart.bounds())
                places = self.chart.grid().to(points)
                cell = (high - low) / (len(places) ** (1 / self.chart.axes) - 1)
                closes = torch.tensor([t is not None for t in self.chart.periods], device=points.device)
                self.searched[key] = _Searched(low, high, cell, closes, places, self.at(places))
        return self.searched[key]

    def _improved(self, u: torch.Tensor, points: torch.Tensor, searched: _Searched) -> torch.Tensor:
        slopes, missed = self.slopes(u), points - self.at(u)
        pull = (slopes @ missed[..., None])[..., 0]
        stiff = slopes @ slopes.mT
        if self.bends is not None:
            bent = stiff - (self.bends(u) * missed).sum(-1)[..., None, None]
            stiff = torch.where(bent > 0.1 * stiff, bent, stiff)
        tiny = torch.finfo(u.dtype).eps * stiff.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-30
        if self.chart.axes == 1:
            step = pull / (stiff[..., 0] + tiny[:, None])
        else:
            eye = torch.eye(self.chart.axes, dtype=u.dtype, device=u.device)
            step = torch.linalg.solve(stiff + tiny[:, None, None] * eye, pull[..., None])[..., 0]
        moved = u + step.clamp(-searched.cell, searched.cell)
        return torch.where(searched.closes, moved, moved.clamp(searched.low, searched.high))


@dataclass(frozen=True, eq=False)
class _Searched:
    """A dense grid of a surface on one device: bounds, cell and what closes ``[axis]``, places, points."""

    low: torch.Tensor
    high: torch.Tensor
    cell: torch.Tensor
    closes: torch.Tensor
    places: torch.Tensor
    points: torch.Tensor

    def best(self, points: torch.Tensor) -> torch.Tensor:
        """The places of the grid whose points are nearest, ``[point, axis]``."""
        half = self.points.square().sum(-1) / 2
        each = points.split(max(AT_ONCE // len(self.places), 1))
        return torch.cat([self.places[(half - few @ self.points.T).argmin(-1)] for few in each])


def flat(chart: Chart, values: torch.Tensor) -> Surface:
    """The surface through `values` ``[value, dim]`` themselves."""
    kept = Copies(values.detach())

    def through(weights: torch.Tensor) -> torch.Tensor:
        return weights @ kept.near(weights)[0]

    return Surface(
        chart,
        at=lambda u: through(chart.matrix(u)),
        slopes=lambda u: through(chart.slopes(u)),
        bends=(lambda u: through(chart.bends(u))) if chart.axes == 1 else None,
    )
