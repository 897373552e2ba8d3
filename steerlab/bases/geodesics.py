"""Geodesics as ways of steering: shortest paths where density or behaviour stretches space."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from steerlab.bases.linear import Subspace, finite
from steerlab.bases.manifold import Manifold, Place
from steerlab.bases.paths import Path
from steerlab.errors import SteerlabError
from steerlab.numerics.behaviour import Behaviour
from steerlab.numerics.conformal import Conformal, calibrated, midpoints
from steerlab.numerics.geodesics import Descent, Metric, evenly, geodesic
from steerlab.numerics.mixtures import kernel_density

MOST = 32  # components in which a density still says something


def density_metric(
    manifold: Manifold, activations: torch.Tensor, *, kind: str = "inverse_density", components: int = 16
) -> Conformal:
    """A metric that is 1 where activations are and large where there are none (arXiv 2505.18230).

    The density is of kernels on the activations, in the manifold's first components; it is calibrated on
    them and on midpoints of random pairs. That activations of a language model are steered along its
    geodesics is our own use.

    Parameters
    ----------
    manifold : Manifold
        Its components.
    activations : Tensor
        ``[sample, dim]``.
    kind : str
        ``"inverse_density"`` or ``"energy"``, as for `Conformal`.
    components : int
        How many; up to 32, since densities say nothing in wide spaces.
    """
    z = _codes(manifold, activations, components)
    if len(z) < 3:
        raise SteerlabError(f"a density of {len(z)} activations says nothing: give some for every value")
    try:
        return calibrated(kernel_density(z), on=z, off=midpoints(z), kind=kind)
    except ValueError as fault:
        raise SteerlabError(f"density_metric: {fault}") from None


def behaviour_metric(
    manifold: Manifold,
    activations: torch.Tensor,
    *,
    read: Callable[[torch.Tensor], torch.Tensor],
    behaviour: Behaviour,
    components: int = 16,
) -> Conformal:
    """A metric that is 1 where behaviour is natural and large where it is not (our own definition).

    The energy of a place is the mean Bhattacharyya distance of what is read there to the manifold of
    behaviour (arXiv 2605.05115), used as the energy of arXiv 2505.18230 and calibrated as the density is.

    Parameters
    ----------
    manifold : Manifold
        Its components.
    activations : Tensor
        ``[sample, dim]``, on which the metric is 1.
    read : callable
        From activations ``[row, dim]``, of which the components count, to distributions ``[row, outcome]`` or
        ``[row, prompt, outcome]``, with gradients.
    behaviour : Behaviour
        Of the same outcomes.
    components : int
        How many; up to 32.
    """
    z = _codes(manifold, activations, components)
    frame = manifold.frame[:components]

    def unnatural(places: torch.Tensor) -> torch.Tensor:
        rows = places.reshape(-1, places.shape[-1])
        p = read(rows @ frame.to(rows) + manifold.mean.to(rows))
        apart = behaviour.nearest(p.to(rows))[1]
        return (apart if apart.ndim == 1 else apart.mean(-1)).reshape(places.shape[:-1])

    try:
        return calibrated(unnatural, on=z, off=midpoints(z, count=max(len(z), 32)), kind="energy")
    except ValueError as fault:
        raise SteerlabError(f"behaviour_metric: {fault}") from None


def geodesic_path(
    manifold: Manifold,
    metric: Metric,
    *,
    ends: Sequence[Place],
    components: int = 16,
    descent: Descent | None = None,
) -> Path:
    """The shortest way between two values under a metric, as waypoints that steer.

    Between the two values' means in the manifold's first components; `Replace(path.points[k], path.basis)`
    then writes a waypoint and keeps the rest of the activation, as along the manifold itself. The waypoints
    are equally far apart in space, not in Riemannian time, so that they can be compared with a spline's
    (our own choice).

    Parameters
    ----------
    manifold : Manifold
        Its components and its values.
    metric : callable
        The factor ``[...]`` at places ``[..., component]``: `density_metric`, `behaviour_metric`, or any.
    ends : sequence of str, int, float or Tensor
        Two values, by name or number, or places.
    components : int
        As many as the metric has.
    descent : Descent, optional
        How it is looked for, and by `points` how many waypoints there are.
    """
    first, last = (_codes(manifold, manifold.point(end)[None], components)[0] for end in ends)
    try:
        found = geodesic(metric, first, last, descent=descent)
    except ValueError as fault:
        raise SteerlabError(f"geodesic_path: {fault}") from None
    frame, points = manifold.frame[:components], evenly(found.points, len(found.points))
    t = torch.linspace(0, 1, len(points), dtype=torch.float64)
    return Path(points @ frame + manifold.mean, t, Subspace(frame, manifold.mean))


def _codes(manifold: Manifold, x: torch.Tensor, components: int) -> torch.Tensor:
    """First components ``[sample, component]`` of activations ``[sample, dim]``."""
    most = min(MOST, len(manifold.frame))
    if not 1 <= components <= most:
        raise SteerlabError(f"components={components}: this manifold takes 1 to {most} of them here")
    x = finite(torch.as_tensor(x), "the activations").detach().double().cpu()
    if x.ndim != 2 or x.shape[1] != manifold.dim:
        raise SteerlabError(f"activations {list(x.shape)} are not [sample, {manifold.dim}]")
    return (x - manifold.mean) @ manifold.frame[:components].T
