"""Dynamic mode decomposition along depth: one linear map a step, its modes, and a map of its ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.numerics.affine import PairMoments


@dataclass(frozen=True)
class Modes:
    """A linear step ``x_{l+1} = K x_l`` on row vectors: ``x -> x U A U^T``.

    Attributes
    ----------
    basis : Tensor
        ``U [dim, rank]`` with orthonormal columns, the principal directions of the states before a step.
    inner : Tensor
        ``A [rank, rank]``, the step inside that basis, for row vectors.
    """

    basis: torch.Tensor
    inner: torch.Tensor

    def power(self, steps: int) -> torch.Tensor:
        """``K^steps`` for row vectors, ``[dim, dim]``; what lies outside the basis is dropped."""
        return self.basis @ torch.linalg.matrix_power(self.inner, steps) @ self.basis.T

    def eigenvalues(self) -> torch.Tensor:
        """Complex eigenvalues ``[rank]``, the largest first."""
        values = torch.linalg.eigvals(self.inner)
        return values[values.abs().argsort(descending=True)]


def fit_modes(steps: PairMoments, *, rank: int | None = None, ridge: float = 0.0) -> Modes:
    """The linear map that minimises ``sum |y - x K|^2 + ridge |K|^2``, within the `rank` leading directions.

    Truncated (Schmid's exact projection) or ridge DMD, as arXiv 2605.07556 applies it along depth. No
    constant term: the moments' last row and column are left out.

    Parameters
    ----------
    steps : PairMoments
        Of states before and after each step of a span, all of its steps added up.
    rank : int, optional
        How many directions to keep; all that hold anything by default.
    ridge : float
        In units of the mean eigenvalue of the Gram matrix.
    """
    gram, cross = steps.gram[:-1, :-1], steps.cross[:-1]
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0), vectors.flip(1)
    held = int((values > values[0].clamp_min(0) * 1e-14 * len(values)).sum())
    kept = held if rank is None else min(rank, held)
    if kept < 1:
        raise ValueError("the states are zero: there is no step to fit")
    basis = vectors[:, :kept]
    shrunk = values[:kept] + ridge * float(values.mean())
    return Modes(basis, (basis.T @ cross @ basis) / shrunk[:, None])


def endpoint(ends: PairMoments, *, ridge: float = 0.0) -> torch.Tensor:
    """The unconstrained map ``[dim, dim]`` for row vectors from the first to the last state of a span."""
    gram = ends.gram[:-1, :-1].clone()
    gram.diagonal().add_(ridge * float(gram.diagonal().mean()))
    return torch.linalg.lstsq(gram, ends.cross[:-1], driver="gelsd").solution
