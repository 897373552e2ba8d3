"""Pullback through a model: the path of activations whose answers follow the manifold of behaviour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from steerlab.bases import Manifold, Subspace
from steerlab.bases.paths import Path
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.numerics.behaviour import Behaviour
from steerlab.numerics.pullback import Pursuit, Search, agreement, settled, to_polyline

Read = Callable[[torch.Tensor], torch.Tensor]
_FINE = 200  # points of the manifold's stretch between two values, which distances are taken from


@dataclass(frozen=True)
class Pulling:
    """How a path is pulled back (the numbers of arXiv 2605.05115).

    Parameters
    ----------
    free : int
        Components that may change; what is in the others, and outside of them, stays each prompt's own.
    waypoints : int
        Of the path of behaviour that is followed.
    search : Search
        How it is looked for.
    piece : int
        Rounds that are kept together in a run that can be gone on with. L-BFGS forgets its past between
        pieces (our own choice: what it remembers need not be kept).
    """

    free: int = 32
    waypoints: int = 20
    search: Search = field(default_factory=Search)
    piece: int = 5


@dataclass(frozen=True, eq=False)
class Pullback:
    """A path that was pulled back, and how it lies to the manifold of activations that it knew nothing of.

    Attributes
    ----------
    path : Path
        Waypoints ``[waypoint, dim]``, and as its basis the components that were free: steer with
        ``Replace(path.points[k], path.basis)``.
    losses : Tensor
        At the start, which is the chord, and after every round, ``[round + 1]``.
    agreement, chord : float
        ``R^2`` of the path with the manifold's stretch between the two values, and the same of the chord.
    length : float
        Length of the path over that of the manifold's stretch.
    distance, chord_distance : float
        Mean distance of the waypoints from the stretch, and of the chord's, in gaps between neighbouring
        values.
    """

    path: Path
    losses: torch.Tensor
    agreement: float
    chord: float
    length: float
    distance: float
    chord_distance: float


def free_components(manifold: Manifold, count: int) -> Subspace:
    """The first components of a manifold as a basis: what points of a pullback replace in an activation."""
    if not 2 <= count <= len(manifold.frame):
        raise SteerlabError(f"free={count}: this manifold has {len(manifold.frame)} components, from 2 on")
    return Subspace(manifold.frame[:count], manifold.mean)


def pulled_back(
    read: Read,
    manifold: Manifold,
    *,
    behaviour: Behaviour,
    ends: tuple[int, int],
    pulling: Pulling | None = None,
) -> Pullback:
    """Optimise a path of activations until what a model answers follows the manifold of behaviour.

    The converse of steering along the manifold of activations (arXiv 2605.05115): if the path that is found
    lies on it, its shape is what the behaviour asks for. Work is kept piece by piece in a run that can be
    gone on with.

    Parameters
    ----------
    read : callable
        From activations ``[waypoint, dim]``, of which the free components count, to distributions
        ``[waypoint, prompt, outcome]``, with gradients: `Answers` with the basis `free_components`, on
        prompts whose answer is the first of the two values.
    manifold : Manifold
        Of activations; it gives the components and the two values' means, and is compared with.
    behaviour : Behaviour
        Of the same values.
    ends : tuple of int
        The numbers of the two values.
    pulling : Pulling, optional
        How it is done.
    """
    from tqdm.auto import tqdm

    pulling = pulling or Pulling()
    basis = free_components(manifold, pulling.free)
    frame, (start, end) = (
        manifold.frame[: pulling.free],
        (manifold.values[one, : pulling.free] for one in ends),
    )
    wanted = behaviour.geodesic(*ends, pulling.waypoints)
    pursuit = Pursuit(
        lambda z: read(z @ frame.to(z) + manifold.mean.to(z)), wanted, start, end, pulling.search
    )
    controls, losses = pursuit.chord(), []
    asked = f"pullback {ends} of {pulling} on {len(manifold.knots)} values"
    bar = tqdm(total=pulling.search.rounds, desc=f"pullback {ends}", unit="round", disable=None, leave=False)
    with bar:
        for done in range(0, pulling.search.rounds, pulling.piece):
            count = min(pulling.piece, pulling.search.rounds - done)
            controls, found = _piece(pursuit, controls, count, f"{asked}, from round {done}")
            losses += found if not losses else found[1:]
            bar.update(len(found) - 1)
            bar.set_postfix(loss=f"{losses[-1]:.3g}")
            if len(losses) > 1 and settled(losses, pulling.search.tolerance):
                break
    t = torch.linspace(0, 1, pulling.waypoints, dtype=torch.float64)
    points = pursuit.points(controls)
    path = Path(points @ frame + manifold.mean, t, basis)
    return _measured(path, points, pursuit.chord(pulling.waypoints), (manifold, ends, torch.tensor(losses)))


def _piece(
    pursuit: Pursuit, controls: torch.Tensor, count: int, asked: str
) -> tuple[torch.Tensor, list[float]]:
    """Some rounds, or what they gave before: the controls, and the losses before and after every round."""

    def compute() -> torch.Tensor:
        found, losses = pursuit.rounds(controls, count)
        return torch.cat([found.flatten(), losses.to(found)])

    values = kept(asked, compute).to(controls)
    return values[: controls.numel()].view_as(controls), values[controls.numel() :].tolist()


def _measured(
    path: Path,
    points: torch.Tensor,
    chord: torch.Tensor,
    known: tuple[Manifold, tuple[int, int], torch.Tensor],
) -> Pullback:
    manifold, (first, last), losses = known
    t = torch.linspace(0, 1, _FINE, dtype=torch.float64)[:, None]
    places = manifold.place(first) + t * manifold.shift(first, last)
    line = manifold.surface.at(places)[:, : points.shape[1]]
    length, whole = (float(one.diff(dim=0).norm(dim=-1).sum()) for one in (points, line))
    apart = [float(to_polyline(one, line).mean()) / manifold.gap for one in (points, chord)]
    return Pullback(path, losses, agreement(points, line), agreement(chord, line), length / whole, *apart)
