"""Metrics that stretch space where data are rare: an energy, calibrated, as a factor of the identity."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

KINDS = ("energy", "inverse_density")
CEILING = 1e3
Energy = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Conformal:
    """``G(x) = f(x) I`` with ``f = alpha E + beta``, or ``f = 1 / (alpha e^-E + beta)`` (arXiv 2505.18230).

    The energy is counted from `zero`, so that no exponential overflows; it is a function ``[..., dim]`` to
    ``[...]``, and so is the metric.

    Parameters
    ----------
    energy : callable
        ``E``, with gradients.
    kind : str
        ``"energy"`` or ``"inverse_density"``.
    alpha, beta : float
        Their ratio alone shapes paths.
    zero : float
        The energy that counts as 0.
    """

    energy: Energy
    kind: str
    alpha: float
    beta: float
    zero: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}; it is 'energy' or 'inverse_density'")
        if not (self.alpha >= 0 and self.beta >= 0 and self.alpha + self.beta > 0):
            raise ValueError(f"alpha={self.alpha!r} and beta={self.beta!r} are not from 0 on and one above")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The factor ``[...]`` at points ``[..., dim]``."""
        above = self.energy(x) - self.zero
        if self.kind == "energy":
            # where data are denser than what was calibrated on, lengths shrink, but stay lengths
            return (self.alpha * above + self.beta).clamp_min(self.beta / CEILING)
        return 1 / (self.alpha * (-above).clamp_max(80.0).exp() + self.beta)


def calibrated(
    energy: Energy, *, on: torch.Tensor, off: torch.Tensor, kind: str, ceiling: float = CEILING
) -> Conformal:
    """The metric that is 1 on the data and `ceiling` off them, at the median energy of each.

    The paper (arXiv 2505.18230) measures on the ends of paths and at midpoints of random pairs; that medians
    are taken is our own definition. An inverse density stays below the ceiling where the density off the data
    is not that much lower. The calibration decides more than the kind: look at the factor there.

    Parameters
    ----------
    energy : callable
        ``[..., dim]`` to ``[...]``.
    on, off : Tensor
        Points on the data and off them, ``[point, dim]``; `midpoints` makes the latter.
    kind : str
        ``"energy"`` or ``"inverse_density"``.
    ceiling : float
        The factor off the data.
    """
    with torch.no_grad():
        low, high = (float(energy(x).double().quantile(0.5)) for x in (on, off))
    if not high > low:
        raise ValueError(f"the energy off the data, {high:.4g}, is not above that on them, {low:.4g}")
    if kind == "energy":
        return Conformal(energy, kind, (ceiling - 1) / (high - low), 1.0, low)
    return Conformal(energy, kind, *_inverted(high - low, ceiling), low)


def rescaled(energy: Energy, places: torch.Tensor, *, kind: str, ceiling: float = CEILING) -> Conformal:
    """The calibration of the paper's tutorial, on places all over a region (arXiv 2505.18230, code).

    Densities go to [1 / ceiling, 1] before they are inverted, energies to [0, ceiling] before 1 is added.

    Parameters
    ----------
    energy : callable
        ``[..., dim]`` to ``[...]``.
    places : Tensor
        ``[point, dim]``, usually a grid.
    kind : str
        ``"energy"`` or ``"inverse_density"``.
    ceiling : float
        The factor at the worst place.
    """
    with torch.no_grad():
        found = energy(places).double()
    low, high = float(found.min()), float(found.max())
    if not high > low:
        raise ValueError("the energy is the same at all places")
    if kind == "energy":
        return Conformal(energy, kind, ceiling / (high - low), 1.0, low)
    return Conformal(energy, kind, *_inverted(high - low, ceiling), low)


def _inverted(rise: float, ceiling: float) -> tuple[float, float]:
    """Alpha and beta of an inverse density that is 1 at no rise of the energy and `ceiling` at a given one.

    A beta below 0 would make the factor infinite a little further off, so a rise that is too small for the
    ceiling gets what the bare density gives, ``e^rise``.
    """
    least = math.exp(-rise)
    alpha = (1 - 1 / ceiling) / (1 - least)
    return (alpha, 1 - alpha) if alpha <= 1 else (1.0, 0.0)


def midpoints(samples: torch.Tensor, *, count: int = 256, seed: int = 0) -> torch.Tensor:
    """Midpoints ``[count, dim]`` of random pairs of samples ``[sample, dim]``."""
    g = torch.Generator().manual_seed(seed)
    first, second = torch.randint(len(samples), (2, count), generator=g)
    return (samples[first] + samples[second]) / 2
