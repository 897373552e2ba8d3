"""Densities as energies: mixtures of round Gaussians, and kernels on samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Mixture:
    """``E(x) = -log sum_m w_m N(x; c_m, s_m^2 I)``, called as a function ``[..., dim]`` to ``[...]``.

    Meant for reduced spaces, up to some 32 components: in the width of a model densities say nothing (our
    own advice).

    Parameters
    ----------
    centres : Tensor
        ``[centre, dim]``.
    spreads : Tensor or float
        Standard deviations, ``[centre]`` or one for all.
    weights : Tensor, optional
        ``[centre]``, above 0, of any sum; equal by default.
    """

    centres: torch.Tensor
    spreads: torch.Tensor | float = 1.0
    weights: torch.Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.centres)
        spreads = torch.as_tensor(self.spreads, dtype=self.centres.dtype).expand(count)
        weights = torch.ones_like(spreads) if self.weights is None else self.weights.to(spreads)
        if self.centres.ndim != 2 or weights.shape != (count,):
            raise ValueError(
                f"a mixture takes centres [centre, dim] with a weight each, not {list(self.centres.shape)} "
                f"and {list(weights.shape)}"
            )
        if not bool((spreads > 0).all() and (weights > 0).all()):
            raise ValueError("spreads and weights of a mixture are above 0")
        object.__setattr__(self, "spreads", spreads)
        object.__setattr__(self, "weights", weights / weights.sum())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Energies ``[...]`` of points ``[..., dim]``, by logarithms throughout."""
        centres, spreads, weights = (v.to(x) for v in (self.centres, self.spreads, self.weights))
        middle = centres.mean(0)  # around it the squares that cancel below are small
        a, b = x - middle, centres - middle
        apart = a.square().sum(-1, keepdim=True) - 2 * a @ b.T + b.square().sum(-1)
        scale = weights.log() - x.shape[-1] * (spreads.log() + math.log(2 * math.pi) / 2)
        each = scale - apart.clamp_min(0) / (2 * spreads.square())
        top = each.amax(-1, keepdim=True).detach()  # taken out by hand, far energies keep their slope
        return -(each - top).exp().sum(-1).log() - top[..., 0]


def kernel_density(samples: torch.Tensor, *, spread: float | None = None) -> Mixture:
    """A Gaussian around every sample ``[sample, dim]``.

    Without a spread it is Scott's, ``n^(-1/(dim + 4))`` times the root mean variance of the samples' axes
    (one number for all axes: our own simplification).
    """
    if spread is None:
        count, dim = samples.shape
        spread = float(samples.var(0).mean().sqrt()) * count ** (-1 / (dim + 4))
    return Mixture(samples, spread)
