"""Variance-based sensitivity: how much of an output each masked part explains, alone and with others."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SobolIndices:
    """Shares of an output's variance, ``[feature]`` each, with bootstrap standard errors.

    Attributes
    ----------
    first : Tensor
        ``Var(E[y | x_i]) / Var(y)``: what a feature explains alone.
    total : Tensor
        ``E[Var(y | all but x_i)] / Var(y)``: with all its interactions; 0 where the output ignores it.
    first_error, total_error : Tensor
        Standard errors over resampled rows of the design. The points are spread more evenly than random
        ones, so these err on the large side.
    variance : float
        ``Var(y)`` over the design.
    """

    first: torch.Tensor
    total: torch.Tensor
    first_error: torch.Tensor
    total_error: torch.Tensor
    variance: float


def sobol_masks(features: int, designs: int, *, seed: int = 0) -> torch.Tensor:
    """Masks at which to evaluate a function for `sobol_indices`, from a scrambled Sobol sequence.

    Two independent samples A and B and, for each feature i, the sample A with column i taken from B
    (the design of Saltelli and others, 2010).

    Parameters
    ----------
    features : int
        Number of masked parts.
    designs : int
        Rows of A; a power of two keeps the sequence balanced.
    seed : int
        Of the scrambling.

    Returns
    -------
    Tensor
        ``[designs * (features + 2), features]`` in [0, 1], float64: A, B, then one block a feature.
    """
    limit = torch.quasirandom.SobolEngine.MAXDIM // 2
    if not 1 <= features <= limit:
        raise ValueError(f"the sequence covers 1 to {limit} features, not {features}")
    if designs < 2:
        raise ValueError(f"a design needs two rows or more, not {designs}")
    engine = torch.quasirandom.SobolEngine(2 * features, scramble=True, seed=seed)
    a, b = engine.draw(designs, dtype=torch.float64).split(features, dim=1)
    mixed = a.repeat(features, 1, 1)
    for i in range(features):
        mixed[i, :, i] = b[:, i]
    return torch.cat([a, b, mixed.flatten(0, 1)])


def _estimates(moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices ``[..., feature]`` from ``[..., 5, feature]``: means of products, halves, squares, changes."""
    products, middle, squares, changes, variance = moments.unbind(-2)
    first = (products - middle.square()) / (squares - middle.square())
    return first, changes / variance


def sobol_indices(
    outputs: torch.Tensor, features: int, *, resamples: int = 200, seed: int = 0
) -> SobolIndices:
    """First-order and total Sobol indices from the outputs at `sobol_masks`.

    With ``y_A, y_B, y_i`` the outputs on A, B and A with column i of B, the first-order index is the
    symmetric estimator of Janon and others (arXiv 1303.6451) on the pair ``(y_B, y_i)``, which shares
    only feature i; the total is Jansen's ``E[(y_A - y_i)^2] / (2 Var y)``. A constant output is moved by
    nothing: its indices are 0 (our own convention).

    Parameters
    ----------
    outputs : Tensor
        ``[designs * (features + 2)]``, in the order of the masks.
    features : int
        Number of masked parts.
    resamples : int
        Bootstrap rounds, at least two.
    seed : int
        Of the bootstrap.
    """
    if outputs.ndim != 1 or len(outputs) % (features + 2) or len(outputs) < 2 * (features + 2):
        raise ValueError(
            f"outputs {tuple(outputs.shape)} do not fit masks of {features} features: "
            f"their number is a multiple of {features + 2}"
        )
    y = outputs.double().cpu().reshape(features + 2, -1)
    y = y - y[:2].mean()  # indices do not see an offset, but squares of large numbers would lose digits
    a, b, mixed = y[0], y[1], y[2:].T
    variance = float(y[:2].square().mean())
    if variance <= torch.finfo(torch.float64).eps ** 2 * float(outputs.double().square().mean()):
        zero = torch.zeros(features, dtype=torch.float64)
        return SobolIndices(zero, zero, zero, zero, 0.0)
    spread = ((a.square() + b.square()) / 2)[:, None].expand_as(mixed)
    terms = torch.stack(
        [
            b[:, None] * mixed,
            (b[:, None] + mixed) / 2,
            (b[:, None].square() + mixed.square()) / 2,
            (a[:, None] - mixed).square() / 2,
            spread,
        ],
        dim=1,
    )  # [design, 5, feature]: every estimate is a function of the means of these
    n = len(a)
    drawn = torch.randint(n, (resamples, n), generator=torch.Generator().manual_seed(seed))
    counts = torch.zeros(resamples, n, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    again = (counts @ terms.flatten(1) / n).reshape(resamples, 5, features)
    (first, total), (firsts, totals) = _estimates(terms.mean(0)), _estimates(again)
    return SobolIndices(first, total, firsts.std(0), totals.std(0), variance)
