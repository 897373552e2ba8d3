"""RandomControl: a change as large as another edit's, in a random direction."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.edits.base import Edit, wide


@dataclass(frozen=True, eq=False, repr=False)
class RandomControl(Edit):
    """``x -> x + ||edit(x) - x|| * r`` with one random unit direction ``r`` for all entries.

    The matched control of an effect: at every entry the step is exactly as long as the edit's, so what
    the edit does beyond it is due to its direction. The definition is ours.

    Parameters
    ----------
    edit : Edit
        The edit to match.
    seed : int
        Which random direction.
    """

    edit: Edit
    seed: int = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        x_wide = wide(x)
        length = (wide(self.edit(x)) - x_wide).norm(dim=-1, keepdim=True)
        generator = torch.Generator().manual_seed(self.seed)
        direction = torch.randn(x.shape[-1], generator=generator)
        direction = (direction / direction.norm()).to(x_wide)
        return (x_wide + length * direction).to(x.dtype)
