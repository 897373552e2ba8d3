"""Add: move an activation along a vector."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.edits.base import Edit, constant, fitted, wide
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Add(Edit):
    """``x -> x + strength * vector``, the sum taken in float32 and rounded once.

    Parameters
    ----------
    vector : Tensor
        What to add, ``[dim]`` or anything that broadcasts to the activation.
    strength : float
        Factor of the vector, in the units of the stream.
    """

    vector: torch.Tensor
    strength: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", constant(self.vector, "Add: the vector"))
        if not isinstance(self.strength, (int, float)) or self.strength != self.strength:
            raise SteerlabError(f"Add: strength={self.strength!r} is not a number")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        x_wide = wide(x)
        return (x_wide + self.strength * fitted(self.vector, x_wide, "Add: a vector")).to(x.dtype)
