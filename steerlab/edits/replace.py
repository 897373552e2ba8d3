"""Replace: put a given activation in place, as in patching from another run."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, constant, fitted, in_coordinates, wide


@dataclass(frozen=True, eq=False, repr=False)
class Replace(Edit):
    """``x -> value``, or in a basis ``z -> encode(value)``: an interchange of those coordinates only.

    Parameters
    ----------
    value : Tensor
        An activation of the same site, or anything that broadcasts to it: ``[dim]``, ``[batch, 1, dim]``,
        ``[batch, token, dim]``.
    basis : Basis, optional
        Coordinates to interchange; without one the whole activation.
    """

    value: torch.Tensor
    basis: Basis | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", constant(self.value, "Replace: the value"))
        if self.basis is not None:
            check_basis(self.basis, "Replace")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        if self.basis is None:
            return fitted(self.value, x, "Replace: a value").expand(x.shape).clone()
        wanted = self.basis.encode(fitted(self.value, wide(x), "Replace: a value").expand(x.shape))
        return in_coordinates(x, self.basis, lambda z: wanted.to(z.dtype))
