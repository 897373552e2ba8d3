"""Add: move an activation along a vector."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real

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
    step: torch.Tensor = field(init=False)
    copies: dict[torch.device, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        vector = constant(self.vector, "Add: the vector")
        if not isinstance(self.strength, Real) or self.strength != self.strength:
            raise SteerlabError(f"Add: strength={self.strength!r} is not a number")
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
        if step.device == x.device and step.shape == x.shape[-1:]:
            return (x + step).to(x.dtype)  # the common case, on the path of every generated token
        x_wide = wide(x)
        return (x_wide + fitted(step, x_wide, "Add: a vector")).to(x.dtype)
