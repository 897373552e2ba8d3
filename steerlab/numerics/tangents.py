"""The unit sphere around one of its points: the flat tangent space, there and back."""

from __future__ import annotations

import torch

from steerlab.numerics.spheres import angle

_TINY = 1e-12  # lengths below are one point; what divides by them is taken at its limit


def mean_direction(points: torch.Tensor) -> torch.Tensor:
    """The normalised mean ``[dim]`` of points ``[..., dim]`` of the sphere."""
    mean = points.reshape(-1, points.shape[-1]).mean(0)
    length = mean.norm()
    if not float(length) > _TINY:
        raise ValueError("these points of a sphere cancel, and have no mean direction")
    return mean / length


def to_tangent(points: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """The log map ``alpha (q - cos(alpha) b) / |q - cos(alpha) b|``, ``alpha`` the angle from b to q.

    The angle keeps its digits near the base, where an arc cosine would lose half of them (arXiv 2605.05115
    maps distributions so).

    Parameters
    ----------
    points : Tensor
        ``[..., dim]``, of length 1, none opposite to the base.
    base : Tensor
        ``[dim]``, of length 1.

    Returns
    -------
    Tensor
        ``[..., dim]``, orthogonal to the base and as long as the arc.
    """
    turned = angle(points, base)[..., None]
    across = points - (points @ base)[..., None] * base
    length = across.norm(dim=-1, keepdim=True)
    return torch.where(length > _TINY, turned / length.clamp_min(_TINY), 1.0) * across


def from_tangent(vectors: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """The exponential map ``cos|t| b + sin|t| t / |t|`` of ``[..., dim]``: points of the sphere."""
    length = vectors.norm(dim=-1, keepdim=True)
    return length.cos() * base + torch.sinc(length / torch.pi) * vectors


def pushed(vectors: torch.Tensor, moves: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """How the exponential map moves when its argument does: its derivative at `vectors` along `moves`.

    Parameters
    ----------
    vectors, moves : Tensor
        ``[..., dim]`` each, orthogonal to the base.
    base : Tensor
        ``[dim]``.

    Returns
    -------
    Tensor
        ``[..., dim]``.
    """
    length = vectors.norm(dim=-1, keepdim=True).clamp_min(_TINY)
    along = (vectors * moves).sum(-1, keepdim=True) / length
    ratio = torch.sinc(length / torch.pi)
    turned = (length.cos() - ratio) / length
    return -length.sin() * along * base + turned * along * vectors + ratio * moves
