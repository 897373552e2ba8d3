"""MeanField: every token of an input moves in the direction that all of them have in common."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.edits.base import Edit, wide
from steerlab.edits.low_rank import check_counts


@dataclass(frozen=True, eq=False, repr=False)
class MeanField(Edit):
    """``x_t -> |x_t| m / |m|`` with ``m = mean_t x_t / |x_t|`` over the tokens of each input.

    At ``attn`` and ``mlp`` each token keeps the length of what a block adds to it and loses its own
    direction: the mean-field picture of late layers in arXiv 2512.19941 (as an edit, our own definition). It
    looks at all tokens of an input together, so it is for whole forwards, without a cache.

    Parameters
    ----------
    skip : int
        Leading tokens (class token, registers) that are left as they are and do not count.
    """

    skip: int = 0

    def __post_init__(self) -> None:
        check_counts(self, skip=0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., token, dim]``."""
        rows = wide(x[..., self.skip :, :])
        lengths = rows.norm(dim=-1, keepdim=True)
        mean = (rows / lengths.clamp_min(1e-12)).mean(-2, keepdim=True)
        moved = lengths * mean / mean.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return torch.cat([x[..., : self.skip, :], moved.to(x.dtype)], dim=-2)
