"""Project and Remove: keep only what a basis explains, or only what it does not."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, in_coordinates, wide


@dataclass(frozen=True, eq=False, repr=False)
class Project(Edit):
    """``x -> decode(encode(x))``: what the basis does not explain is dropped, on purpose.

    Parameters
    ----------
    basis : Basis
        What to keep.
    """

    basis: Basis

    def __post_init__(self) -> None:
        check_basis(self.basis, "Project")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        return self.basis.explained(wide(x)).to(x.dtype)


@dataclass(frozen=True, eq=False, repr=False)
class Remove(Edit):
    """``x -> x - (decode(z) - decode(0))``: the coordinates go to zero, everything else is kept.

    Parameters
    ----------
    basis : Basis
        What to remove.
    """

    basis: Basis

    def __post_init__(self) -> None:
        check_basis(self.basis, "Remove")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        return in_coordinates(x, self.basis, torch.zeros_like, keeps_zero=True)
