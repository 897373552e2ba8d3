"""A fitted manifold: the curve or surface on which the values of a concept lie, as coordinates for edits."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from steerlab.bases.base import Basis
from steerlab.bases.linear import Subspace, finite
from steerlab.bases.paths import MODES, Path
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.numerics.charts import Chart
from steerlab.numerics.copies import Copies
from steerlab.numerics.surfaces import Surface, flat
from steerlab.sites import Site

Place = str | int | float | torch.Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Manifold(Basis):
    """The activation manifold of a concept (arXiv 2605.05115): ``mu + B s(u)`` through the values' means.

    ``B`` are principal components, ``s`` a spline or thin plate over the values' own coordinates. As a basis
    its code is an activation's own coordinates, ``[..., axis]``: those of the nearest point of the manifold.
    An edit then writes ``x + B[s(u') - s(u)]``: what is off the manifold is kept, also inside the components
    (our own definition). The paper's steering replaces everything inside the components, which is
    ``Replace(manifold.point(value), manifold.subspace)``.

    Parameters
    ----------
    mean : Tensor
        ``mu``, ``[dim]``.
    frame : Tensor
        ``B`` as orthonormal rows, ``[component, dim]``.
    centroids : Tensor
        Mean activation of each value, ``[value, dim]``.
    knots : Tensor
        Coordinates of the values, ``[value, axis]``.
    periods : sequence of (float or None)
        The period of each axis; None for an axis that does not close.
    smooth : float
        0 goes through the centroids.
    weights : Tensor, optional
        How much each value counts in smoothing, ``[value]``.
    names : sequence of str
        What the values are called; empty for their numbers.
    facts : dict
        What is known of the fit, as plain numbers and texts: ``site``, ``model``, ``coords``.
    """

    mean: torch.Tensor
    frame: torch.Tensor
    centroids: torch.Tensor
    knots: torch.Tensor
    periods: tuple[float | None, ...]
    smooth: float = 0.0
    weights: torch.Tensor | None = None
    names: tuple[str, ...] = ()
    facts: dict[str, str | float] = field(default_factory=dict)
    chart: Chart = field(init=False)
    surface: Surface = field(init=False)
    copies: Copies = field(init=False)

    def __post_init__(self) -> None:
        for name in ("mean", "frame", "centroids", "knots"):
            given = finite(torch.as_tensor(getattr(self, name)), f"Manifold: the {name}")
            object.__setattr__(self, name, given.detach().double().cpu())
        count, width = self.centroids.shape
        if self.frame.shape[1:] != (width,) or self.mean.shape != (width,) or len(self.knots) != count:
            raise SteerlabError(
                f"Manifold: mean {list(self.mean.shape)}, frame {list(self.frame.shape)}, centroids "
                f"{list(self.centroids.shape)} and knots {list(self.knots.shape)} do not belong together"
            )
        if "kind" in self.facts:
            raise SteerlabError("Manifold: a fact cannot be called 'kind', which in a file names the class")
        if len(self.names) not in (0, count):
            raise SteerlabError(f"Manifold: {len(self.names)} names for {count} values")
        object.__setattr__(self, "periods", tuple(self.periods))
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        try:
            chart = Chart(self.knots, self.periods, self.smooth, self.weights)
        except ValueError as fault:
            raise SteerlabError(f"Manifold: {fault}") from None
        object.__setattr__(self, "chart", chart)
        object.__setattr__(self, "surface", flat(chart, self.values))
        object.__setattr__(self, "copies", Copies(self.mean, self.frame))

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.frame.shape[1]

    @property
    def atoms(self) -> torch.Tensor:
        """Direction of each coordinate at the first value, ``[axis, dim]``; a curve has no other one."""
        return self.chart.slopes(self.chart.knots[0]) @ self.values @ self.frame

    @property
    def site(self) -> Site | None:
        """Where the manifold was fitted, if that is known."""
        return Site.parse(str(self.facts["site"])) if "site" in self.facts else None

    @property
    def values(self) -> torch.Tensor:
        """The values' means in components, ``B (c_i - mu)``, ``[value, component]``."""
        return (self.centroids - self.mean) @ self.frame.T

    @property
    def subspace(self) -> Subspace:
        """The components alone, as a basis: what the paper's steering replaces."""
        return Subspace(self.frame, self.mean)

    @property
    def gap(self) -> float:
        """Mean distance from a value to the next one of the labels' order, in activation space."""
        closes = all(period is not None for period in self.periods)
        values = torch.cat([self.values, self.values[:1]]) if closes else self.values
        return float(values.diff(dim=0).norm(dim=-1).mean())

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Own coordinates ``[..., axis]``: those of the nearest point of the manifold."""
        self.check(x)
        mean, frame = self.copies.near(x)
        return self.surface.nearest((x - mean) @ frame.T)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Points ``[..., dim]`` of the manifold at coordinates ``[..., axis]``."""
        mean, frame = self.copies.near(z)
        return self.surface.at(z) @ frame + mean

    at = decode

    def place(self, value: Place) -> torch.Tensor:
        """Coordinates ``[axis]`` of a value by name or whole number; floats are coordinates."""
        if isinstance(value, str):
            if value not in self.names:
                near = nearest(value, self.names)
                raise SteerlabError(f"no value {value!r}{near} (known: {listing(self.names)})")
            return self.chart.knots[self.names.index(value)]
        dtype = torch.float64 if isinstance(value, float) else None
        place = torch.as_tensor(value, dtype=dtype).detach()
        if place.ndim == 0 and not place.is_floating_point():
            last = len(self.knots) - 1
            if not 0 <= int(place) <= last:
                raise SteerlabError(f"value {int(place)}: this manifold has values 0 to {last}")
            return self.chart.knots[int(place)]
        place = torch.atleast_1d(place.double())
        if place.shape != (self.chart.axes,):
            raise SteerlabError(f"a place has {self.chart.axes} coordinates, not {list(place.shape)}")
        return place

    def point(self, value: Place) -> torch.Tensor:
        """The manifold's point ``[dim]`` at a value; with smoothing it is not quite the value's mean."""
        return self.decode(self.place(value))

    def shift(self, start: Place, end: Place) -> torch.Tensor:
        """The way from one value to another, ``[axis]``, the short way round where an axis closes."""
        return self.chart.shift(self.place(start), self.place(end))

    def nearest(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nearest point of the manifold to activations ``[..., dim]``.

        Returns
        -------
        coordinates : Tensor
            ``[..., axis]``.
        distance : Tensor
            How far off the activation is, ``[...]``, in units of `gap`: an activation far off that is
            steered by replacement is the usual silent failure.
        """
        u = self.encode(x)
        return u, (x - self.decode(u)).norm(dim=-1) / self.gap

    def arc_length(self, start: Place, end: Place) -> float:
        """Length of the manifold between two values, the short way, in activation units."""
        return float(self.surface.arc_length(self.place(start), self.shift(start, end)))

    def path(
        self,
        start: Place,
        end: Place,
        *,
        count: int = 50,
        mode: str = "manifold",
        span: tuple[float, float] = (0.0, 1.0),
    ) -> Path:
        """Waypoints from one value to another; see `steerlab.bases.paths.MODES` for the modes.

        Parameters
        ----------
        start, end : str, int, float or Tensor
            Values by name or number, or coordinates; the linear modes go between values' means.
        count : int
            How many waypoints, equally far apart in the coordinate.
        mode : str
            ``"manifold"``, ``"linear"``, or ``"linear_subspace"``, the fair baseline.
        span : tuple of float
            The first and the last fraction; outside [0, 1] is beyond the values.
        """
        if mode not in MODES:
            raise SteerlabError(f"mode={mode!r}{nearest(mode, MODES)} (known: {listing(list(MODES))})")
        if count < 2:
            raise SteerlabError(f"count={count}: a path has two waypoints or more")
        t = torch.linspace(*span, count, dtype=torch.float64)[:, None]
        return MODES[mode](self, t, self.place(start), self.place(end))

    def __repr__(self) -> str:
        form = {1: "curve", 2: "surface"}.get(self.chart.axes, "manifold")
        closed = " closed" if all(period is not None for period in self.periods) else ""
        return f"Manifold({len(self.knots)} values,{closed} {form}, dim={self.dim})"
