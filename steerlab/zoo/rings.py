"""Pictures of rings on textures: along a ring every orientation occurs, and each patch's own one is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steerlab.zoo.scenes import SIDE, backgrounds

_NEAR = 0.35  # of a patch: farther from its centre a line does not count as the patch's own


@dataclass(frozen=True, eq=False)
class Ringed:
    """Rings, in shares of the picture's side.

    Parameters
    ----------
    centres : Tensor
        ``[picture, 2]``: across, down.
    radii : Tensor
        ``[picture]``.
    """

    centres: torch.Tensor
    radii: torch.Tensor

    def orientation(self, rows: int, columns: int) -> torch.Tensor:
        """Angle of the line in each patch, in [0, pi), ``[picture, row, column]``; nan where there is none.

        0 is a horizontal line; the angle grows clockwise as the picture is seen.
        """
        y = (torch.arange(rows) + 0.5) / rows
        x = (torch.arange(columns) + 0.5) / columns
        across = x[None, None, :] - self.centres[:, 0, None, None]
        down = y[None, :, None] - self.centres[:, 1, None, None]
        off = (torch.hypot(across, down) - self.radii[:, None, None]).abs()
        angle = torch.remainder(torch.atan2(down, across) + math.pi / 2, math.pi)
        return torch.where(off < _NEAR / max(rows, columns), angle, torch.nan)


def random_rings(count: int, generator: torch.Generator) -> Ringed:
    """Rings that lie inside the picture."""
    radii = 0.18 + 0.2 * torch.rand(count, generator=generator)
    room = 0.46 - radii[:, None]
    return Ringed(0.5 + room * (2 * torch.rand(count, 2, generator=generator) - 1), radii)


def render_rings(rings: Ringed, generator: torch.Generator, side: int = SIDE) -> torch.Tensor:
    """Draw lines of one width, lighter or darker than their texture: ``[picture, 3, row, column]``."""
    count = len(rings.radii)
    images = backgrounds(count, generator, side)
    places = torch.arange(side) + 0.5
    across = places[None, None, :] - side * rings.centres[:, 0, None, None]
    down = places[None, :, None] - side * rings.centres[:, 1, None, None]
    width = side * 0.045
    off = (torch.hypot(across, down) - side * rings.radii[:, None, None]).abs() - width / 2
    cover = (0.5 - off).clamp(0, 1)[:, None]
    mean = images.mean((1, 2, 3), keepdim=True)
    tint = torch.where(mean > 0.5, mean - 0.45, mean + 0.45).expand(count, 3, 1, 1)
    tint = (tint + 0.1 * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)).clamp(0, 1)
    return torch.lerp(images, tint.expand_as(images), cover)
