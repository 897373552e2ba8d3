"""Linear algebra on activations: orthonormal frames, projections, principal components."""

from __future__ import annotations

import torch


def orthonormal(vectors: torch.Tensor) -> torch.Tensor:
    """Orthonormal rows with the span of `vectors` ``[rank, dim]``, computed in float64.

    Independent vectors keep their order and sign (Gram-Schmidt through QR), so the first row points along
    the first vector. Where some depend on others, an SVD frame of their span is returned; a direction
    counts when its singular value exceeds ``max(shape) * eps32 * largest``. What is orthonormal already, to
    the precision of float32, is returned as it is, so that doing it twice changes no bit.
    """
    wide = vectors.double()
    eye = torch.eye(len(vectors), dtype=wide.dtype, device=wide.device)
    if (wide @ wide.T - eye).abs().max() < 4 * torch.finfo(torch.float32).eps:
        return vectors
    u, s, vh = torch.linalg.svd(wide, full_matrices=False)
    independent = s > max(vectors.shape) * torch.finfo(torch.float32).eps * s.max()
    if int(independent.sum()) < len(vectors):
        return vh[independent].to(vectors.dtype)
    q, r = torch.linalg.qr(wide.T)
    return (q * torch.sign(torch.diagonal(r))).T.to(vectors.dtype)


def principal_components(x: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, principal directions and standard deviations along them.

    Parameters
    ----------
    x : Tensor
        Samples ``[..., dim]``.
    rank : int
        How many components.

    Returns
    -------
    mean : Tensor
        ``[dim]``.
    directions : Tensor
        Orthonormal rows ``[rank, dim]``, strongest first.
    deviations : Tensor
        ``[rank]``, with the ``n - 1`` convention.
    """
    flat = x.reshape(-1, x.shape[-1]).double()
    mean = flat.mean(0)
    _, s, vh = torch.linalg.svd(flat - mean, full_matrices=False)
    deviations = s[:rank] / max(len(flat) - 1, 1) ** 0.5
    return mean.to(x.dtype), vh[:rank].to(x.dtype), deviations.to(x.dtype)


def orthonormal_factors(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``Q [..., rank, dim]`` with orthonormal rows and ``R [..., rank, rank]`` with ``vectors = R^T Q``.

    Coordinates ``z`` in `vectors` are ``z R^T`` in ``Q``: the same point, in units of the space itself.
    """
    q, r = torch.linalg.qr(vectors.mT)
    return q.mT, r
