"""Kohonen maps: a grid of nodes laid over points, and points that stand for the nodes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Kohonen:
    """A fitted map.

    Parameters
    ----------
    nodes : Tensor
        ``[row, column, dim]``.
    """

    nodes: torch.Tensor

    def nearest(self, points: torch.Tensor, count: int = 1) -> torch.Tensor:
        """Numbers of the `count` nearest nodes of points ``[point, dim]``, ``[point, count]``."""
        flat = self.nodes.flatten(0, 1)
        parts = [torch.cdist(some, flat).topk(count, largest=False).indices for some in points.split(_CHUNK)]
        return torch.cat(parts)

    def quantisation_error(self, points: torch.Tensor) -> float:
        """Mean distance of points to their nearest node, over the root mean square distance to their mean."""
        own = self.nodes.flatten(0, 1)[self.nearest(points)[:, 0]]
        radius = (points - points.mean(0)).square().sum(-1).mean().sqrt()
        return float((points - own).norm(dim=-1).mean() / radius)

    def topographic_error(self, points: torch.Tensor) -> float:
        """Share of points whose two nearest nodes are not neighbours on the grid, diagonal ones included."""
        columns = self.nodes.shape[1]
        first, second = self.nearest(points, 2).unbind(-1)
        apart = torch.stack([first // columns - second // columns, first % columns - second % columns]).abs()
        return float((apart.amax(0) > 1).double().mean())


def kohonen_map(
    points: torch.Tensor,
    grid: tuple[int, int] = (8, 8),
    *,
    steps: int = 20000,
    seed: int = 0,
) -> Kohonen:
    """Fit a self-organising map: ``w_ij += lr h(BMU, ij) (z - w_ij)``, one point after the other.

    Nodes begin on the plane of the first two principal components, two standard deviations wide either way;
    ``h`` is a Gaussian on the grid, its radius falls from half the longer side to 0.4 and the rate from 0.5
    to 0.01, both geometrically (our own definition: the paper that puts such maps on blocks gives none).

    Parameters
    ----------
    points : Tensor
        ``[point, dim]``.
    grid : tuple of int
        Rows and columns.
    steps : int
        Updates.
    seed : int
        Decides which points come when.
    """
    if points.ndim != 2 or len(points) < 3:
        raise ValueError(f"a map takes three points or more, [point, dim], not {list(points.shape)}")
    rows, columns = grid
    wide = points.double()
    mean = wide.mean(0)
    _, spread, axes = torch.linalg.svd(wide - mean, full_matrices=False)
    deviations = spread / (len(wide) - 1) ** 0.5
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    sides = places / torch.tensor([max(rows - 1, 1), max(columns - 1, 1)]) * 2 - 1
    used = min(2, len(axes))
    nodes = mean + (2 * sides[:, :used] * deviations[:used]) @ axes[:used]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randint(len(wide), (steps,), generator=generator)
    apart = torch.cdist(places, places).square()
    first = max(rows, columns) / 2
    for step, number in enumerate(order.tolist()):
        done = step / max(steps - 1, 1)
        radius, lr = first * (0.4 / first) ** done, 0.5 * (0.01 / 0.5) ** done
        away = wide[number] - nodes
        winner = int(away.square().sum(-1).argmin())
        nodes += (lr * torch.exp(-apart[winner] / (2 * radius**2)))[:, None] * away
    return Kohonen(nodes.reshape(rows, columns, -1))


def medoids(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Numbers of the points ``[point, dim]`` nearest to places ``[place, dim]``: realised values."""
    return torch.cat([torch.cdist(some, points).argmin(-1) for some in places.split(_CHUNK)])


def spacing(points: torch.Tensor, share: float = 0.99) -> float:
    """The distance to the nearest other point that `share` of the points ``[point, dim]`` stay under."""
    nearest = []
    for start in range(0, len(points), _CHUNK):
        some = points[start : start + _CHUNK]
        away = torch.cdist(some, points)
        own = torch.arange(len(some))
        away[own, start + own] = torch.inf
        nearest.append(away.amin(-1))
    return float(torch.cat(nearest).double().quantile(share))
