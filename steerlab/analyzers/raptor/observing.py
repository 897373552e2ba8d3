"""One pass over the inputs: how alike layers are, how paths turn, what one shared map would miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.raptor.reading import pooled, summed
from steerlab.numerics.affine import PairMoments, pair_moments
from steerlab.numerics.ranks import stable_rank
from steerlab.numerics.segmentation import shuffled_increments
from steerlab.numerics.spheres import convergence, mean_resultant, speed, unit, update_spectra
from steerlab.surrogates.teacher import Path

MEASURES = ("convergence", "speed", "update rank", "update coherence", "state coherence", "norm")
DIRECTIONS = 16  # principal directions in which shared maps are fitted, at most
ROWS_EACH = 8  # rows that each of them needs


@dataclass(frozen=True, eq=False)
class Observed:
    """Means over all inputs.

    Attributes
    ----------
    dissimilarity : Tensor
        ``W_lm = mean(1 - cos)`` of layers, ``[layer, layer]``.
    nulls : Tensor
        The same of states with shuffled increments, ``[null, layer, layer]``.
    measures : Mapping
        Group of tokens -> measure -> ``[state]``; measures of steps are nan at the first state.
    steps : list of PairMoments
        Of each step's pooled states in the leading directions.
    middles : Mapping
        Group of tokens -> mean unit state in three principal directions, ``[state, 3]``.
    """

    dissimilarity: torch.Tensor
    nulls: torch.Tensor
    measures: Mapping[str, Mapping[str, torch.Tensor]]
    steps: list[PairMoments]
    middles: Mapping[str, torch.Tensor]


def observe(
    parts: Sequence[Any], read: Callable[[Any], Path], *, tokens: str, nulls: int, seed: int
) -> Observed:
    """Everything that one pass can tell; memory does not grow with the number of inputs."""
    first = read(parts[0])
    vectors = pooled(first, tokens)
    rows = len(parts) * vectors.shape[1] * vectors.shape[2]
    # with few rows an affine map of many directions would fit anything
    basis = _directions(vectors, max(1, min(DIRECTIONS, rows // ROWS_EACH)))
    axes = _directions(unit(first.states), 3)
    layers = len(first.states) - 1
    groups = list(first.groups)
    sizes = [
        1,
        (1 + nulls) * layers * layers,
        len(groups) * len(MEASURES) * (layers + 1),
        layers * _moment_size(basis.shape[1]),
        len(groups) * (layers + 1) * 3,
    ]

    def of(path: Path) -> torch.Tensor:
        rows = path.states.shape[1]
        vectors = pooled(path, tokens)
        alike = [_similarity(vectors[1:])]
        for null in range(nulls):
            generator = torch.Generator().manual_seed(seed + null)
            alike.append(_similarity(shuffled_increments(vectors[1:], generator)))
        measured = torch.stack([_measures(path.states[:, :, path.groups[name]]) for name in groups])
        inside = vectors.double() @ basis
        moments = [_flat(pair_moments(a, b)) for a, b in zip(inside, inside[1:], strict=False)]
        middles = [unit(path.states[:, :, path.groups[name]]).mean((1, 2)).double() @ axes for name in groups]
        found = [
            torch.tensor([float(rows)]).double(),
            rows * torch.stack(alike),
            rows * measured,
            torch.stack(moments),
            rows * torch.stack(middles),
        ]
        return torch.cat([one.double().flatten() for one in found])

    count, alike, measured, moments, middles = summed(parts, read, "layers", of=of).split(sizes)
    similar = (alike / count).view(1 + nulls, layers, layers).clamp(-1, 1)
    apart = 1 - similar
    apart.diagonal(dim1=1, dim2=2).zero_()
    table = (measured / count).view(len(groups), len(MEASURES), layers + 1)
    places = (middles / count).view(len(groups), layers + 1, 3)
    return Observed(
        apart[0],
        apart[1:],
        {g: dict(zip(MEASURES, table[i], strict=True)) for i, g in enumerate(groups)},
        [_moments(one, basis.shape[1]) for one in moments.view(layers, -1)],
        {g: places[i] for i, g in enumerate(groups)},
    )


def _similarity(vectors: torch.Tensor) -> torch.Tensor:
    """Mean cosine of layers ``[layer, layer]`` over the vectors of ``[layer, batch, vector, dim]``."""
    directions = unit(vectors.float()).flatten(1, 2)
    return torch.einsum("lvd,mvd->lm", directions, directions) / directions.shape[1]


def _measures(states: torch.Tensor) -> torch.Tensor:
    """`MEASURES` of one group ``[state, batch, token, dim]``, means over inputs: ``[measure, state]``."""
    states = states.float()
    gap = torch.full((1,), torch.nan)
    return torch.stack(
        [
            convergence(states).mean((1, 2)),
            torch.cat([gap, speed(states).mean((1, 2))]),
            torch.cat([gap, stable_rank(update_spectra(states)).mean(1).float()]),
            torch.cat([gap, mean_resultant(states.diff(dim=0)).mean(1)]),
            mean_resultant(states).mean(1),
            states.norm(dim=-1).mean((1, 2)),
        ]
    )


def _directions(vectors: torch.Tensor, most: int) -> torch.Tensor:
    """Leading principal directions ``[dim, most]`` of all vectors of the first part."""
    rows = vectors.flatten(0, -2).double()
    rows = rows - rows.mean(0)
    values, found = torch.linalg.eigh(rows.T @ rows)
    signs = found.gather(0, found.abs().argmax(0, keepdim=True)).sign()
    return (found * signs).flip(1)[:, :most]


def _flat(moments: PairMoments) -> torch.Tensor:
    square = torch.tensor([moments.square]).double()
    return torch.cat([moments.gram.flatten(), moments.cross.flatten(), square])


def _moment_size(dim: int) -> int:
    return (dim + 1) * (dim + 1) + (dim + 1) * dim + 1


def _moments(flat: torch.Tensor, dim: int) -> PairMoments:
    gram, cross, square = flat.split([(dim + 1) ** 2, (dim + 1) * dim, 1])
    return PairMoments(gram.view(dim + 1, dim + 1), cross.view(dim + 1, dim), float(square))
