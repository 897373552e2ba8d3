"""Own coordinates of values: knots, periods, and the spline or plate that runs through values at them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from steerlab.numerics.copies import Copies
from steerlab.numerics.plates import Plate
from steerlab.numerics.splines import Spline

PER_SEGMENT, PER_AXIS = 200, 64  # how densely a line, and each axis of a surface, is searched


@dataclass(frozen=True, eq=False)
class Chart:
    """Where some values stand on a line, a ring, a plane, a tube or a torus, and what runs between them.

    Over one axis a cubic spline, over two or three a thin plate (arXiv 2605.05115).

    Parameters
    ----------
    knots : Tensor
        Coordinates of the values, ``[value, axis]``, in the values' own order.
    periods : tuple of (float or None)
        The period of each axis; None for one that does not close.
    smooth : float
        0 goes through the values.
    weights : Tensor, optional
        How much each value counts in smoothing, ``[value]``; over one axis only.
    """

    knots: torch.Tensor
    periods: tuple[float | None, ...]
    smooth: float = 0.0
    weights: torch.Tensor | None = None
    between: Spline | Plate = field(init=False, repr=False)
    columns: Copies = field(init=False, repr=False)

    def __post_init__(self) -> None:
        knots = torch.as_tensor(self.knots).detach().double().cpu()
        if knots.ndim != 2 or len(self.periods) != knots.shape[1]:
            raise ValueError(f"knots {list(knots.shape)} are [value, axis], with a period or None an axis")
        object.__setattr__(self, "knots", knots)
        if knots.shape[1] > 1:
            if self.weights is not None:
                raise ValueError("weights of values are for curves; a surface smooths all values alike")
            order, between = torch.arange(len(knots)), Plate(knots, self.periods, self.smooth)
            settled = torch.eye(len(knots), dtype=torch.float64)
        else:
            period, line = self.periods[0], knots[:, 0]
            order = (line if period is None else torch.remainder(line, period)).argsort()
            ascending = line[order] if period is None else torch.remainder(line, period)[order]
            between = Spline(ascending, period)
            weights = None if self.weights is None else self.weights[order]
            settled = between.smoother(self.smooth, weights)
        # columns of sorted knots become columns of the values, smoothed where that is asked
        object.__setattr__(self, "between", between)
        object.__setattr__(self, "columns", Copies(order.argsort(), settled))

    @property
    def axes(self) -> int:
        """How many coordinates a place has."""
        return self.knots.shape[1]

    def matrix(self, u: torch.Tensor) -> torch.Tensor:
        """What each value weighs at places ``[..., axis]``: ``[..., value]``."""
        return self._in_own_order(self._raw(u))

    def slopes(self, u: torch.Tensor) -> torch.Tensor:
        """Derivatives of `matrix` along each axis: ``[..., axis, value]``."""
        if self.axes == 1:
            return self._in_own_order(self.between.matrix(u[..., 0], 1))[..., None, :]
        return torch.stack([self.between.matrix(u, axis) for axis in range(self.axes)], dim=-2)

    def bends(self, u: torch.Tensor) -> torch.Tensor:
        """Second derivative of `matrix` along a line, ``[..., value]``; zero on a surface, where none is."""
        if self.axes == 1:
            return self._in_own_order(self.between.matrix(u[..., 0], 2))
        return u.new_zeros(*u.shape[:-1], len(self.knots))

    def shift(self, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """The way from one place to another, ``[..., axis]``, the short way round where an axis closes.

        ``((d + T/2) mod T) - T/2``, so that half a turn is counted backwards.
        """
        steps = (end - start).unbind(-1)
        short = [
            d if t is None else torch.remainder(d + t / 2, t) - t / 2
            for d, t in zip(steps, self.periods, strict=True)
        ]
        return torch.stack(short, dim=-1)

    def wrapped(self, u: torch.Tensor) -> torch.Tensor:
        """Places ``[..., axis]`` with closing axes brought into [0, period)."""
        each = zip(u.unbind(-1), self.periods, strict=True)
        return torch.stack([v if t is None else torch.remainder(v, t) for v, t in each], dim=-1)

    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Between which places a nearest one is looked for, ``[axis]`` each.

        A period, or from one mean gap before the first knot to one behind the last (our own choice: further
        out a straight continuation says nothing of the values).
        """
        low, high = self.knots.amin(0), self.knots.amax(0)
        for axis, period in enumerate(self.periods):
            if period is not None:
                low[axis], high[axis] = 0.0, period
            else:
                gap = (high[axis] - low[axis]) / max(len(self.knots[:, axis].unique()) - 1, 1)
                low[axis], high[axis] = low[axis] - gap, high[axis] + gap
        return low, high

    def grid(self) -> torch.Tensor:
        """Places all over the bounds, ``[place, axis]``."""
        low, high = self.bounds()
        count = PER_SEGMENT * (len(self.knots) + 1) if self.axes == 1 else PER_AXIS
        lines = [
            torch.linspace(float(a), float(b), count, dtype=torch.float64)
            for a, b in zip(low, high, strict=True)
        ]
        return torch.cartesian_prod(*lines).reshape(-1, self.axes)

    def _raw(self, u: torch.Tensor) -> torch.Tensor:
        return self.between.matrix(u[..., 0] if self.axes == 1 else u)

    def _in_own_order(self, weights: torch.Tensor) -> torch.Tensor:
        order, settled = self.columns.near(weights)
        if self.smooth and self.axes == 1:
            weights = weights @ settled
        return weights[..., order]
