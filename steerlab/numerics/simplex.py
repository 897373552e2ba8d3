"""Distances between probability distributions through their square roots, which lie on a sphere."""

from __future__ import annotations

import torch

LEAST = 1e-8  # probabilities below count as this much: the root has no slope at 0
LEAST_OVERLAP = 1e-7  # overlaps below count as this much, so that what shares nothing is far, not infinitely


def roots(p: torch.Tensor) -> torch.Tensor:
    """``sqrt(max(p, 1e-8))`` of distributions ``[..., outcome]``: points of the unit sphere.

    The map of arXiv 2605.05115, with the clip of its code; half precision is widened to float32.
    """
    wide = p if p.dtype == torch.float64 else p.float()
    return wide.clamp_min(LEAST).sqrt()


def overlap(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Bhattacharyya coefficient ``sum_i sqrt(p_i q_i)`` of ``[..., outcome]``, in [1e-7, 1]."""
    return (roots(p) * roots(q)).sum(-1).clamp(LEAST_OVERLAP, 1.0)


def hellinger(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Hellinger distance ``|sqrt p - sqrt q| / sqrt 2 = sqrt(1 - BC)``, in [0, 1].

    The difference is taken before the norm, so that small distances keep their digits.
    """
    return (roots(p) - roots(q)).norm(dim=-1) / 2**0.5


def bhattacharyya(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Bhattacharyya distance ``-log BC = -log(1 - d_H^2)``, at most ``-log 1e-7``."""
    apart = (roots(p) - roots(q)).square().sum(-1) / 2
    return -torch.log1p(-apart.clamp(max=1 - LEAST_OVERLAP))


def fisher_rao(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Fisher-Rao distance ``2 arccos BC``, taken as ``4 arcsin(|sqrt p - sqrt q| / 2)``, in [0, pi]."""
    return 4 * ((roots(p) - roots(q)).norm(dim=-1) / 2).clamp_max(0.5**0.5).asin()


def soft_prototypes(
    features: torch.Tensor, prototypes: torch.Tensor, *, temperature: float = 0.5
) -> torch.Tensor:
    """``softmax_b(-|v - mu_b| / tau)``: how near a feature lies to each prototype, as a distribution.

    So anything with features has a behaviour on the simplex: images, videos, states of a world model
    (arXiv 2605.05115, where ``tau = 0.5``).

    Parameters
    ----------
    features : Tensor
        ``[..., dim]``.
    prototypes : Tensor
        ``[prototype, dim]``.
    temperature : float
        ``tau``, in the units of the features.

    Returns
    -------
    Tensor
        ``[..., prototype]``, each row of sum 1.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r} is not above 0")
    if prototypes.ndim != 2 or features.shape[-1] != prototypes.shape[-1]:
        raise ValueError(
            f"prototypes {list(prototypes.shape)} and features {list(features.shape)} differ in width"
        )
    wide = features if features.dtype == torch.float64 else features.float()
    apart = torch.cdist(
        wide.reshape(-1, wide.shape[-1]), prototypes.to(wide), compute_mode="donot_use_mm_for_euclid_dist"
    )
    return (-apart / temperature).softmax(-1).reshape(*features.shape[:-1], len(prototypes))
