"""Clamp: keep the stream, or coordinates of it, within bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, in_coordinates
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Clamp(Edit):
    """``x -> min(max(x, low), high)``, or the same for the coordinates of a basis.

    Parameters
    ----------
    low, high : float, optional
        Bounds; equal bounds set a coordinate to a value.
    basis : Basis, optional
        Coordinates to clamp; without one the activation itself.
    active : bool
        Leave coordinates that are 0 as they are: only atoms that are active are clamped.
    """

    low: float | None = None
    high: float | None = None
    basis: Basis | None = None
    active: bool = False

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise SteerlabError("Clamp needs a bound: low=, high= or both")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise SteerlabError(f"Clamp: low={self.low} is above high={self.high}")
        if self.basis is not None:
            check_basis(self.basis, "Clamp")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        if not self.active:
            return in_coordinates(x, self.basis, lambda z: z.clamp(self.low, self.high))
        return in_coordinates(
            x, self.basis, lambda z: torch.where(z != 0, z.clamp(self.low, self.high), z), keeps_zero=True
        )
