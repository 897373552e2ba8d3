"""Pictures of curved lines on textures: every orientation occurs, and that of each patch is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steerlab.zoo.scenes import SIDE, backgrounds

LINES = 3  # a picture
_WIDTH = 0.045  # of a line, in sides of the picture
_NEAR, _APART = 0.35, 0.9  # of a patch: how near its own line is, and how far every other one


@dataclass(frozen=True, eq=False)
class Arcs:
    """Circles, most of which leave the picture; in sides of the picture.

    Parameters
    ----------
    centres : Tensor
        ``[picture, line, 2]``: across, down.
    radii : Tensor
        ``[picture, line]``.
    """

    centres: torch.Tensor
    radii: torch.Tensor

    def off(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distance to each line and direction from its centre, ``[picture, line, row, column]`` each."""
        across = x[None, None, None, :] - self.centres[..., 0, None, None]
        down = y[None, None, :, None] - self.centres[..., 1, None, None]
        away = (torch.hypot(across, down) - self.radii[..., None, None]).abs()
        return away, torch.atan2(down, across)

    def orientation(self, rows: int, columns: int) -> torch.Tensor:
        """Angle of the only line in each patch, in [0, pi), ``[picture, row, column]``; nan elsewhere.

        0 is a horizontal line; the angle grows clockwise as the picture is seen.
        """
        away, direction = self.off(_middles(columns), _middles(rows))
        near, which = (away * max(rows, columns)).sort(1)
        angle = torch.remainder(direction.gather(1, which[:, :1])[:, 0] + math.pi / 2, math.pi)
        alone = near[:, 1] > _APART if near.shape[1] > 1 else True
        return torch.where((near[:, 0] < _NEAR) & alone, angle, torch.nan)


def random_arcs(count: int, generator: torch.Generator) -> Arcs:
    """Circles that cross the picture: their nearest point to its middle lies inside."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, LINES, generator=generator)

    radii, offset, angle = uniform(0.3, 0.8), uniform(-0.4, 0.4), uniform(0, 2 * math.pi)
    away = (radii + offset)[..., None]
    return Arcs(0.5 + away * torch.stack([angle.cos(), angle.sin()], -1), radii)


def render_arcs(arcs: Arcs, generator: torch.Generator, side: int = SIDE) -> torch.Tensor:
    """Draw lines of one width, lighter or darker than their texture: ``[picture, 3, row, column]``."""
    count = len(arcs.radii)
    images = backgrounds(count, generator, side)
    away, _ = arcs.off(_middles(side), _middles(side))
    cover = (0.5 - side * (away.amin(1) - _WIDTH / 2)).clamp(0, 1)[:, None]
    mean = images.mean((1, 2, 3), keepdim=True)
    tint = torch.where(mean > 0.5, mean - 0.45, mean + 0.45).expand(count, 3, 1, 1)
    tint = (tint + 0.1 * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)).clamp(0, 1)
    return torch.lerp(images, tint.expand_as(images), cover)


def _middles(count: int) -> torch.Tensor:
    return (torch.arange(count) + 0.5) / count
