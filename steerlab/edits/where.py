"""Where: another edit, as far as a linear reading of the activation says that it belongs there."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.edits.base import Edit, constant, fitted, wide
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Where(Edit):
    """``x -> x + w (edit(x) - x)`` with ``w = min(max(<x, reading> + offset, 0), 1)`` of each entry itself.

    A region that need not be known beforehand: where the reading is that of an object, the object is edited
    wherever it is drawn, and the background keeps every bit. Our own operator.

    Parameters
    ----------
    edit : Edit
        What is done where the reading is 1.
    reading : Tensor
        ``[dim]``.
    offset : float
        Added to the reading.
    """

    edit: Edit
    reading: torch.Tensor
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.edit, Edit):
            raise SteerlabError(
                f"Where takes an edit, not {type(self.edit).__name__}: put a scope on the whole"
            )
        if self.edit.streams:
            raise SteerlabError(
                f"Where: {self.edit!r} edits {self.edit.streams[0]}, which has no entries to read"
            )
        object.__setattr__(self, "reading", constant(self.reading, "Where: the reading"))
        if self.reading.ndim != 1:
            raise SteerlabError(f"Where takes a reading [dim], not {list(self.reading.shape)}")
        if not isinstance(self.offset, Real) or self.offset != self.offset:
            raise SteerlabError(f"Where: offset={self.offset!r} is not a number")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        x_wide = wide(x)
        reading = fitted(self.reading, x_wide, "Where: a reading")
        if len(reading) != x.shape[-1]:
            raise SteerlabError(f"Where: a reading [{len(reading)}] of activations {list(x.shape)}")
        weight = ((x_wide * reading).sum(-1, keepdim=True) + self.offset).clamp(0, 1)
        changed = x_wide + weight * (wide(self.edit(x)) - x_wide)
        return torch.where(weight > 0, changed, x_wide).to(x.dtype)
