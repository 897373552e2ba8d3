"""Sparse codes by search on a fixed dictionary, sample by sample: matching pursuit, FISTA, refitting."""

from __future__ import annotations

import torch


def matching_pursuit(
    x: torch.Tensor, atoms: torch.Tensor, steps: int, *, nonnegative: bool = False, tolerance: float = 0.0
) -> torch.Tensor:
    """Codes ``[..., atom]``: at every step the atom that explains most of what is left is added.

    ``v = <d_j, r> / |d_j|^2`` for ``j = argmax <d_k, r> / |d_k|``; then ``r -= v d_j``. The step is divided
    by the squared norm, so atoms of any length do; with unit atoms this is arXiv 2506.03093's inference.

    Parameters
    ----------
    x : Tensor
        ``[..., dim]``.
    atoms : Tensor
        ``[atom, dim]``.
    steps : int
        At most so many additions a sample; an atom may be chosen again.
    nonnegative : bool
        Whether a step that would subtract ends the search of its sample.
    tolerance : float
        A sample is done when its residual is no longer than this.
    """
    flat = x.reshape(-1, x.shape[-1])
    norm = atoms.norm(dim=-1).clamp_min(torch.finfo(atoms.dtype).tiny)
    unit = atoms / norm[:, None]
    codes = flat.new_zeros(len(flat), len(atoms))
    residual = flat
    for _ in range(steps):
        value, index = (residual @ unit.T).max(dim=-1)
        go = torch.ones_like(value, dtype=torch.bool)
        if nonnegative:
            go &= value > 0
        if tolerance:
            go &= residual.norm(dim=-1) > tolerance
        if not bool(go.any()):
            break
        value = torch.where(go, value, 0)
        codes = codes.scatter_add(1, index[:, None], (value / norm[index])[:, None])
        residual = residual - value[:, None] * unit[index]
    return codes.reshape(*x.shape[:-1], len(atoms))


def fista(
    x: torch.Tensor,
    atoms: torch.Tensor,
    penalty: float,
    *,
    steps: int = 100,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """Codes ``[..., atom]`` that minimise ``|x - z D|^2 / 2 + penalty * sum(z)`` over ``z >= 0``.

    Accelerated proximal gradient with step ``1 / |D|_2^2`` (arXiv 2603.28744 uses 100 of them).

    Parameters
    ----------
    x : Tensor
        ``[..., dim]``.
    atoms : Tensor
        ``[atom, dim]``.
    penalty : float
        Price of a unit of code.
    steps : int
        Iterations.
    start : Tensor, optional
        Codes to begin from, ``[..., atom]``; zeros by default.
    """
    step = 1.0 / torch.linalg.matrix_norm(atoms, 2).square().clamp_min(torch.finfo(atoms.dtype).tiny)
    gram, along = atoms @ atoms.T, x @ atoms.T
    codes = torch.zeros_like(along) if start is None else start
    ahead, momentum = codes, 1.0
    for _ in range(steps):
        following = (ahead - step * (ahead @ gram - along + penalty)).relu()
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / grown * (following - codes)
        codes, momentum = following, grown
    return codes


def refit(x: torch.Tensor, atoms: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Least squares ``[..., atom]`` on the support that `codes` found; zeros stay zero."""
    flat, support = x.reshape(-1, x.shape[-1]), (codes != 0).reshape(-1, len(atoms))
    fitted = torch.zeros_like(codes).reshape(-1, len(atoms))
    for row, on in enumerate(support):
        if bool(on.any()):
            fitted[row, on] = torch.linalg.lstsq(atoms[on].T, flat[row, :, None]).solution[:, 0]
    return fitted.reshape(codes.shape)
