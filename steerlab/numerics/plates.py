"""Thin plates: the smoothest surface through values at scattered places, periodic along some axes or all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from steerlab.numerics.copies import Copies

_LEAST = 1e-30  # squared distances below are one place; keeps gradients finite at the knots


def _cubed(q: torch.Tensor) -> torch.Tensor:
    return q.pow(1.5)


def _logarithmic(q: torch.Tensor) -> torch.Tensor:
    return 0.5 * q * q.log()


def _linear(q: torch.Tensor) -> torch.Tensor:
    return -q.sqrt()


def _cubed_slope(q: torch.Tensor) -> torch.Tensor:
    return 1.5 * q.sqrt()


def _logarithmic_slope(q: torch.Tensor) -> torch.Tensor:
    return 0.5 * (q.log() + 1)


def _linear_slope(q: torch.Tensor) -> torch.Tensor:
    return -0.5 * q.rsqrt()


# axes: the kernel and its slope, both of squared distances. In 3-D it is -r: the surface is that of r, and
# smoothing means something, as the kernel is then positive on what the affine part leaves
_KERNELS = {
    1: (_cubed, _cubed_slope),
    2: (_logarithmic, _logarithmic_slope),
    3: (_linear, _linear_slope),
}


def _bernoulli(x: torch.Tensor) -> torch.Tensor:
    """``1 - (2 pi)^4 / 24 B4(x) = 1 + 2 sum_k cos(2 pi k x) / k^4``, of fractional parts in [0, 1)."""
    return 1 - (2 * math.pi) ** 4 / 24 * (x**4 - 2 * x**3 + x**2 - 1 / 30)


def _bernoulli_slope(x: torch.Tensor) -> torch.Tensor:
    return -((2 * math.pi) ** 4) / 24 * (4 * x**3 - 6 * x**2 + 2 * x)


@dataclass(frozen=True, eq=False)
class Plate:
    """The surface ``f(u) = sum_i w_i phi(|u - u_i|) + c_0 + C u`` through one value a knot.

    With ``phi(r)`` ``|r|^3`` over one axis, ``r^2 log r`` over two, ``r`` over three, and the weights solving
    ``[[K + smooth I, P], [P^T, 0]] [w; c] = [y; 0]``, ``P = [1, u_i]`` (arXiv 2605.05115). Coordinates are
    scaled by their range; a periodic axis by its period, its knots stand once more on either side, and it has
    no linear column, for a line in an angle cannot close. So the seam closes up to how little a knot two
    periods away weighs. Where all axes are periodic the kernel is a product over the axes of Bernoulli
    polynomials of the fractional parts, and the seam closes exactly. The published code takes the bare
    product; ours adds 1 to each factor, so that the surface may depend on one axis alone (our own
    definition), which over one axis is the periodic cubic spline. Without periods it is the surface of
    scipy's ``RBFInterpolator`` on scaled coordinates, which has neither periods nor slopes.

    Parameters
    ----------
    knots : Tensor
        ``[knot, axis]``, one to three axes, kept in float64.
    periods : tuple of (float or None), optional
        The period of each axis; None for an axis that has none.
    smooth : float
        What is added to the diagonal of the kernel; 0 goes through the values.
    """

    knots: torch.Tensor
    periods: tuple[float | None, ...] | None = None
    smooth: float = 0.0
    lowest: torch.Tensor = field(init=False, repr=False)
    range: torch.Tensor = field(init=False, repr=False)
    centres: torch.Tensor = field(init=False, repr=False)
    solution: torch.Tensor = field(init=False, repr=False)
    scales: Copies = field(init=False, repr=False)
    copies: Copies = field(init=False, repr=False)

    def __post_init__(self) -> None:
        knots = torch.as_tensor(self.knots).detach().double().cpu()
        if knots.ndim != 2 or knots.shape[1] not in _KERNELS:
            raise ValueError(
                f"a plate takes knots [knot, axis] of one to three axes, not {list(knots.shape)}"
            )
        axes = knots.shape[1]
        periods = (None,) * axes if self.periods is None else tuple(self.periods)
        if len(periods) != axes or not all(p is None or p > 0 for p in periods):
            raise ValueError(f"periods={periods!r}; give one above 0, or None, for each of {axes} axes")
        if not self.smooth >= 0:
            raise ValueError(f"smooth={self.smooth!r} is not a number from 0 on")
        lowest = knots.amin(0)
        reach = knots.amax(0) - lowest
        span = [r if p is None else p for r, p in zip(reach.tolist(), periods, strict=True)]
        span = torch.tensor(span, dtype=torch.float64)
        if not bool((span > 0).all()):
            raise ValueError("the knots of a plate differ along every axis")
        object.__setattr__(self, "knots", knots)
        object.__setattr__(self, "periods", periods)
        object.__setattr__(self, "lowest", lowest)
        object.__setattr__(self, "range", span)
        wraps = torch.tensor([p is not None for p in periods])
        object.__setattr__(self, "scales", Copies(lowest, span, wraps))
        places = self._scaled(knots)
        copies, owner = places, torch.arange(len(knots))
        if not all(p is not None for p in periods):
            for axis in (a for a, p in enumerate(periods) if p is not None):
                step = torch.zeros(axes, dtype=torch.float64)
                step[axis] = 1.0
                copies, owner = torch.cat([copies - step, copies, copies + step]), owner.repeat(3)
        object.__setattr__(self, "centres", copies)
        object.__setattr__(self, "solution", self._solved(owner))
        object.__setattr__(self, "copies", Copies(self.centres, self.solution))

    def matrix(self, u: torch.Tensor, along: int | None = None) -> torch.Tensor:
        """What each value weighs at each place.

        Parameters
        ----------
        u : Tensor
            Places ``[..., axis]``; they are wrapped along periodic axes.
        along : int, optional
            The axis of a derivative; without one the surface itself.

        Returns
        -------
        Tensor
            ``[..., knot]``; times values ``[knot, dim]`` it is the surface ``[..., dim]``.
        """
        places = self._scaled(u)
        centres, solution = self.copies.near(u)
        out = self._features(places, centres, along) @ solution
        return out if along is None else out / self.scales.near(u)[1][along]

    def _scaled(self, u: torch.Tensor) -> torch.Tensor:
        lowest, span, wraps = self.scales.near(u)
        scaled = (u - lowest) / span
        return torch.where(wraps, scaled - scaled.detach().floor(), scaled)

    def _features(self, places: torch.Tensor, centres: torch.Tensor, along: int | None) -> torch.Tensor:
        """Kernels at all centres and the columns of P, or their derivatives: ``[..., centre + column]``."""
        apart = places[..., None, :] - centres
        open_axes = [a for a, p in enumerate(self.periods) if p is None]
        ones = torch.ones_like(places[..., :1])
        linear = places[..., open_axes]
        if along is not None:
            linear = torch.stack([ones[..., 0] * (a == along) for a in open_axes] or [ones[..., 0]], dim=-1)
            linear, ones = linear[..., : len(open_axes)], torch.zeros_like(ones)
        if not open_axes:
            fraction = apart - apart.detach().floor()
            factors = list(_bernoulli(fraction).unbind(-1))
            if along is not None:
                factors[along] = _bernoulli_slope(fraction[..., along])
            return torch.cat([math.prod(factors[1:], start=factors[0]), ones], dim=-1)
        q = apart.square().sum(-1).clamp_min(_LEAST)
        kernel, slope = _KERNELS[places.shape[-1]]
        values = kernel(q) if along is None else slope(q) * 2 * apart[..., along]
        return torch.cat([values, ones, linear], dim=-1)

    def _solved(self, owner: torch.Tensor) -> torch.Tensor:
        """What takes values at the knots to kernel weights and affine coefficients, ``[row, knot]``."""
        features = self._features(self.centres, self.centres, None)
        count = len(self.centres)
        kernel, columns = features[:, :count], features[:, count:]
        kernel = kernel + self.smooth * torch.eye(count, dtype=torch.float64)
        corner = torch.zeros(columns.shape[1], columns.shape[1], dtype=torch.float64)
        system = torch.cat([torch.cat([kernel, columns], 1), torch.cat([columns.T, corner], 1)])
        values = torch.zeros(len(system), len(self.knots), dtype=torch.float64)
        values[torch.arange(count), owner] = 1.0
        try:
            solved = torch.linalg.solve(system, values)
        except torch.linalg.LinAlgError:
            solved = torch.full_like(values, torch.nan)
        if not bool(solved.isfinite().all()) or _unlike(system @ solved, values):
            raise ValueError("these knots carry no plate: two are one, or all lie on a line")
        return solved


def _unlike(made: torch.Tensor, wanted: torch.Tensor) -> bool:
    return float((made - wanted).abs().max()) > 1e-6
