"""The behaviour manifold: distributions of a concept's values as points of a curve on the sphere of roots."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from steerlab.numerics.charts import Chart
from steerlab.numerics.coordinates import TURN, angles, suggested
from steerlab.numerics.linear import principal_components
from steerlab.numerics.simplex import LEAST_OVERLAP, roots
from steerlab.numerics.surfaces import Surface
from steerlab.numerics.tangents import from_tangent, mean_direction, pushed, to_tangent

COMPONENTS = 3  # of the roots of all samples, in which an angle is looked for


@dataclass(frozen=True, eq=False)
class Behaviour:
    """A spline or thin plate in the tangent space of the sphere of roots, around a base point.

    ``p(v) = exp_b(s(v))^2`` (arXiv 2605.05115): every point of it is a distribution. Between values a root
    may fall a little below 0, so distances are taken from the points of the sphere, as in the paper.

    Parameters
    ----------
    base : Tensor
        Where the tangent space touches, ``[outcome]``, of length 1.
    tangents : Tensor
        The values' mean distributions in the tangent space, ``[value, outcome]``.
    chart : Chart
        The values' own coordinates here; they are not those of the activations.
    """

    base: torch.Tensor
    tangents: torch.Tensor
    chart: Chart
    surface: Surface = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def slopes(v: torch.Tensor) -> torch.Tensor:
            at = (self.chart.matrix(v) @ self.tangents.to(v))[..., None, :]
            return pushed(at, self.chart.slopes(v) @ self.tangents.to(v), self.base.to(v))

        object.__setattr__(self, "surface", Surface(self.chart, self.roots, slopes))

    def roots(self, v: torch.Tensor) -> torch.Tensor:
        """Points ``[..., outcome]`` of the sphere at places ``[..., axis]``."""
        return from_tangent(self.chart.matrix(v) @ self.tangents.to(v), self.base.to(v))

    def distributions(self, v: torch.Tensor) -> torch.Tensor:
        """Distributions ``[..., outcome]`` at places ``[..., axis]``."""
        return self.roots(v).square()

    def nearest(self, p: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearest place to distributions ``[..., outcome]``, and the Bhattacharyya distance to it.

        Returns
        -------
        places : Tensor
            ``[..., axis]``; nearest on the sphere is nearest in every distance between roots.
        distance : Tensor
            ``-log <sqrt p, M(v)>``, ``[...]``, with the inner product in [1e-7, 1].
        """
        points = roots(p)
        places = self.surface.nearest(points)
        return places, _apart(points, self.roots(places))

    def apart(self, p: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Bhattacharyya distance ``[...]`` of distributions from given places."""
        return _apart(roots(p), self.roots(places))

    def places(self, start: int, end: int, fractions: torch.Tensor) -> torch.Tensor:
        """Places at fractions ``[waypoint]`` of the short way from one value to another."""
        first, last = self.chart.knots[start], self.chart.knots[end]
        return first + fractions.double()[:, None] * self.chart.shift(first, last)

    def geodesic(self, start: int, end: int, count: int = 50) -> torch.Tensor:
        """Distributions ``[waypoint, outcome]`` at equal fractions of the way between two values."""
        return self.distributions(self.places(start, end, torch.linspace(0, 1, count)))


def fit_behaviour(
    p: torch.Tensor,
    labels: torch.Tensor,
    *,
    coords: str | torch.Tensor = "angle",
    periods: tuple[float | None, ...] | None = None,
    smooth: float = 0.0,
) -> Behaviour:
    """Fit the behaviour manifold to labelled distributions (arXiv 2605.05115), in float64.

    The base is the normalised mean of the roots of the values' mean distributions; the values go to its
    tangent space by the log map, and a spline or thin plate runs through them there.

    Parameters
    ----------
    p : Tensor
        ``[sample, outcome]``, each of sum 1; the last outcome usually is "something else".
    labels : Tensor
        Numbers of values, ``[sample]``, from 0 on.
    coords : str or Tensor
        ``"angle"``: in the first two of three components of the samples' roots; ``"ordinal"``; ``"auto"``; or
        coordinates ``[value]`` or ``[value, axis]``.
    periods : tuple of (float or None), optional
        Of given or ordinal coordinates, one an axis.
    smooth : float
        0 goes through the values.
    """
    p = p.detach().double().cpu()
    if p.ndim != 2 or bool((p < 0).any()) or float((p.sum(-1) - 1).abs().max()) > 1e-3:
        raise ValueError(f"behaviour {list(p.shape)} is [sample, outcome], each row a distribution of sum 1")
    labels = torch.as_tensor(labels).cpu()
    means = torch.stack([p[labels == one].mean(0) for one in labels.unique()])
    points = roots(means / means.sum(-1, keepdim=True))
    points = points / points.norm(dim=-1, keepdim=True)
    base = mean_direction(points)
    chart = _chart(p, labels, coords, periods, smooth)
    if len(chart.knots) != len(points):
        raise ValueError(f"{len(chart.knots)} coordinates for {len(points)} values")
    return Behaviour(base, to_tangent(points, base), chart)


def _chart(
    p: torch.Tensor,
    labels: torch.Tensor,
    coords: str | torch.Tensor,
    periods: tuple[float | None, ...] | None,
    smooth: float,
) -> Chart:
    if isinstance(coords, str) and coords in ("angle", "auto"):
        samples = roots(p)
        mean, frame, _ = principal_components(samples, min(COMPONENTS, *samples.shape))
        seen = (samples - mean) @ frame.T
        values = torch.stack([seen[labels == one].mean(0) for one in labels.unique()])
        if coords == "angle":
            return Chart(angles(values[:, :2])[:, None], (TURN,), smooth)
        return Chart(*suggested(values), smooth)
    if isinstance(coords, str):
        if coords != "ordinal":
            raise ValueError(f"coords={coords!r}; it is 'angle', 'ordinal', 'auto' or coordinates")
        coords = torch.arange(int(labels.max()) + 1)
    knots = coords[:, None] if coords.ndim == 1 else coords
    return Chart(knots, (None,) * knots.shape[1] if periods is None else periods, smooth)


def _apart(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """``-log <a, b>`` of roots, from their difference, so that small distances keep their digits."""
    half = (first - second).square().sum(-1) / 2
    return -torch.log1p(-half.clamp(max=1 - LEAST_OVERLAP))
