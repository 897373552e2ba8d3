"""LowRank: keep of each input's tokens what its leading directions explain."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.edits.base import Edit, wide
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class LowRank(Edit):
    """``X -> X V V^T`` with the `rank` leading right singular vectors ``V`` of each ``X [token, dim]``.

    At ``attn`` and ``mlp`` it makes what a block adds low-rank: the intervention behind the claim of arXiv
    2512.19941 that late updates are so (as an edit, our own definition). Gradients take the directions as
    they are. It looks at all tokens of an input together, so it is for whole forwards, without a cache.

    Parameters
    ----------
    rank : int
        How many directions of each input to keep.
    skip : int
        Leading tokens (class token, registers) that are left as they are and do not count.
    """

    rank: int
    skip: int = 0

    def __post_init__(self) -> None:
        check_counts(self, rank=1, skip=0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., token, dim]``."""
        rows = wide(x[..., self.skip :, :]).contiguous()
        with torch.no_grad():
            double = rows.double()
            _, vectors = torch.linalg.eigh(double.mT @ double)
            leading = vectors[..., -self.rank :].to(rows.dtype)
        kept = (rows @ leading @ leading.mT).to(x.dtype)
        return torch.cat([x[..., : self.skip, :], kept], dim=-2)


def check_counts(edit: Edit, **least: int) -> None:
    """Refuse fields that are not whole numbers of at least so much."""
    for name, fewest in least.items():
        value = getattr(edit, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < fewest:
            raise SteerlabError(
                f"{type(edit).__name__}: {name}={value!r} is not a whole number of {fewest} or more"
            )
