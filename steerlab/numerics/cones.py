"""Whether directions lie in what atoms can build: cones by non-negative least squares, and convex hulls."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.numerics.geometry import unit


@dataclass(frozen=True)
class Containment:
    """How much of each target the non-negative combinations of atoms reach.

    The definitions are our own, for the question of arXiv 2512.07355 (does a dictionary's cone contain
    the directions that supervision found).

    Attributes
    ----------
    score : Tensor
        ``1 - min_{z >= 0} ||t - z D|| / ||t||``, ``[target]``: 1 inside the cone, 0 where nothing helps.
    angle : Tensor
        Angle between target and best combination in radians, ``[target]``; pi/2 where that is zero.
    codes : Tensor
        The best combination, ``[target, atom]``.
    """

    score: torch.Tensor
    angle: torch.Tensor
    codes: torch.Tensor

    @property
    def support(self) -> torch.Tensor:
        """How many atoms each combination uses, ``[target]``."""
        return (self.codes != 0).sum(1)


def _contained(targets: torch.Tensor, atoms: torch.Tensor, codes: torch.Tensor) -> Containment:
    nearest = codes @ atoms
    lengths = targets.norm(dim=1)
    score = 1 - (targets - nearest).norm(dim=1) / lengths
    # the half-angle form keeps small angles exact, where an arc cosine rounds them off; zero gives pi/2
    a, b = unit(targets), unit(nearest)
    angle = 2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1))
    return Containment(score, angle, codes)


def _checked(targets: torch.Tensor, atoms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    t, d = targets.detach().double().cpu(), atoms.detach().double().cpu()
    if bool((t.norm(dim=1) == 0).any()):
        raise ValueError("a target of zeros has no direction to contain")
    return t, d


def _nnls(atoms: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    from scipy.optimize import nnls

    return torch.from_numpy(nnls(atoms.T.numpy(), target.numpy())[0])


def cone_containment(targets: torch.Tensor, atoms: torch.Tensor) -> Containment:
    """Project targets on the cone ``{z D : z >= 0}`` of a dictionary by non-negative least squares.

    Parameters
    ----------
    targets, atoms : Tensor
        ``[target, dim]`` and ``[atom, dim]``. Adding atoms never lowers the score.

    Returns
    -------
    Containment
        On the CPU, in float64.
    """
    t, d = _checked(targets, atoms)
    return _contained(t, d, torch.stack([_nnls(d, row) for row in t]))


def sparse_cone_containment(targets: torch.Tensor, atoms: torch.Tensor, *, steps: int) -> Containment:
    """The same with at most `steps` atoms a target, by non-negative orthogonal matching pursuit.

    Each step adds the atom with the largest cosine to what is left and solves for all chosen weights
    again; it stops early where no atom points towards the rest. Greedy: the score is a lower bound.

    Parameters
    ----------
    targets, atoms : Tensor
        ``[target, dim]`` and ``[atom, dim]``.
    steps : int
        Largest number of atoms in a combination.
    """
    t, d = _checked(targets, atoms)
    directions = unit(d)
    codes = torch.zeros(len(t), len(d), dtype=torch.float64)
    for row, target in enumerate(t):
        chosen: list[int] = []
        left = target
        for _ in range(steps):
            gains = directions @ left
            gains[chosen] = -torch.inf
            best = int(gains.argmax())
            if gains[best] <= 1e-12 * target.norm():  # what rounding leaves is no direction to follow
                break
            chosen.append(best)
            weights = _nnls(d[chosen], target)
            left = target - weights @ d[chosen]
            codes[row] = 0.0
            codes[row, chosen] = weights
    return _contained(t, d, codes)


def hull_projection(points: torch.Tensor, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest points of a convex hull, and how far they are.

    With ``Q`` the vertices seen from the point, ``min_{w >= 0} ||w Q||^2 + (1 - sum w)^2`` is solved by
    non-negative least squares. Write ``w = s u`` with ``u`` on the simplex: for every length s the best u
    is the same, the one of least ``||u Q||``. So normalising w gives the projection exactly.

    Parameters
    ----------
    points, vertices : Tensor
        ``[point, dim]`` and ``[vertex, dim]``.

    Returns
    -------
    weights : Tensor
        Rows on the simplex, ``[point, vertex]``; the nearest points are ``weights @ vertices``.
    distances : Tensor
        ``[point]``.
    """
    p, v = points.detach().double().cpu(), vertices.detach().double().cpu()
    rows = []
    for point in p:
        seen = v - point
        scale = seen.norm(dim=1).max().clamp_min(torch.finfo(torch.float64).tiny)
        stacked = torch.cat([seen / scale, torch.ones(len(v), 1, dtype=torch.float64)], 1)
        goal = torch.zeros(stacked.shape[1], dtype=torch.float64)
        goal[-1] = 1.0
        weights = _nnls(stacked, goal)
        rows.append(weights / weights.sum())
    weights = torch.stack(rows)
    return weights, (p - weights @ v).norm(dim=1)
