"""How much memory a read will take, from the inputs alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from steerlab.clock import Entrance
from steerlab.errors import SteerlabError, listing
from steerlab.points import Point
from steerlab.sites import Site
from steerlab.tokens import TokenChoice, TokenMap


def bytes_needed(
    found: tuple[tuple[Site, Point], ...],
    towers: Mapping[str, Entrance],
    kwargs: Mapping[str, Any],
    tokens: TokenChoice | None,
    dtype: torch.dtype | None,
) -> int:
    """Bytes of the activations of these sites on these inputs."""
    total = 0
    for site, point in found:
        if site.is_module or point.tower not in towers or "batch" not in point.axes:
            raise SteerlabError(f"{site}: the size of this site is known only after a forward")
        entrance = towers[point.tower]
        token_map = entrance.describe(kwargs)
        if token_map is None:
            raise SteerlabError(f"{site}: the inputs do not say how many tokens it has")
        total += _numbers(site, point, token_map, _rows(kwargs), tokens) * _size_of(
            entrance.module, site, dtype
        )
    return total


def _numbers(site: Site, point: Point, token_map: TokenMap, rows: int, tokens: TokenChoice | None) -> int:
    heads = site.select(point.heads) if site.heads else None
    if point.layout.grid and token_map.count == 0:
        raise SteerlabError(f"{site}: the inputs do not say how large the map is")
    along = token_map.count
    if tokens is not None and "token" in point.axes:
        along = int(token_map.select(tokens).sum(dim=1)[0])
    sizes = {"batch": rows, "token": along, "query": along, "key": along}
    if heads is not None:
        sizes["head"] = 1 if isinstance(heads, int) else len(heads)
    numbers = 1
    for axis, proved in zip(point.axes, point.shape, strict=True):
        numbers *= sizes.get(axis, proved)
    return numbers


def _rows(kwargs: Mapping[str, Any]) -> int:
    return next(v.shape[0] for v in kwargs.values() if isinstance(v, torch.Tensor) and v.ndim)


def _size_of(root: nn.Module, site: Site, dtype: torch.dtype | None) -> int:
    """Bytes of one number of the stream; attention is weighed in float32 at least."""
    own = next((p.dtype for p in root.parameters() if p.is_floating_point()), torch.float32)
    if site.stream in ("scores", "pattern"):
        own = torch.promote_types(own, torch.float32)
    return (dtype or own).itemsize


def refuse_beyond(limit: int, needed: int, at: str | Site | Iterable[str | Site]) -> None:
    """Refuse a read that would keep more than it may."""
    if needed > limit:
        sites = at if isinstance(at, (str, Site)) else listing(at, 4)
        raise SteerlabError(
            f"reading {sites} needs {needed:,} bytes, more than the limit of {limit:,}; "
            "read fewer sites or rows, choose tokens=, or give a smaller dtype="
        )
