"""Scale: multiply the stream, or coordinates of it, by a factor."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, in_coordinates
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Scale(Edit):
    """``x -> factor * x``, or in a basis ``z -> factor * z``.

    Parameters
    ----------
    factor : float
        1 changes nothing, 0 removes, -1 mirrors.
    basis : Basis, optional
        Coordinates to scale; without one the activation itself.
    """

    factor: float
    basis: Basis | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.factor, Real) or self.factor != self.factor:
            raise SteerlabError(f"Scale: factor={self.factor!r} is not a number")
        if self.basis is not None:
            check_basis(self.basis, "Scale")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        return in_coordinates(x, self.basis, lambda z: z * self.factor, keeps_zero=True)
