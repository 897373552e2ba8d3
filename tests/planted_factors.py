"""Planted factors for block-sparse featurizers: segments, circles and spheres in random subspaces."""

from __future__ import annotations

from dataclasses import dataclass

import torch

SHAPES = {"segment": (1, 1), "circle": (1, 2), "sphere": (2, 3)}  # own dimensions, and those they lie in


@dataclass(frozen=True, eq=False)
class Planted:
    """Rows, and what each factor put into them.

    Parameters
    ----------
    shapes : list of str
        What each factor is.
    frames : list of Tensor
        Orthonormal rows ``[ambient, dim]`` of each factor.
    places : list of Tensor
        Where each factor is, ``[row, ambient]``, 0 where it is not active.
    """

    shapes: list[str]
    frames: list[torch.Tensor]
    places: list[torch.Tensor]

    @property
    def rows(self) -> torch.Tensor:
        """``[row, dim]``."""
        return sum(self.part(g) for g in range(len(self.frames)))

    def part(self, g: int) -> torch.Tensor:
        """What one factor contributes, ``[row, dim]``."""
        return self.places[g] @ self.frames[g]

    def active(self, g: int) -> torch.Tensor:
        """Where a factor is active, ``[row]``."""
        return (self.places[g] != 0).any(-1)


def planted_factors(counts: dict[str, int], dim: int, active: int, rows: int, seed: int) -> Planted:
    """Factors of unit RMS length, `active` of them in every row; the frames depend on `seed` // 100 alone.

    The toy of Fel, Kowal et al., Structuring Sparsity, with three of its shapes.
    """
    planting = torch.Generator().manual_seed(seed // 100)
    drawing = torch.Generator().manual_seed(seed)
    shapes = [shape for shape, count in counts.items() for _ in range(count)]
    chosen = torch.rand(rows, len(shapes), generator=drawing).topk(active).indices
    mask = torch.zeros(rows, len(shapes)).scatter(1, chosen, 1.0)
    frames, places = [], []
    for g, shape in enumerate(shapes):
        width = SHAPES[shape][1]
        frames.append(torch.linalg.qr(torch.randn(dim, width, generator=planting))[0].T)
        if shape == "segment":
            place = 3**0.5 * (2 * torch.rand(rows, 1, generator=drawing) - 1)
        else:
            place = torch.nn.functional.normalize(torch.randn(rows, width, generator=drawing), dim=-1)
        places.append(place * mask[:, g, None] / active**0.5)
    return Planted(shapes, frames, places)


def f1(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """How well activities ``[row, block]`` predict ``[row]``: ``2 |both| / (|one| + |two|)``, ``[block]``."""
    both = (one & two[:, None]).sum(0).double()
    return 2 * both / (one.sum(0) + two.sum()).clamp_min(1)


def isolation(found: torch.Tensor, atoms: torch.Tensor, planted: Planted, blocks: int | None) -> torch.Tensor:
    """R2 of each factor's contribution by its best part of a dictionary alone, ``[factor]``.

    Parameters
    ----------
    found : Tensor
        Codes ``[row, atom]``.
    atoms : Tensor
        ``[atom, dim]``.
    planted : Planted
        The truth.
    blocks : int, optional
        Atoms in a block; None for single atoms, of which as many are taken as the factor has ambient
        dimensions.
    """
    scores = []
    for g in range(len(planted.frames)):
        on = planted.active(g)
        size = blocks or 1
        match = f1((found != 0).unflatten(-1, (-1, size)).any(-1), on)
        best = match.topk(1 if blocks else SHAPES[planted.shapes[g]][1]).indices
        index = (best[:, None] * size + torch.arange(size)).flatten()
        part, true = found[on][:, index] @ atoms[index], planted.part(g)[on]
        scores.append(1 - (part - true).square().sum() / (true - true.mean(0)).square().sum())
    return torch.stack(scores)
