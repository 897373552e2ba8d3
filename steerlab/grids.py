"""The same picture at another grid: a UNet sees it coarser, its latent may be finer than its patches."""

from __future__ import annotations

import torch

from steerlab.tokens import TokenMap


def at_count(tokens: TokenMap, count: int) -> TokenMap | None:
    """The token map of a site with `count` tokens, or None if its grid does not follow from the inputs'."""
    grid = tokens.grid
    if tokens.count == count:
        return tokens
    if tokens.keys is not None and count > tokens.count:  # keys and values of a cache and of this forward
        return tokens.keys(count)
    if grid is None or not set(tokens.groups) <= {"patches"}:
        return None
    times = round((count / tokens.count) ** 0.5)  # places of a latent that share a patch, along an edge
    if times > 1 and tokens.count * times**2 == count:
        return _picture((*grid[:-2], grid[-2] * times, grid[-1] * times))
    while min(grid[-2:]) > 1:
        grid = (*grid[:-2], -(-grid[-2] // 2), -(-grid[-1] // 2))
        if torch.Size(grid).numel() == count:
            return _picture(grid)
    return None


def _picture(grid: tuple[int, ...]) -> TokenMap:
    count = torch.Size(grid).numel()
    return TokenMap(count, {"patches": (0, count)}, grid)
