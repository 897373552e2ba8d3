"""Fourier features of numbers: waves of a period, linear probes for them, and their spectrum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

RANK = 1e-10  # singular values below this share of the largest are none


def probe_periods(periods: Sequence[float]) -> tuple[float, ...]:
    """The period of every probe: two of each, cosine and sine, and the cosine alone of period 2.

    Whole numbers have ``sin(pi n) = 0``, so that a probe for it would learn a direction of noise.
    """
    if not len(periods) or len(set(periods)) < len(periods) or not all(p >= 2 for p in periods):
        raise ValueError(f"periods are different numbers of 2 or more, not {list(periods)}")
    return tuple(period for period in periods for _ in range(1 if period == 2 else 2))


def waves(numbers: torch.Tensor, periods: Sequence[float]) -> torch.Tensor:
    """``cos(2 pi n / T)`` and ``sin(2 pi n / T)`` of each period in turn, ``[..., probe]`` in float64.

    Parameters
    ----------
    numbers : Tensor
        ``[...]``; whole ones where 2 is among the periods.
    periods : sequence of float
        ``T``; see `probe_periods` for the order.
    """
    n = torch.as_tensor(numbers).double()
    parts = []
    for period in dict.fromkeys(probe_periods(periods)):
        angle = 2 * math.pi * n / period
        parts += [angle.cos()] if period == 2 else [angle.cos(), angle.sin()]
    return torch.stack(parts, -1)


@dataclass(frozen=True, eq=False)
class Probes:
    """Linear probes for waves: ``w · x + b`` is about the wave.

    Attributes
    ----------
    weights : Tensor
        ``[probe, dim]`` in float64.
    biases : Tensor
        ``[probe]``.
    """

    weights: torch.Tensor
    biases: torch.Tensor


def fit_probes(x: torch.Tensor, targets: torch.Tensor, *, components: int | None = None) -> Probes:
    """Least squares of smallest norm on centred data, in float64.

    Parameters
    ----------
    x : Tensor
        Activations ``[sample, dim]``.
    targets : Tensor
        ``[sample, probe]``.
    components : int, optional
        Principal components of `x` to which the probes are kept; where samples are few, probes of all
        directions fit anything.
    """
    if x.ndim != 2 or targets.ndim != 2 or len(x) != len(targets) or len(x) < 2:
        raise ValueError(f"samples {list(x.shape)} and targets {list(targets.shape)} do not belong together")
    x, y = x.double(), targets.to(x.device).double()
    mean, middle = x.mean(0), y.mean(0)
    u, s, vh = torch.linalg.svd(x - mean, full_matrices=False)
    rank = int((s > RANK * s[0]).sum())
    rank = rank if components is None else min(rank, components)
    if not rank or not bool(s[0] > 0):
        raise ValueError("the samples are all equal: there is nothing that tells numbers apart")
    weights = ((y - middle).T @ u[:, :rank] / s[:rank]) @ vh[:rank]
    return Probes(weights, middle - weights @ mean)


def in_turn(
    x: torch.Tensor, weights: torch.Tensor, biases: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Set one probe after the other, ``x <- x + (t - (w · x + b)) / |w|^2 w`` (arXiv 2605.01148).

    Exact for all of them only where the weights are orthogonal; a later probe else undoes an earlier one.

    Parameters
    ----------
    x : Tensor
        ``[..., dim]``.
    weights, biases : Tensor
        ``[probe, dim]`` and ``[probe]``.
    targets : Tensor
        ``[..., probe]``.
    """
    for weight, bias, target in zip(weights, biases, targets.unbind(-1), strict=True):
        missing = target - (x @ weight + bias)
        x = x + (missing / weight.square().sum())[..., None] * weight
    return x


def carried(written: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    """Share of what each neuron writes that lies in a subspace, ``|S^T w| / |w|`` (arXiv 2605.01148).

    Parameters
    ----------
    written : Tensor
        Directions that neurons write, ``[neuron, dim]``.
    frame : Tensor
        Orthonormal rows, ``[rank, dim]``.

    Returns
    -------
    Tensor
        ``[neuron]`` in [0, 1]; 0 for neurons that write nothing.
    """
    w = written.double()
    return (w @ frame.to(w).T).norm(dim=-1) / w.norm(dim=-1).clamp_min(1e-30)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How much of the wave of each period linear probes explain on numbers that they were not fitted on.

    Attributes
    ----------
    periods : tuple of float
        ``T``.
    share : Tensor
        Held-out ``R2`` of cosine and sine together, ``[period]``; below 0 where the mean is better.
    null : Tensor
        The same where the numbers are shuffled among themselves, ``[shuffle, period]``.
    """

    periods: tuple[float, ...]
    share: torch.Tensor
    null: torch.Tensor

    @property
    def found(self) -> list[float]:
        """Periods whose share is above 0 and above that of every shuffle."""
        above = (self.share > 0) & (self.share > self.null.amax(0))
        return [period for period, on in zip(self.periods, above.tolist(), strict=True) if on]


def spectrum(
    x: torch.Tensor,
    numbers: torch.Tensor,
    periods: Sequence[float] = tuple(range(2, 151)),
    *,
    components: int | None = None,
    folds: int = 5,
    shuffles: int = 5,
) -> Spectrum:
    """The share of every period's wave that probes explain, held out by number.

    Samples of one number are all fitted on or all held out, since probes with few distinct numbers learn
    these by heart. The null shuffles which number is which, so that samples of one number still share a
    wave. Held-out share and null are our own definitions; the probes are those of arXiv 2605.01148.

    Parameters
    ----------
    x : Tensor
        ``[sample, dim]``.
    numbers : Tensor
        Whole numbers ``[sample]``.
    periods : sequence of float
        ``T``.
    components : int, optional
        As in `fit_probes`.
    folds, shuffles : int
        Parts of the numbers, each held out once; shuffles of the null.
    """
    distinct, index = torch.as_tensor(numbers).cpu().unique(return_inverse=True)
    if not 2 <= folds <= len(distinct):
        raise ValueError(f"{len(distinct)} distinct numbers cannot be held out in {folds} parts")
    generator = torch.Generator().manual_seed(0)
    orders = [torch.arange(len(distinct))]
    orders += [torch.randperm(len(distinct), generator=generator) for _ in range(shuffles)]
    targets = torch.stack([waves(distinct[order], periods)[index] for order in orders], 1)
    flat = targets.flatten(1).to(x.device)
    fold = torch.randperm(len(distinct), generator=generator)[index] % folds
    missed = torch.zeros_like(flat)
    for held in range(folds):
        out = (fold == held).to(x.device)
        probes = fit_probes(x[~out], flat[~out], components=components)
        missed[out] = flat[out] - (x[out].double() @ probes.weights.T + probes.biases)
    lost, whole = missed.square().sum(0), (flat - flat.mean(0)).square().sum(0)
    which = torch.tensor([list(periods).index(period) for period in probe_periods(periods)])
    sums = torch.zeros(2, len(orders), len(periods), dtype=torch.float64)
    for part, values in enumerate((lost, whole)):
        sums[part].index_add_(1, which, values.cpu().view(len(orders), -1))
    share = 1 - sums[0] / sums[1].clamp_min(1e-30)
    return Spectrum(tuple(periods), share[0], share[1:])
