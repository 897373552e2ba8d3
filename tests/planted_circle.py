"""A circle in 64 dimensions with atoms that hold it whole or tile it, beside distractors that never fire."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

NOISE, DIM, DISTRACTORS, TILES = 0.02, 64, 60, 8
CEILING = 1 / (1 + DIM * NOISE**2)


@dataclass(frozen=True)
class Circle:
    """Samples, their angles, and two dictionaries with codes.

    Attributes
    ----------
    x : Tensor
        ``[sample, dim]``.
    angles : Tensor
        ``[sample]``.
    axes, tiles : Tensor
        Two axes or eight tiles, each with the distractors behind them, ``[atom, dim]``.
    axis_codes, tile_codes : Tensor
        ``[sample, atom]``: two signed codes always on, or the one best tile's.
    """

    x: torch.Tensor
    angles: torch.Tensor
    axes: torch.Tensor
    tiles: torch.Tensor
    axis_codes: torch.Tensor
    tile_codes: torch.Tensor


def circle(count: int = 400, *, seed: int = 0) -> Circle:
    """The construction whose figures the methods give."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.rand(count, generator=generator, dtype=torch.float64) * 2 * math.pi
    frame = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator, dtype=torch.float64)).Q.T
    planar = on_circle(angles)
    x = planar @ frame[:2] + NOISE * torch.randn(count, DIM, generator=generator, dtype=torch.float64)
    others = torch.randn(DISTRACTORS, DIM, generator=generator, dtype=torch.float64)
    others = torch.nn.functional.normalize(others, dim=1)
    silent = x.new_zeros(count, DISTRACTORS)
    tiles = tile_directions(TILES)
    return Circle(
        x,
        angles,
        torch.cat([frame[:2], others]),
        torch.cat([tiles @ frame[:2], others]),
        torch.cat([planar, silent], 1),
        torch.cat([top_one(planar @ tiles.T), silent], 1),
    )


def on_circle(angles: torch.Tensor) -> torch.Tensor:
    """Points ``[..., 2]``."""
    return torch.stack([angles.cos(), angles.sin()], -1)


def tile_directions(count: int) -> torch.Tensor:
    """Unit vectors equally far apart, ``[count, 2]``."""
    return on_circle(torch.arange(count, dtype=torch.float64) * 2 * math.pi / count)


def top_one(scores: torch.Tensor) -> torch.Tensor:
    """The best of each row alone, ``[row, atom]``."""
    best = scores.argmax(-1, keepdim=True)
    return torch.zeros_like(scores).scatter(-1, best, scores.gather(-1, best))


def planted_spins(count: int = 60000, *, share: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Eight atoms of which one fires on a share of the samples, two that fire together; 3 % drop-outs."""
    generator = torch.Generator().manual_seed(seed)
    fires = torch.zeros(count, 10, dtype=torch.bool)
    fires[torch.arange(count), torch.randint(8, (count,), generator=generator)] = True
    fires[:, :8] &= torch.rand(count, 1, generator=generator) < share
    fires[:, 8:] = torch.rand(count, 1, generator=generator) < 0.5
    return fires & (torch.rand(count, 10, generator=generator) > 0.03)
