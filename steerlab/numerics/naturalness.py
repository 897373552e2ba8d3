"""How natural the behaviour along a path is: its energy against a behaviour manifold, its coherence."""

from __future__ import annotations

from collections.abc import Callable

import torch

from steerlab.numerics.behaviour import Behaviour

REDUCTIONS = {"sum": torch.sum, "mean": torch.mean}


def energy(p: torch.Tensor, behaviour: Behaviour, *, reduce: str = "sum") -> torch.Tensor:
    """Bhattacharyya distance to the nearest point of the behaviour manifold, over all waypoints.

    ``E = sum_k min_v -log <sqrt p(t_k), M(v)>``. The text of arXiv 2605.05115 has an integral, its code and
    its numbers this sum, which grows with the number of waypoints; ``reduce="mean"`` is E/K, which does not.

    Parameters
    ----------
    p : Tensor
        Behaviour ``[..., waypoint, outcome]``.
    behaviour : Behaviour
        Of the same outcomes.
    reduce : str
        ``"sum"`` or ``"mean"``.

    Returns
    -------
    Tensor
        ``[...]``.
    """
    return _reduction(reduce)(behaviour.nearest(p)[1], dim=-1)


def energy_to_geodesic(
    p: torch.Tensor, behaviour: Behaviour, *, start: int, end: int, reduce: str = "sum"
) -> torch.Tensor:
    """The same against the point of the manifold at the same fraction of the way from value to value.

    The second reference of the code of arXiv 2605.05115: it also costs to be on the manifold too early.

    Parameters
    ----------
    p : Tensor
        Behaviour ``[..., waypoint, outcome]``, waypoints equally far apart.
    behaviour : Behaviour
        Of the same outcomes.
    start, end : int
        The values between which the path runs.
    reduce : str
        ``"sum"`` or ``"mean"``.
    """
    places = behaviour.places(start, end, torch.linspace(0, 1, p.shape[-2]))
    return _reduction(reduce)(behaviour.apart(p, places.to(p)), dim=-1)


def coherence(p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and least mass of the concept along a path, ``1 - p_other`` (arXiv 2605.05115, code).

    Parameters
    ----------
    p : Tensor
        Behaviour ``[..., waypoint, outcome]``, the last outcome being something else.

    Returns
    -------
    mean, least : Tensor
        ``[...]`` each.
    """
    mass = 1 - p[..., -1]
    return mass.mean(-1), mass.amin(-1)


def _reduction(name: str) -> Callable[..., torch.Tensor]:
    if name not in REDUCTIONS:
        raise ValueError(f"reduce={name!r}; it is 'sum' or 'mean'")
    return REDUCTIONS[name]
