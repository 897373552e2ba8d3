"""Cubic splines through vector values, natural or periodic, as matrices that act on the values."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from steerlab.numerics.copies import Copies

_FALLING = ((1, 1, 1, 1), (3, 2, 1, 0), (6, 2, 0, 0))  # what derivatives bring down from t^3, t^2, t, 1


@dataclass(frozen=True, eq=False)
class Spline:
    """The cubic spline through one value a knot, twice continuously differentiable.

    On the segment from ``t_j`` to ``t_{j+1}`` it is a cubic, and ``s''`` is continuous; without a period
    ``s'' = 0`` at both ends and the line goes on straight outside, with a period value, slope and bend agree
    at the seam (arXiv 2605.05115). The coefficients are scipy's, solved once; what is evaluated is linear in
    the values, so that gradients reach the values and the place without passing a solver.

    Parameters
    ----------
    knots : Tensor
        Where the values stand, ``[knot]``, ascending, kept in float64.
    period : float, optional
        Where the curve begins again; longer than the knots reach.
    """

    knots: torch.Tensor
    period: float | None = None
    starts: torch.Tensor = field(init=False, repr=False)
    coefficients: torch.Tensor = field(init=False, repr=False)
    copies: Copies = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from scipy.interpolate import CubicSpline

        knots = torch.as_tensor(self.knots).detach().double().cpu()
        least = 2 if self.period is None else 3
        if knots.ndim != 1 or len(knots) < least:
            raise ValueError(f"a spline takes knots [knot], {least} or more, not {list(knots.shape)}")
        if not bool((knots.diff() > 0).all()):
            raise ValueError("the knots of a spline ascend, and no two are one")
        eye = torch.eye(len(knots), dtype=torch.float64)
        ends = knots
        if self.period is not None:
            if not self.period > float(knots[-1] - knots[0]):
                raise ValueError(f"period={self.period:g} is not longer than the knots reach")
            ends = torch.cat([knots, knots[:1] + self.period])
            eye = torch.cat([eye, eye[:1]])
        kind = "natural" if self.period is None else "periodic"
        solved = CubicSpline(ends.numpy(), eye.numpy(), bc_type=kind).c
        object.__setattr__(self, "knots", knots)
        object.__setattr__(self, "starts", ends[:-1])
        object.__setattr__(self, "coefficients", torch.as_tensor(solved))
        each = self.coefficients.movedim(0, 1).contiguous()  # [segment, 4, knot]
        object.__setattr__(self, "copies", Copies(self.starts, each))

    @property
    def gaps(self) -> torch.Tensor:
        """Lengths of the segments, ``[segment]``; with a period the last one leads back to the first."""
        end = self.knots[-1:] if self.period is None else self.knots[:1] + self.period
        return torch.cat([self.starts, end]).diff()

    def matrix(self, t: torch.Tensor, order: int = 0) -> torch.Tensor:
        """What each value weighs at each place.

        Parameters
        ----------
        t : Tensor
            Places ``[...]``.
        order : int
            0 for the curve, 1 and 2 for its derivatives.

        Returns
        -------
        Tensor
            ``[..., knot]``; times values ``[knot, dim]`` it is the curve ``[..., dim]``.
        """
        starts, coefficients = self.copies.near(t)
        first = float(self.knots[0])
        if self.period is None:
            inside = t.clamp(first, float(self.knots[-1]))
        else:
            inside = first + torch.remainder(t - first, self.period)
        segment = (torch.searchsorted(starts, inside.detach().contiguous(), right=True) - 1).clamp_min(0)
        cubic = coefficients[segment]  # [..., 4, knot]
        along = (inside - starts[segment])[..., None]
        out = _horner(cubic, along, order)
        if self.period is None and order == 0:
            out = out + (t - inside)[..., None] * _horner(cubic, along, 1)
        return out

    def roughness(self) -> torch.Tensor:
        """``K`` with ``y^T K y = integral |s''|^2``, over the knots or the period, ``[knot, knot]``."""
        bends = self.matrix(self.knots, order=2)
        after = bends.roll(-1, 0)
        if self.period is None:
            bends, after = bends[:-1], after[:-1]
        # the second derivative is linear on a segment, so its square integrates in closed form
        third = self.gaps[:, None] / 3
        half = bends.T @ (third * after) / 2
        return bends.T @ (third * bends) + after.T @ (third * after) + half + half.T

    def smoother(self, smooth: float, weights: torch.Tensor | None = None) -> torch.Tensor:
        """What takes values to the values of the smoothing spline at the knots.

        The spline minimises ``sum_i w_i |y_i - s(t_i)|^2 + smooth * integral |s''|^2``, so the matrix is
        ``(diag(w) + smooth K)^-1 diag(w)``; without a period this is Reinsch's spline (arXiv 2605.05115 uses
        it for a world model), with one it is the same rule over a period (our own definition).

        Parameters
        ----------
        smooth : float
            0 keeps the values; large leaves a straight line, or a constant on a period.
        weights : Tensor, optional
            How much each value counts, ``[knot]``, above 0.

        Returns
        -------
        Tensor
            ``[knot, knot]``.
        """
        if not smooth >= 0:
            raise ValueError(f"smooth={smooth!r} is not a number from 0 on")
        w = torch.ones_like(self.knots) if weights is None else weights.to(self.knots)
        if w.shape != self.knots.shape or not bool((w > 0).all()):
            raise ValueError("weights are one a knot, above 0")
        return torch.linalg.solve(w.diag() + smooth * self.roughness(), w.diag())


def _horner(cubic: torch.Tensor, along: torch.Tensor, order: int) -> torch.Tensor:
    factors = _FALLING[order]
    out = torch.zeros_like(cubic[..., 0, :])
    for power in range(4 - order):
        out = out * along + factors[power] * cubic[..., power, :]
    return out
