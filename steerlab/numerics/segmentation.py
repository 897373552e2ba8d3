"""Contiguous phases of a sequence: the best cuts of a table of dissimilarities, and what chance cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

OBJECTIVES = ("sum", "mean")


@dataclass(frozen=True)
class Segmentation:
    """Where a sequence is cut, and what it costs.

    Attributes
    ----------
    cuts : tuple of int
        The first place of every segment but the first: ``(7, 10)`` parts 12 layers into 1 to 7, 8 to 10 and
        11 to 12, counted from 1.
    cost : float
        Sum of the costs of the segments.
    """

    cuts: tuple[int, ...]
    cost: float


def segment_costs(dissimilarity: torch.Tensor, *, objective: str = "sum") -> torch.Tensor:
    """The cost of every segment ``[a, b)`` as a table ``[n + 1, n + 1]``, from a table ``[n, n]`` of pairs.

    ``"sum"``: ``c(a, b) = sum_{a <= l < m < b} W_lm``, whose minimum is the maximal weighted cut of arXiv
    2512.19941; it is biased to segments of equal length. ``"mean"``: ``2 c / (b - a - 1)``, the length times
    the mean dissimilarity of a pair, and 0 for a single place (our own definition).
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective={objective!r} is not one of {', '.join(OBJECTIVES)}")
    count = len(dissimilarity)
    if dissimilarity.shape != (count, count):
        raise ValueError(f"dissimilarities are a square table, not {list(dissimilarity.shape)}")
    total = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    total[1:, 1:] = dissimilarity.double().cpu().triu(1).cumsum(0).cumsum(1)  # sums over leading corners
    edge = torch.arange(count + 1)
    own = total.diagonal()
    costs = own[None, :] - total[edge][:, edge] - total.T[edge][:, edge] + own[:, None]
    costs = costs.triu()
    if objective == "mean":
        length = edge[None, :] - edge[:, None]
        costs = torch.where(length > 1, 2 * costs / (length - 1).clamp_min(1), 0.0)
    return costs


def best_segments(costs: torch.Tensor, count: int, *, least: int = 1) -> Segmentation:
    """The cheapest way to part a sequence into `count` segments, by dynamic programming.

    ``F_k(b) = min_a F_{k-1}(a) + c(a, b)`` over a table of costs ``[n + 1, n + 1]`` of segments ``[a, b)``:
    that of `segment_costs`, or the errors of one shared map a segment (the functional criterion, our own
    definition). Of equal costs the earlier cut is taken.

    Parameters
    ----------
    costs : Tensor
        ``[n + 1, n + 1]``; only entries above the diagonal are looked at.
    count : int
        Segments.
    least : int
        Shortest segment.
    """
    table = costs.double().cpu()
    n = len(table) - 1
    if not 1 <= count * least <= n:
        raise ValueError(f"{n} places do not part into {count} segments of {least} or more")
    best = table[0].clone()
    best[:least] = torch.inf
    before: list[list[int]] = []
    for _ in range(count - 1):
        reach = best[:, None] + table
        length = torch.arange(n + 1)[None, :] - torch.arange(n + 1)[:, None]
        reach[length < least] = torch.inf
        best, last = reach.min(0)
        before.append(last.tolist())
    cuts, end = [], n
    for last in reversed(before):
        end = last[end]
        cuts.append(end)
    return Segmentation(tuple(reversed(cuts)), float(best[n]))


def cost_of(costs: torch.Tensor, cuts: Sequence[int]) -> float:
    """What given cuts cost."""
    edges = (0, *cuts, len(costs) - 1)
    return float(sum(costs[a, b] for a, b in zip(edges, edges[1:], strict=False)))


def equal_cuts(n: int, count: int) -> tuple[int, ...]:
    """Cuts into `count` segments whose lengths differ by one at most."""
    return tuple(round(n * i / count) for i in range(1, count))


def margin(costs: torch.Tensor, count: int) -> float:
    """How much cheaper the best cuts are than equal ones, as a part of the cost of not cutting.

    0 where equal cuts are as good as any; our own definition.
    """
    whole = float(costs[0, -1])
    best = best_segments(costs, count).cost
    return (cost_of(costs, equal_cuts(len(costs) - 1, count)) - best) / whole if whole else 0.0


def shuffled_increments(states: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """States ``[state, ..., dim]`` with the steps between them in another order: a null without phases.

    The first and the last state stay where they are (to rounding), and so does every step's length.
    """
    steps = states.diff(dim=0)
    order = torch.randperm(len(steps), generator=generator).to(steps.device)
    return torch.cat([states[:1], states[:1] + steps[order].cumsum(0)])


def smooth_drift(dissimilarity: torch.Tensor) -> torch.Tensor:
    """``W_lm = g(|l - m|)`` with the means along the diagonals of ``[n, n]``: a null that only drifts."""
    count = len(dissimilarity)
    means = torch.stack([dissimilarity.diagonal(k).double().mean() for k in range(count)])
    gap = torch.arange(count, device=means.device)
    return means[(gap[:, None] - gap[None, :]).abs()]
