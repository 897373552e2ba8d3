"""Pullback: the path of activations whose behaviour follows a wanted one, found by optimisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from steerlab.numerics.simplex import roots
from steerlab.numerics.splines import Spline


@dataclass(frozen=True)
class Search:
    """How a path is looked for (the numbers of arXiv 2605.05115).

    Parameters
    ----------
    controls : int
        Free vectors that a natural cubic spline runs through.
    weight : float
        Of the penalty that keeps the norm between those of the ends; 0 for days of the week, 5e-4 for months.
    rounds, inner : int
        Rounds of L-BFGS, and iterations in each.
    tolerance : float
        A round that changes the loss by less of itself is the last.
    """

    controls: int = 10
    weight: float = 0.0
    rounds: int = 50
    inner: int = 5
    tolerance: float = 1e-3


@dataclass(frozen=True, eq=False)
class Pulled:
    """A path found by optimisation.

    Attributes
    ----------
    points : Tensor
        ``[waypoint, dim]``.
    controls : Tensor
        The vectors that its spline runs through, ``[control, dim]``.
    losses : Tensor
        At the start and after every round, ``[round + 1]``.
    """

    points: torch.Tensor
    controls: torch.Tensor
    losses: torch.Tensor


@dataclass(frozen=True, eq=False)
class Pursuit:
    """The question of a pullback: points of activation space, read as behaviour, should follow a wanted path.

    Parameters
    ----------
    read : callable
        From points ``[waypoint, dim]`` of the path to behaviour ``[waypoint, prompt, outcome]``, with
        gradients: the caller writes the points into the activations of some prompts and runs the rest.
    wanted : Tensor
        ``q``, ``[waypoint, outcome]``; the paper takes 20 at equal fractions of the behaviour manifold.
    start, end : Tensor
        Where the first chord begins and ends, ``[dim]``; free afterwards.
    search : Search
        How it is looked for.
    """

    read: Callable[[torch.Tensor], torch.Tensor]
    wanted: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor
    search: Search = field(default_factory=Search)
    matrix: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.search.controls < 2 or len(self.wanted) < 2:
            raise ValueError("a path has two controls or more, and two waypoints or more")
        lines = [
            torch.linspace(0, 1, n, dtype=torch.float64) for n in (self.search.controls, len(self.wanted))
        ]
        object.__setattr__(self, "matrix", Spline(lines[0]).matrix(lines[1]).to(self.start))

    def chord(self, count: int | None = None) -> torch.Tensor:
        """Points ``[count, dim]`` equally far apart on the straight line; one a control by default."""
        s = torch.linspace(0, 1, count or self.search.controls, dtype=torch.float64)[:, None].to(self.start)
        return ((1 - s) * self.start + s * self.end).detach()

    def points(self, controls: torch.Tensor) -> torch.Tensor:
        """The path ``[waypoint, dim]`` through controls ``[control, dim]``, a constant matrix on them."""
        return self.matrix @ controls

    def loss(self, controls: torch.Tensor) -> torch.Tensor:
        """``sum_k mean_n d_H^2(read(pi(t_k))_n, q_k) + weight mean_k (|pi(t_k)| - lerp(|a|, |b|))^2``."""
        points = self.points(controls)
        targets = roots(self.wanted)[:, None].to(points)
        apart = (roots(self.read(points)).to(points) - targets).square().sum(-1) / 2
        total = apart.mean(-1).sum()
        if not self.search.weight:
            return total
        t = torch.linspace(0, 1, len(points), dtype=torch.float64).to(points)
        lengths = (1 - t) * self.start.norm() + t * self.end.norm()
        return total + self.search.weight * (points.norm(dim=-1) - lengths).square().mean()

    def rounds(self, controls: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Some rounds of L-BFGS with strong Wolfe conditions from given controls, which stay as they are.

        What L-BFGS remembers begins anew, so that a search can be cut into pieces and taken up again.

        Returns
        -------
        controls : Tensor
            ``[control, dim]``.
        losses : Tensor
            Before and after every round, ``[round + 1]``, fewer rounds where the tolerance is reached.
        """
        controls = controls.detach().clone().requires_grad_()
        optimiser = torch.optim.LBFGS(
            [controls],
            lr=1.0,
            max_iter=self.search.inner,
            line_search_fn="strong_wolfe",
            tolerance_change=0.0,
        )

        def closure() -> torch.Tensor:
            value = self.loss(controls)
            (controls.grad,) = torch.autograd.grad(value, controls)
            return value

        with torch.enable_grad():
            losses = [float(self.loss(controls).detach())]
            for _ in range(count):
                optimiser.step(closure)
                losses.append(float(self.loss(controls).detach()))
                if settled(losses, self.search.tolerance):
                    break
        return controls.detach(), torch.tensor(losses, dtype=torch.float64)


def settled(losses: Sequence[float], tolerance: float) -> bool:
    """Whether the last round changed the loss by less than a share of itself."""
    return abs(losses[-2] - losses[-1]) < tolerance * max(abs(losses[-2]), 1e-12)


def pullback(
    read: Callable[[torch.Tensor], torch.Tensor],
    wanted: torch.Tensor,
    *,
    start: torch.Tensor,
    end: torch.Tensor,
    search: Search | None = None,
) -> Pulled:
    """Find activations whose behaviour follows a path of distributions (arXiv 2605.05115).

    The loss of `Pursuit` over the control vectors of the path, from the chord on, in one piece.

    Parameters
    ----------
    read, wanted, start, end : callable and Tensor
        As for `Pursuit`.
    search : Search, optional
        How it is looked for.
    """
    pursuit = Pursuit(read, wanted, start, end, search or Search())
    controls, losses = pursuit.rounds(pursuit.chord(), pursuit.search.rounds)
    return Pulled(pursuit.points(controls), controls, losses)


def to_polyline(points: torch.Tensor, line: torch.Tensor) -> torch.Tensor:
    """Distance of points ``[point, dim]`` from the segments of a line ``[vertex, dim]``: ``[point]``."""
    steps = line.diff(dim=0)
    apart = points[:, None] - line[:-1]
    squared = steps.square().sum(-1)
    t = ((apart * steps).sum(-1) / squared.clamp_min(torch.finfo(line.dtype).tiny)).clamp(0, 1)
    return (apart - t[..., None] * steps).norm(dim=-1).amin(-1)


def agreement(points: torch.Tensor, line: torch.Tensor, *, variance: float = 0.99) -> float:
    """How much of a path's own spread a line explains, ``R^2 = 1 - RSS / TSS`` in [0, 1] (arXiv 2605.05115).

    Both are projected on the directions that hold 99 % of the line's variance around its mean. RSS is of the
    distances from the line's segments, TSS of those from the mean of the path itself.

    Parameters
    ----------
    points : Tensor
        A path found by `pullback`, or its chord as the baseline, ``[waypoint, dim]``.
    line : Tensor
        Points of the activation manifold between the same two values, close together, ``[vertex, dim]``.
    variance : float
        The share.
    """
    line, points = line.double(), points.double()
    mean = line.mean(0)
    _, s, vh = torch.linalg.svd(line - mean, full_matrices=False)
    share = s.square().cumsum(0) / s.square().sum()
    kept = vh[: int((share < variance).sum()) + 1]
    seen, drawn = (points - mean) @ kept.T, (line - mean) @ kept.T
    total = (seen - seen.mean(0)).square().sum()
    left = to_polyline(seen, drawn).square().sum()
    return float((1 - left / total).clamp(0, 1))
