"""Toward: bring an activation's own place on a manifold nearer to a given one, the short way round."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.bases.curved import Curved
from steerlab.bases.manifold import Manifold
from steerlab.edits.base import Edit, constant, fitted, in_coordinates
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Toward(Edit):
    """``x -> x + B[s(u + amount * d) - s(u)]``, ``d`` the short way from the own place u to the target.

    Our own operator on the manifold of arXiv 2605.05115: 0 is the identity, 1 brings every activation's
    place to the target and keeps what is off the manifold, more goes beyond it (oversteering), less than 0
    away from it.

    Parameters
    ----------
    manifold : Manifold or Curved
        The coordinates: a manifold, or one inside a block.
    place : Tensor
        The target, ``[axis]``, or a shape that broadcasts to the coordinates of the activation; of a value
        it is ``manifold.place("Friday")``.
    amount : float
        How much of the way.
    """

    manifold: Manifold | Curved
    place: torch.Tensor
    amount: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.manifold, (Manifold, Curved)):
            raise SteerlabError(f"Toward takes a manifold, not {type(self.manifold).__name__}")
        if isinstance(self.place, str):
            raise SteerlabError(f"Toward: write manifold.place({self.place!r})")
        if not isinstance(self.amount, Real) or self.amount != self.amount:
            raise SteerlabError(f"Toward: amount={self.amount!r} is not a number")
        object.__setattr__(self, "place", constant(self.place, "Toward: the place"))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        chart = self.manifold.chart

        def nearer(u: torch.Tensor) -> torch.Tensor:
            target = fitted(self.place, u, "Toward: a place").expand(u.shape)
            return u + self.amount * chart.shift(u, target)

        return in_coordinates(x, self.manifold, nearer)
