"""Blocks of atoms: their lengths, orthonormal and bounded ones, and codes refitted on a support."""

from __future__ import annotations

import torch


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
