"""Shape of a dictionary: how its atoms crowd, how many directions they use, how far they lie from data."""

from __future__ import annotations

import torch

BLOCK = 1024  # rows of a cosine matrix held at once: 1024 x 16384 doubles are 128 MiB


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors ``[..., dim]`` divided by their norms, in float64; a zero vector stays zero."""
    wide = vectors.double()
    norms = wide.norm(dim=-1, keepdim=True)
    return wide / norms.masked_fill(norms == 0, 1.0)


def coherence(atoms: torch.Tensor, *, signed: bool = True) -> float:
    """Largest cosine between two different atoms.

    ``max_{k != l} cos(d_k, d_l)`` (the dictionary metric of arXiv 2602.06218), computed in blocks of rows
    so that the full ``[atom, atom]`` matrix is never held.

    Parameters
    ----------
    atoms : Tensor
        ``[atom, dim]``, at least two rows.
    signed : bool
        With False, the classical mutual coherence ``max |cos|``, which antipodal atoms bring to one.

    Returns
    -------
    float
        In [-1, 1], or [0, 1] where unsigned.
    """
    if len(atoms) < 2:
        raise ValueError(f"coherence compares two atoms; the dictionary has {len(atoms)}")
    rows = unit(atoms)
    highest = -torch.inf
    for start in range(0, len(rows), BLOCK):
        cosines = rows[start : start + BLOCK] @ rows.T
        cosines = cosines if signed else cosines.abs()
        cosines.diagonal(start).fill_(-torch.inf)  # an atom is not compared with itself
        highest = max(highest, float(cosines.max()))
    return highest


def stable_rank(atoms: torch.Tensor) -> float:
    """``||D||_F^2 / ||D||_2^2`` of atoms ``[atom, dim]``: 1 for one shared direction, ``dim`` for a frame."""
    spectrum = torch.linalg.svdvals(atoms.double())
    return float(spectrum.square().sum() / spectrum[0].square())


def effective_rank(atoms: torch.Tensor) -> float:
    """``exp(H(sigma / sum sigma))`` of atoms ``[atom, dim]``, with the entropy H of the singular values."""
    spectrum = torch.linalg.svdvals(atoms.double())
    return float(torch.special.entr(spectrum / spectrum.sum()).sum().exp())


def distance_from_data(atoms: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """How far each atom points from every data point: ``1 - max_j cos(d_k, a_j)``.

    The mean over atoms is the out-of-distribution score of a dictionary of arXiv 2502.12892: 0 where
    every atom lies along some data point.

    Parameters
    ----------
    atoms, data : Tensor
        ``[atom, dim]`` and ``[sample, dim]``.

    Returns
    -------
    Tensor
        ``[atom]``, in [0, 2].
    """
    rows, points = unit(atoms), unit(data)
    best = torch.full((len(rows),), -torch.inf, dtype=rows.dtype, device=rows.device)
    for start in range(0, len(points), BLOCK):
        best = torch.maximum(best, (rows @ points[start : start + BLOCK].T).amax(1))
    return 1 - best


def connectivity(codes: torch.Tensor) -> float:
    """Share of atom pairs that never fire together, ``1 - ||Z^T Z||_0 / atoms^2`` (arXiv 2602.06218).

    Parameters
    ----------
    codes : Tensor
        ``[sample, atom]``. Firing is what counts, so codes of both signs cannot cancel (our own reading).

    Returns
    -------
    float
        0 where every pair meets in some sample.
    """
    fires = (codes != 0).double()
    met = sum(
        int((fires[:, start : start + BLOCK].T @ fires).count_nonzero())
        for start in range(0, fires.shape[1], BLOCK)
    )
    return 1 - met / fires.shape[1] ** 2


def negative_interference(codes: torch.Tensor, atoms: torch.Tensor) -> float:
    """How much atoms that fire together point against each other (arXiv 2602.06218).

    ``|| relu(-(Z^T Z) * (D D^T)) ||_F``, with the elementwise product, in blocks of rows.

    Parameters
    ----------
    codes, atoms : Tensor
        ``[sample, atom]`` and ``[atom, dim]``.
    """
    z, d = codes.double(), atoms.double()
    total = 0.0
    for start in range(0, len(d), BLOCK):
        rows = slice(start, start + BLOCK)
        together = (z[:, rows].T @ z) * (d[rows] @ d.T)
        total += float((-together).clamp_min(0).square().sum())
    return total**0.5
