"""Move: shift an activation's own coordinates, along a curve or in any basis."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, constant, fitted, in_coordinates


@dataclass(frozen=True, eq=False, repr=False)
class Move(Edit):
    """``z -> z + by``; on a manifold ``x -> x + B[s(u + by) - s(u)]``, from the activation's own nearest u.

    Each activation goes on from where it is, what is off the manifold is kept, and ``by=0`` is exactly the
    identity (our own definition; the paper's steering, arXiv 2605.05115, is `Replace`). The way from one
    value to another is ``manifold.shift("Monday", "Tuesday")``.

    Parameters
    ----------
    basis : Basis
        The coordinates.
    by : Tensor or float
        How far along each coordinate, ``[coordinate]``, or a shape that broadcasts to the coordinates of the
        activation.
    """

    basis: Basis
    by: torch.Tensor | float

    def __post_init__(self) -> None:
        check_basis(self.basis, "Move")
        by = torch.tensor(float(self.by), dtype=torch.float64) if isinstance(self.by, Real) else self.by
        object.__setattr__(self, "by", constant(by, "Move: the way"))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        return in_coordinates(x, self.basis, lambda z: z + fitted(self.by, z, "Move: a way"))
