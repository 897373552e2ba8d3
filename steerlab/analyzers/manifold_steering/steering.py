"""Ways from value to value as edits, one waypoint a row, and what a model says along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from steerlab.analyzers.manifold_steering.reading import Answers, Maker
from steerlab.bases import Manifold
from steerlab.edits import Edit, Fn, Replace, Toward
from steerlab.keeping import kept
from steerlab.numerics.behaviour import Behaviour
from steerlab.numerics.naturalness import coherence, energy
from steerlab.numerics.simplex import bhattacharyya


@dataclass(frozen=True, eq=False)
class Way:
    """Waypoints, one a row, and the edit that each of them is.

    Parameters
    ----------
    edit : callable
        From values ``[row, 1, number]`` to the edit of a batch of as many rows.
    values : Tensor
        ``[waypoint, number]``: points, or coordinates.
    """

    edit: Maker
    values: torch.Tensor

    def change(self, x: torch.Tensor) -> torch.Tensor:
        """What every waypoint adds to activations ``[prompt, dim]``: ``[waypoint, prompt, dim]``."""
        rows = x.double().expand(len(self.values), -1, -1)
        return self.edit(self.values[:, None])(rows) - rows


def way(manifold: Manifold, mode: str, ends: tuple[int, int], count: int) -> Way:
    """The way from one value to another in a mode of `WAYS`.

    Parameters
    ----------
    manifold : Manifold
        The curve of activations.
    mode : str
        One of `WAYS`.
    ends : tuple of int
        The first and the last value.
    count : int
        How many waypoints.
    """
    return WAYS[mode](manifold, ends, count)


def _laid(manifold: Manifold, ends: tuple[int, int], count: int, *, mode: str) -> Way:
    path = manifold.path(*ends, count=count, mode=mode)
    return Way(partial(_replaced, basis=path.basis), path.points)


def _replaced(points: torch.Tensor, basis: object) -> Edit:
    return Replace(points, basis)


def _moved(manifold: Manifold, ends: tuple[int, int], count: int) -> Way:
    """From each activation's own place, what is off the curve kept: ``x + B[s(u(t)) - s(u_own)]``."""
    start, shift = manifold.place(ends[0]), manifold.shift(*ends)
    t = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    return Way(lambda places: Toward(manifold, places), start + t * shift)


def _elsewhere(manifold: Manifold, ends: tuple[int, int], count: int, *, seed: int = 0) -> Way:
    """The change of the manifold way, turned into random directions: as long, in as many dimensions."""
    path, frame = manifold.path(*ends, count=count), manifold.frame
    generator = torch.Generator().manual_seed(seed)
    turned = torch.randn(frame.shape[1], len(frame), generator=generator, dtype=frame.dtype)
    turned = torch.linalg.qr(turned).Q.T

    def edit(points: torch.Tensor) -> Edit:
        return Fn(lambda x: x + (((points - x.double()) @ frame.T) @ turned).to(x.dtype))

    return Way(edit, path.points)


WAYS: dict[str, Callable[[Manifold, tuple[int, int], int], Way]] = {
    "manifold": partial(_laid, mode="manifold"),
    "linear_subspace": partial(_laid, mode="linear_subspace"),
    "linear": partial(_laid, mode="linear"),
    "move": _moved,
    "random": _elsewhere,
}


@dataclass(frozen=True, eq=False)
class Walked:
    """What a model said along one way, over all prompts.

    Parameters
    ----------
    energy : Tensor
        Sum over waypoints of the Bhattacharyya distance to the curve of behaviour, ``[prompt]``.
    coherence : Tensor
        Mean and least mass of the values along the way, ``[2]``, means over prompts.
    behaviour : Tensor
        Distributions, a mean over prompts, ``[waypoint, value + 1]``.
    reached : Tensor
        The likeliest value at the end, ``[prompt]``.
    size : Tensor
        Length of the edit over that of the activation, a mean over prompts, ``[waypoint]``.
    """

    energy: torch.Tensor
    coherence: torch.Tensor
    behaviour: torch.Tensor
    reached: torch.Tensor
    size: torch.Tensor


def walked(
    answers: Answers, ways: Sequence[Way], base: torch.Tensor, behaviour: Behaviour, named: str
) -> list[Walked]:
    """Steer every prompt to all waypoints of some ways, which share forwards.

    Parameters
    ----------
    answers : Answers
        The prompts.
    ways : sequence of Way
        Of one mode and manifold, so that the edit of any of them is that of all.
    base : Tensor
        The prompts' own activations, ``[prompt, dim]``.
    behaviour : Behaviour
        The curve that energies are taken from.
    named : str
        What the ways are called, under which they are kept.
    """
    values = torch.cat([one.values for one in ways])
    found = kept(named, lambda: answers.under(ways[0].edit, values)).double()
    parts = found.split([len(one.values) for one in ways])
    return [_measured(one, p, base, behaviour) for one, p in zip(ways, parts, strict=True)]


def _measured(walk: Way, found: torch.Tensor, base: torch.Tensor, behaviour: Behaviour) -> Walked:
    """What ``[waypoint, prompt, value + 1]`` along one way comes to."""
    p = found.movedim(0, 1)
    size = walk.change(base).norm(dim=-1) / base.double().norm(dim=-1)
    return Walked(
        energy(p, behaviour),
        torch.stack([one.mean() for one in coherence(p)]),
        found.mean(1),
        found[-1, :, :-1].argmax(-1),
        size.mean(1),
    )


@dataclass(frozen=True, eq=False)
class Own:
    """What a replacement costs that should change nothing.

    Parameters
    ----------
    code : Tensor
        Bhattacharyya distance between answers as they are and under the prompt's own code, ``[prompt]``.
    curve : Tensor
        The same with the prompt's own place on the curve in place of its code, ``[prompt]``.
    distance : Tensor
        How far the activation is from the curve, ``[prompt]``, in gaps between neighbouring values.
    """

    code: torch.Tensor
    curve: torch.Tensor
    distance: torch.Tensor


def own(answers: Answers, manifold: Manifold, base: torch.Tensor) -> Own:
    """Replace each prompt's code by itself, and by the nearest place of the curve."""
    unedited = answers.unedited().double()
    places, distance = manifold.nearest(base.double())
    ways = {"code": base.double(), "curve": manifold.decode(places)}
    costs = {}
    for name, points in ways.items():
        several = answers.under(lambda some: Replace(some, manifold.subspace), points).double()
        costs[name] = bhattacharyya(several.diagonal(dim1=0, dim2=1).T, unedited)
    return Own(costs["code"], costs["curve"], distance)
