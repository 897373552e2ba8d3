"""An edit: a pure change, in a file of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.edits import Edit


@dataclass(frozen=True, eq=False, repr=False)
class Halve(Edit):
    """``x -> x / 2``, `times` over.

    Parameters
    ----------
    times : int
        How often.
    """

    times: int = 1

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        return x / 2**self.times
