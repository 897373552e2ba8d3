"""Affine: a matrix and a shift applied to an activation, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, constant, fitted, in_coordinates, wide
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Affine(Edit):
    """``x -> M x + t``, computed as ``x + ((M - I) x + t)``: where ``M = I`` and ``t = 0`` no bit changes.

    With ``M = I - sum_m sigma_m b_m a_m^T`` at the queries of a head it takes modes of their logits away (see
    `steerlab.analyzers.Factors`).

    Parameters
    ----------
    matrix : Tensor
        ``[dim, dim]``, or ``[head, dim, dim]`` at a site ``[..., head, dim]``.
    shift : Tensor, optional
        ``[dim]``, or what broadcasts to the activation.
    basis : Basis, optional
        Coordinates to map in place of the activation: with ``block.view(x).turn(angle)`` a block is turned.
    """

    matrix: torch.Tensor
    shift: torch.Tensor | None = None
    basis: Basis | None = None

    def __post_init__(self) -> None:
        matrix = constant(self.matrix, "Affine: the matrix")
        if matrix.ndim not in (2, 3) or matrix.shape[-1] != matrix.shape[-2]:
            raise SteerlabError(f"Affine takes a matrix [dim, dim], not {list(matrix.shape)}")
        object.__setattr__(self, "matrix", matrix)
        if self.shift is not None:
            object.__setattr__(self, "shift", constant(self.shift, "Affine: the shift"))
        if self.basis is not None:
            check_basis(self.basis, "Affine")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        if self.basis is None:
            return self._mapped(x)
        return in_coordinates(x, self.basis, self._mapped)

    def _mapped(self, x: torch.Tensor) -> torch.Tensor:
        heads, dim = self.matrix.shape[:-2], self.matrix.shape[-1]
        if x.shape[-1] != dim or (heads and x.shape[-2] != heads[0]):
            raise SteerlabError(
                f"a matrix of shape {list(self.matrix.shape)} does not fit the activation {list(x.shape)}"
            )
        x_wide = wide(x)
        with torch.autocast(x.device.type, enabled=False):  # it would multiply in half precision
            eye = torch.eye(dim, dtype=self.matrix.dtype, device=self.matrix.device)
            change = (self.matrix - eye).to(x_wide)
            moved = x_wide + (x_wide.unsqueeze(-2) @ change.mT).squeeze(-2)
        if self.shift is not None:
            moved = moved + fitted(self.shift, x_wide, "Affine: a shift")
        return moved.to(x.dtype)
