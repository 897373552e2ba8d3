"""Ways between two values of a manifold: along it, and the two straight lines it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from steerlab.bases.linear import Subspace

if TYPE_CHECKING:
    from steerlab.bases.manifold import Manifold


@dataclass(frozen=True, eq=False)
class Path:
    """Waypoints, and what of an activation each of them replaces.

    ``Replace(path.points[k], path.basis)`` steers to waypoint k, and with ``path.points[:, None]`` each row
    of a batch ``[waypoint, token, dim]`` to its own.

    Parameters
    ----------
    points : Tensor
        ``[waypoint, dim]``.
    fractions : Tensor
        How far along each is, ``[waypoint]``, 0 at the start and 1 at the end.
    basis : Subspace, optional
        What is replaced; without one the whole activation is.
    """

    points: torch.Tensor
    fractions: torch.Tensor
    basis: Subspace | None = None

    def __len__(self) -> int:
        return len(self.points)


def along(manifold: Manifold, t: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> Path:
    """``mu + B s(u_0 + t (u_1 - u_0))``, the short way round, inside the components (arXiv 2605.05115)."""
    places = start + t * manifold.chart.shift(start, end)
    return Path(manifold.decode(places), t[:, 0], manifold.subspace)


def chord(manifold: Manifold, t: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> Path:
    """``(1 - t) c_0 + t c_1`` for the whole activation: the paper's baseline (arXiv 2605.05115).

    It differs from `along` in two ways, by the chord and by what it overwrites.
    """
    first, last = (_centroid(manifold, place) for place in (start, end))
    return Path((1 - t) * first + t * last, t[:, 0])


def chord_inside(manifold: Manifold, t: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> Path:
    """``mu + B [(1 - t) z_0 + t z_1]`` inside the components alone: the fair baseline.

    Of the code of arXiv 2605.05115; it differs from `along` by the chord alone.
    """
    inside = (chord(manifold, t, start, end).points - manifold.mean) @ manifold.frame.T
    return Path(inside @ manifold.frame + manifold.mean, t[:, 0], manifold.subspace)


def _centroid(manifold: Manifold, place: torch.Tensor) -> torch.Tensor:
    """The mean activation of the value at a place; between values the manifold's own point."""
    apart = manifold.chart.shift(manifold.chart.knots, place).norm(dim=-1)
    nearest = int(apart.argmin())
    return manifold.centroids[nearest] if float(apart[nearest]) < 1e-9 else manifold.decode(place)


# name: how the waypoints are laid
MODES: dict[str, Callable[[Manifold, torch.Tensor, torch.Tensor, torch.Tensor], Path]] = {
    "manifold": along,
    "linear": chord,
    "linear_subspace": chord_inside,
}
