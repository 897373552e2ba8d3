"""Add: move an activation along a vector."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real

import torch

from steerlab.edits.base import Edit, constant, fitted, wide
from steerlab.errors import SteerlabError

UNITS = ("raw", "norm")


@dataclass(frozen=True, eq=False, repr=False)
class Add(Edit):
    """``x -> x + strength * vector``, the sum taken in float32 and rounded once.

    In units of the stream's norm it is ``x + strength * |x| * vector / |vector|``, entry by entry.

    Parameters
    ----------
    vector : Tensor
        What to add, ``[dim]`` or anything that broadcasts to the activation.
    strength : float
        Factor of the vector, in the units of the stream.
    unit : str
        ``"raw"``, or ``"norm"`` for a share of every entry's own length along the vector's direction.
    """

    vector: torch.Tensor
    strength: float = 1.0
    unit: str = "raw"
    step: torch.Tensor = field(init=False)
    copies: dict[torch.device, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        vector = constant(self.vector, "Add: the vector")
        if not isinstance(self.strength, Real) or self.strength != self.strength:
            raise SteerlabError(f"Add: strength={self.strength!r} is not a number")
        if self.unit not in UNITS:
            raise SteerlabError(
                f"Add: unit={self.unit!r}; here it is 'raw' or 'norm', "
                "and dictionary.strength(atom, amount, unit=...) turns the units of an atom into raw ones"
            )
        if self.unit == "norm" and not bool(vector.any()):
            raise SteerlabError("Add: a vector of zeros has no direction; unit='norm' needs one")
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "step", self.strength * wide(vector))
        object.__setattr__(self, "copies", {})

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        # a vector in training changes between calls
        step = self.strength * wide(self.vector) if self.vector.requires_grad else self.step
        if step.device != x.device:  # one copy a device, made when a site of that device first asks
            if step is self.step and x.device not in self.copies:
                self.copies[x.device] = step.to(x.device)
            step = self.copies.get(x.device, step)
        if self.unit == "norm":
            return self._along(x, step)
        if step.device == x.device and step.shape == x.shape[-1:]:
            return (x + step).to(x.dtype)  # the common case, on the path of every generated token
        x_wide = wide(x)
        return (x_wide + fitted(step, x_wide, "Add: a vector")).to(x.dtype)

    def _along(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        x_wide = wide(x)
        unit = fitted(step, x_wide, "Add: a vector") / wide(self.vector).norm(dim=-1, keepdim=True).to(x_wide)
        return (x_wide + x_wide.norm(dim=-1, keepdim=True) * unit).to(x.dtype)
