"""Which of many differences are more than chance: tests per feature, and control of false discoveries."""

from __future__ import annotations

import torch


def _two_sided(t: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Chance of a larger ``|t|`` with the given degrees of freedom, by the incomplete beta function."""
    from scipy.special import betainc

    at = degrees / (degrees + t.square())
    values = betainc((degrees / 2).cpu().numpy(), 0.5, at.cpu().numpy())
    return torch.as_tensor(values, dtype=torch.float64, device=t.device)


def _ratio(effect: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """``effect / error``; 0 where there is no effect, infinite where an effect has no spread at all."""
    return torch.where(effect == 0, 0.0, effect / error)


def paired_t_test(differences: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Student's paired test that the mean difference is zero.

    Parameters
    ----------
    differences : Tensor
        ``[pair, feature]``, at least two pairs.

    Returns
    -------
    t, p : Tensor
        ``[feature]`` each, p two-sided.
    """
    n = len(differences)
    if n < 2:
        raise ValueError(f"a paired test needs two pairs or more, not {n}")
    d = differences.double()
    t = _ratio(d.mean(0), d.std(0) / n**0.5)
    return t, _two_sided(t, torch.full_like(t, n - 1))


def sign_test(differences: torch.Tensor) -> torch.Tensor:
    """Exact two-sided sign test, ``[pair, feature]`` to ``[feature]``; pairs that tie say nothing."""
    from scipy.special import bdtr

    up, down = (differences > 0).sum(0), (differences < 0).sum(0)
    fewer = torch.minimum(up, down).cpu().numpy()
    tail = torch.as_tensor(bdtr(fewer, (up + down).cpu().numpy(), 0.5), dtype=torch.float64)
    return (2 * tail).clamp_max(1.0).to(differences.device)


def welch_test(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Welch's test that two unpaired groups ``[sample, feature]`` have equal means.

    Returns
    -------
    t, p : Tensor
        ``[feature]`` each; t is positive where the first mean is larger, p two-sided.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("an unpaired test needs two samples or more in each group")
    a, b = first.double(), second.double()
    va, vb = a.var(0) / len(a), b.var(0) / len(b)
    t = _ratio(a.mean(0) - b.mean(0), (va + vb).sqrt())
    spread = va.square() / (len(a) - 1) + vb.square() / (len(b) - 1)
    degrees = torch.where(spread > 0, (va + vb).square() / spread, float(len(a) + len(b) - 2))
    return t, _two_sided(t, degrees)


def permutation_test(
    first: torch.Tensor, second: torch.Tensor, *, rounds: int = 999, seed: int = 0
) -> torch.Tensor:
    """Chance of a difference of means this large when the labels of the samples are shuffled.

    ``p = (1 + shuffles with |difference| at least as large) / (1 + rounds)``, which is never 0 and is
    valid whatever the distribution of the codes.

    Parameters
    ----------
    first, second : Tensor
        ``[sample, feature]`` each.
    rounds : int
        Number of shuffles.
    seed : int
        Of the shuffles.

    Returns
    -------
    Tensor
        ``[feature]``, two-sided.
    """
    a, b = first.double(), second.double()
    pooled = torch.cat([a, b])
    observed = (a.mean(0) - b.mean(0)).abs()
    generator = torch.Generator().manual_seed(seed)
    signs = torch.full((rounds, len(pooled)), -1 / len(b), dtype=torch.float64)
    for row in signs:
        row[torch.randperm(len(pooled), generator=generator)[: len(a)]] = 1 / len(a)
    shuffled = (signs.to(pooled.device) @ pooled).abs()
    # the same sum in another order may differ in the last digit: count it as a tie
    return (1 + (shuffled >= observed * (1 - 1e-12)).sum(0)).double() / (1 + rounds)


def adjusted(p: torch.Tensor) -> torch.Tensor:
    """Benjamini-Hochberg adjusted p-values ``[feature]``: the rate at which each would be discovered.

    ``q_(i) = min_{j >= i} min(1, m p_(j) / j)`` over sorted p-values (Benjamini and Hochberg, 1995).
    """
    ordered, order = p.double().sort()
    ranks = torch.arange(1, len(p) + 1, dtype=torch.float64, device=p.device)
    scaled = (ordered * len(p) / ranks).clamp_max(1.0)
    lowest = scaled.flip(0).cummin(0).values.flip(0)
    return torch.empty_like(lowest).scatter_(0, order, lowest)


def discoveries(p: torch.Tensor, *, rate: float = 0.05) -> torch.Tensor:
    """Which p-values ``[feature]`` stand when at most `rate` of the findings may be false on average."""
    return adjusted(p) <= rate
