"""A number's Fourier features as coordinates: what linear probes for waves of some periods say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from steerlab.bases.base import Basis
from steerlab.bases.linear import Subspace, finite
from steerlab.errors import SteerlabError, listing
from steerlab.numerics.copies import Copies
from steerlab.numerics.fourier import fit_probes, probe_periods, waves
from steerlab.sites import Site


@dataclass(frozen=True, eq=False, repr=False)
class FourierCode(Basis):
    """Probes of a number's cosine and sine, two for each period (arXiv 2605.01148).

    Coordinates are what the probes say, ``z = W x + b``, ``[..., probe]``; an edit writes ``x + pinv(W)
    (z' - z)``, which sets all of them at once and changes nothing that is orthogonal to them (our own
    definition; where the probes are orthogonal it is what the paper's edits in turn give).

    Parameters
    ----------
    periods : sequence of float
        ``T``; each has a cosine and a sine, but for 2, whose sine is 0 at whole numbers.
    weights : Tensor
        ``W``, ``[probe, dim]``.
    biases : Tensor
        ``b``, ``[probe]``.
    facts : dict
        What is known of the fit, as plain numbers and texts: ``site``.
    """

    periods: tuple[float, ...]
    weights: torch.Tensor
    biases: torch.Tensor
    facts: dict[str, str | float] = field(default_factory=dict)
    copies: Copies = field(init=False)

    def __post_init__(self) -> None:
        try:
            count = len(probe_periods(self.periods))
        except (ValueError, TypeError) as fault:
            raise SteerlabError(f"FourierCode: {fault}") from None
        object.__setattr__(self, "periods", tuple(self.periods))
        for name in ("weights", "biases"):
            given = finite(torch.as_tensor(getattr(self, name)), f"FourierCode: the {name}")
            object.__setattr__(self, name, given.detach().double().cpu())
        if self.weights.ndim != 2 or len(self.weights) != count or self.biases.shape != (count,):
            raise SteerlabError(
                f"FourierCode: periods {list(self.periods)} have {count} probes; weights "
                f"{list(self.weights.shape)} and biases {list(self.biases.shape)} do not fit them"
            )
        if "kind" in self.facts:
            raise SteerlabError("FourierCode: a fact cannot be called 'kind', the class's name in a file")
        if int(torch.linalg.matrix_rank(self.weights)) < count:
            raise SteerlabError(
                f"FourierCode: the {count} probes depend on each other, so they cannot be set one by one; "
                "fit fewer periods, or with more components"
            )
        steps = torch.linalg.pinv(self.weights).T
        object.__setattr__(self, "copies", Copies(self.weights, self.biases, steps))

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.weights.shape[1]

    @property
    def atoms(self) -> torch.Tensor:
        """What one unit of each probe adds to an activation, ``pinv(W)^T``, ``[probe, dim]``."""
        return self.copies.near(self.weights)[2]

    @property
    def site(self) -> Site | None:
        """Where the probes were fitted, if that is known."""
        return Site.parse(str(self.facts["site"])) if "site" in self.facts else None

    @property
    def subspace(self) -> Subspace:
        """The span of the probes: what an interchange exchanges."""
        return Subspace(self.weights.float())

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """What the probes say, ``[..., probe]``."""
        self.check(x)
        weights, biases, _ = self.copies.near(x)
        return x @ weights.T + biases

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """The shortest activations ``[..., dim]`` of which the probes say `z`."""
        _, biases, steps = self.copies.near(z)
        return (z - biases) @ steps

    def only(self, periods: Sequence[float]) -> FourierCode:
        """The probes of some of the periods; an edit of these may change what the others say."""
        unknown = [period for period in periods if period not in self.periods]
        if unknown or not len(periods):
            raise SteerlabError(f"no probes for periods {unknown} (known: {listing(self.periods, 20)})")
        mine = probe_periods(self.periods)
        rows = [i for period in periods for i, own in enumerate(mine) if own == period]
        return FourierCode(tuple(periods), self.weights[rows], self.biases[rows], self.facts)

    def aimed(self, z: torch.Tensor, number: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        """Coordinates ``scale * r (cos, sin)(2 pi n / T)``, ``r`` each plane's own radius in `z`.

        Parameters
        ----------
        z : Tensor
            ``[..., probe]``.
        number : Tensor
            ``n``, a shape that broadcasts to ``[...]``.
        scale : float
            arXiv 2605.01148 takes 10, which is far from any activation; 1 keeps the radius.
        """
        wanted = waves(number.to(z.device), self.periods).to(z)
        return scale * wanted * self._radii(z)

    def turned(self, z: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        """Coordinates of the number `by` further on: each plane turned by ``2 pi by / T``; our own edit.

        Neither a radius nor a scale is needed: 0 is the identity, and turns compose.

        Parameters
        ----------
        z : Tensor
            ``[..., probe]``.
        by : Tensor
            A shape that broadcasts to ``[...]``; whole numbers where 2 is among the periods.
        """
        parts, start = [], 0
        by = by.to(device=z.device, dtype=torch.float64)
        for period in self.periods:
            angle = 2 * math.pi * by / period
            cos, sin = angle.cos().to(z.dtype), angle.sin().to(z.dtype)
            if period == 2:
                parts.append(z[..., start] * cos)
            else:
                x, y = z[..., start], z[..., start + 1]
                parts += [x * cos - y * sin, x * sin + y * cos]
            start += 1 if period == 2 else 2
        return torch.stack(parts, -1)

    def _radii(self, z: torch.Tensor) -> torch.Tensor:
        """The radius of the plane of each probe, ``[..., probe]``."""
        parts, start = [], 0
        for period in self.periods:
            width = 1 if period == 2 else 2
            plane = z[..., start : start + width]
            parts += [plane.norm(dim=-1, keepdim=True).expand_as(plane)]
            start += width
        return torch.cat(parts, -1)

    def __repr__(self) -> str:
        return f"FourierCode(periods={listing(self.periods, 8)}, dim={self.dim})"


def fourier_probes(
    x: torch.Tensor,
    numbers: torch.Tensor,
    periods: Sequence[float],
    *,
    components: int | None = None,
    site: str | Site | None = None,
) -> FourierCode:
    """Fit a `FourierCode` to activations of known numbers, by least squares on centred data in float64.

    Parameters
    ----------
    x : Tensor
        ``[sample, dim]``.
    numbers : Tensor
        Whole numbers ``[sample]``; of an addition the sum.
    periods : sequence of float
        ``T``; arXiv 2605.01148 takes 2, 5, 10, 20, 50 and 100 for additions.
    components : int, optional
        Principal components to which the probes are kept; where samples are fewer than dimensions, probes of
        all directions learn the samples by heart.
    site : optional
        Where `x` was read.

    Examples
    --------
    >>> from steerlab.numerics.fourier import waves
    >>> n = torch.arange(20)
    >>> fourier_probes(waves(n, [5, 10]), n, [5, 10])
    FourierCode(periods=5, 10, dim=4)
    """
    facts = {} if site is None else {"site": str(site)}
    try:
        probes = fit_probes(finite(x, "the activations"), waves(numbers, periods), components=components)
    except ValueError as fault:
        raise SteerlabError(f"fourier_probes: {fault}") from None
    return FourierCode(tuple(periods), probes.weights, probes.biases, facts)
