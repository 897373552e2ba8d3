"""Mask: forbid attention between some queries and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from steerlab.edits.base import Edit
from steerlab.errors import SteerlabError
from steerlab.tokens import TokenMap


@dataclass(frozen=True, eq=False, repr=False)
class Mask(Edit):
    """Scores of forbidden pairs become ``-inf``; the rest share the attention.

    Parameters
    ----------
    keep : Tensor
        Boolean ``[query, key]``, ``[head, query, key]`` or ``[batch, head, query, key]``: True may attend.
        Every query keeps at least one key.

    Examples
    --------
    >>> tokens = TokenMap(4, {"patches": (0, 4)}, grid=(2, 2))
    >>> Mask.radius(tokens, 1.0).keep.int()
    tensor([[1, 1, 1, 0],
            [1, 1, 0, 1],
            [1, 0, 1, 1],
            [0, 1, 1, 1]], dtype=torch.int32)
    """

    streams: ClassVar[tuple[str, ...]] = ("scores",)

    keep: torch.Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.keep, torch.Tensor) or self.keep.dtype != torch.bool:
            kind = self.keep.dtype if isinstance(self.keep, torch.Tensor) else type(self.keep).__name__
            raise SteerlabError(f"Mask takes a boolean tensor (True may attend), not {kind}")
        if self.keep.ndim < 2:
            raise SteerlabError(f"Mask takes [query, key] or more axes, not {list(self.keep.shape)}")
        empty = int((~self.keep.any(dim=-1)).sum())
        if empty:
            raise SteerlabError(f"Mask: {empty} queries keep no key at all; every query needs at least one")

    @staticmethod
    def radius(tokens: TokenMap, radius: float) -> Mask:
        """Patches see patches at most `radius` away on the image grid; special tokens see and are seen."""
        place = _coordinates(tokens)[:, -2:]
        near = torch.cdist(place, place) <= radius + 1e-6
        return Mask(_with_special(tokens, near))

    @staticmethod
    def temporal(tokens: TokenMap) -> Mask:
        """Video: a patch sees the same patch of other frames only."""
        place = _coordinates(tokens, video=True)[:, -2:]
        return Mask(_with_special(tokens, (place[:, None] == place[None]).all(-1)))

    @staticmethod
    def spatial(tokens: TokenMap) -> Mask:
        """Video: a patch sees the patches of its own frame only."""
        frame = _coordinates(tokens, video=True)[:, 0]
        return Mask(_with_special(tokens, frame[:, None] == frame[None]))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores ``[..., query, key]``."""
        keep = self.keep
        leading = zip(keep.shape[-3::-1], x.shape[-3::-1], strict=False)
        if keep.shape[-2:] != x.shape[-2:] or keep.ndim > x.ndim or any(a not in (1, b) for a, b in leading):
            raise SteerlabError(
                f"Mask of shape {list(keep.shape)} does not fit the scores {list(x.shape)} "
                f"(expected [{x.shape[-2]}, {x.shape[-1]}], or with the axes before them)"
            )
        return x.masked_fill(~keep.to(x.device), -torch.inf)


def _coordinates(tokens: TokenMap, video: bool = False) -> torch.Tensor:
    """Float ``[patch, axes]`` of every patch on the grid."""
    grid = tokens.patch_grid()
    if video and len(grid) != 3:
        raise SteerlabError(f"a temporal or spatial mask needs a video; the grid here is {grid}")
    axes = torch.meshgrid(*[torch.arange(float(n)) for n in grid], indexing="ij")
    return tokens.along_tokens(torch.stack(axes, dim=-1))


def _with_special(tokens: TokenMap, patch_keep: torch.Tensor) -> torch.Tensor:
    keep = torch.ones(tokens.count, tokens.count, dtype=torch.bool)
    span = slice(*tokens.groups.get("patches", (0, tokens.count)))
    keep[span, span] = patch_keep
    return keep
