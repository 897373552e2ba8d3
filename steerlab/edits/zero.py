"""Zero: set the stream, or coordinates of it, to zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, in_coordinates


@dataclass(frozen=True, eq=False, repr=False)
class Zero(Edit):
    """``x -> 0``, or in a basis ``z -> 0``.

    Parameters
    ----------
    basis : Basis, optional
        Coordinates to set to zero; without one the activation itself.
    """

    basis: Basis | None = None

    def __post_init__(self) -> None:
        if self.basis is not None:
            check_basis(self.basis, "Zero")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return zeros ``[..., dim]``, or `x` without the basis' part."""
        return in_coordinates(x, self.basis, torch.zeros_like, keeps_zero=True)
