"""Coordinates that values have by themselves: angles of a ring, positions along components, either way up."""

from __future__ import annotations

import math

import torch

TURN = 2 * math.pi
ALIKE, ENOUGH = 0.45, 0.10  # how little two variances of a ring differ, and what share of all each has


def angles(planar: torch.Tensor) -> torch.Tensor:
    """Angles ``[value]`` in [0, 2 pi) of values ``[value, 2]`` around their mean, labels ascending.

    Each coordinate less its mean and over its standard deviation, then ``atan2``: the rule of the code of
    arXiv 2605.05115, whose text leaves out mean and deviation. The sign of a principal component says
    nothing, so the direction is chosen in which the labels ascend (`ascending`; our own definition).
    """
    centred = planar.double() - planar.double().mean(0)
    spread = centred.std(0)
    if not bool((spread > 0).all()):
        raise ValueError("values that do not differ along two components have no angle")
    x, y = (centred / spread).unbind(-1)
    return torch.remainder(ascending(torch.atan2(y, x), TURN), TURN)


def ascending(line: torch.Tensor, period: float | None = None) -> torch.Tensor:
    """``line`` or ``-line``, ``[value]``, whichever ascends with the labels.

    With a period by the median of the steps, each the short way round and the last label followed by the
    first; without one by the covariance with the labels' numbers (our own definition).
    """
    if period is None:
        numbers = torch.arange(len(line), dtype=torch.float64, device=line.device)
        upward = (line.double() * (numbers - numbers.mean())).sum()
    else:
        steps = torch.remainder(line.roll(-1) - line + period / 2, period) - period / 2
        upward = steps.double().quantile(0.5)  # between the two middle ones, unlike torch's own median
    return -line if float(upward) < 0 else line


def suggested(centroids: torch.Tensor, *, axes: int = 1) -> tuple[torch.Tensor, tuple[float | None, ...]]:
    """Coordinates for values of which nothing is known but where they lie.

    Among the first ``2 * axes`` principal components of the values, two whose variances differ by less than
    45 % of the larger, each with 10 % of all variance or more, make a ring: their angle is a coordinate of
    period 2 pi. What is left are positions along the leading components (the rule of the code of
    arXiv 2605.05115; that pairs are taken in order of variance, one an axis, is our own).

    Parameters
    ----------
    centroids : Tensor
        ``[value, dim]``, in the order of the labels.
    axes : int
        How many coordinates.

    Returns
    -------
    coordinates : Tensor
        ``[value, axis]``, rings first.
    periods : tuple of (float or None)
        One an axis.
    """
    centred = centroids.double() - centroids.double().mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    variance = s.square()
    places, share = u * s, variance / variance.sum()
    free = list(range(min(2 * axes, len(s))))
    if len(free) < axes or not float(variance.sum()) > 0:
        raise ValueError(f"values {list(centroids.shape)} do not differ enough for {axes} coordinates")
    rings: list[torch.Tensor] = []
    while len(rings) < axes:
        pair = next((p for p in _pairs(free) if _ring(share, *p)), None)
        if pair is None:
            break
        rings.append(angles(places[:, pair]))
        free = [c for c in free if c not in pair]
    lines = [ascending(places[:, c]) for c in free[: axes - len(rings)]]
    if len(rings) + len(lines) < axes:
        raise ValueError(f"values {list(centroids.shape)} do not differ enough for {axes} coordinates")
    periods = (TURN,) * len(rings) + (None,) * len(lines)
    return torch.stack(rings + lines, dim=-1), periods


def between_share(x: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the variance of samples ``[sample, dim]`` that lies between the means of labels ``[sample]``.

    In [0, 1]; below a half the space shows something else than the labels (our own bound).
    """
    wide = x.double() - x.double().mean(0)
    means = torch.stack([wide[labels == one].mean(0) for one in labels.unique()])
    counts = torch.stack([(labels == one).sum() for one in labels.unique()]).double()
    return float((counts[:, None] * means.square()).sum() / wide.square().sum())


def _pairs(free: list[int]) -> list[list[int]]:
    return [[i, j] for n, i in enumerate(free) for j in free[n + 1 :]]


def _ring(share: torch.Tensor, i: int, j: int) -> bool:
    first, second = float(share[i]), float(share[j])
    larger = max(first, second)
    return min(first, second) >= ENOUGH and abs(first - second) / larger < ALIKE
