"""Blocks of atoms: their lengths, orthonormal and bounded ones, and codes refitted on a support."""

from __future__ import annotations

import torch

from steerlab.numerics.linear import orthonormal_factors


def block_norms(codes: torch.Tensor, size: int) -> torch.Tensor:
    """Presence ``|z_g|`` of each block, ``[..., block]``, from codes ``[..., block * size]``.

    Where a block's code is 0 the slope is 0, too.
    """
    square = codes.unflatten(-1, (-1, size)).square().sum(-1)
    empty = square == 0
    return square.masked_fill(empty, 1.0).sqrt().masked_fill(empty, 0.0)


def orthonormal_blocks(atoms: torch.Tensor, size: int) -> torch.Tensor:
    """Atoms ``[block * size, dim]`` with ``D_g D_g^T = I``, each block spanning what it spanned.

    QR of ``D_g^T`` with a positive diagonal of R, so that the factors are unique.
    """
    if size > atoms.shape[1]:
        raise ValueError(f"{size} atoms cannot be orthonormal in {atoms.shape[1]} dimensions")
    q, r = torch.linalg.qr(atoms.unflatten(0, (-1, size)).mT)
    signs = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    return (q * signs[:, None]).mT.flatten(0, 1)


def bounded_blocks(atoms: torch.Tensor, size: int) -> torch.Tensor:
    """Atoms ``[block * size, dim]`` with ``|D_g|_F <= 1``: longer blocks are brought to length 1."""
    blocks = atoms.unflatten(0, (-1, size))
    return (blocks / blocks.norm(dim=(-2, -1), keepdim=True).clamp_min(1.0)).flatten(0, 1)


def contribution_frame(
    codes: torch.Tensor, atoms: torch.Tensor, *, centred: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Principal directions of what a block contributes, ``z D``, which no choice of its atoms can turn.

    Parameters
    ----------
    codes : Tensor
        Where the block fires, ``[row, atom]``.
    atoms : Tensor
        ``D``, ``[atom, dim]``.
    centred : bool
        About the mean contribution; the formula of Fel, Kowal et al., Structuring Sparsity, is about 0.

    Returns
    -------
    origin : Tensor
        The mean contribution, or zeros, ``[dim]``.
    frame : Tensor
        Orthonormal rows ``[atom, dim]``, strongest first, the largest entry of each positive.
    variances : Tensor
        Mean squares along them, ``[atom]``.
    """
    basis, factor = orthonormal_factors(atoms.double())
    inside = codes.double() @ factor.T  # coordinates of contributions in an orthonormal basis
    mean = inside.mean(0) if centred else torch.zeros_like(inside[0])
    values, vectors = torch.linalg.eigh((inside - mean).T @ (inside - mean) / len(inside))
    frame = vectors.flip(-1).T @ basis
    largest = frame.gather(1, frame.abs().argmax(1, keepdim=True))
    frame = frame * torch.where(largest < 0, -1.0, 1.0)
    return (mean @ basis).to(atoms.dtype), frame.to(atoms.dtype), values.flip(-1).clamp_min(0).to(atoms.dtype)


def refitted(codes: torch.Tensor, rows: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
    """Codes ``[row, atom]`` of least squares on each row's own support: ``argmin |x - z D|``, same zeros.

    Shrinkage makes codes shorter by its threshold; on the support that it found, least squares takes that
    back. Dependent atoms share (the solution of least norm, up to a ridge of ``1e-9`` of the mean square).
    """
    flat, x = codes.reshape(-1, codes.shape[-1]), rows.reshape(-1, rows.shape[-1])
    most = int((flat != 0).sum(-1).max()) if len(flat) else 0
    if not most:
        return codes
    index = (flat != 0).to(torch.uint8).topk(most, dim=-1).indices  # padded by atoms outside the support
    used = flat.gather(-1, index) != 0
    atoms = decoder[index].double() * used[..., None]
    gram = atoms @ atoms.mT
    ridge = 1e-9 * gram.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True).clamp_min(1e-30)
    gram = gram + torch.diag_embed(torch.where(used, ridge, 1.0))
    found = torch.linalg.solve(gram, (atoms @ x.double()[..., None]))[..., 0]
    values = torch.where(used, found, 0.0).to(codes.dtype)
    return torch.zeros_like(flat).scatter(-1, index, values).reshape(codes.shape)
