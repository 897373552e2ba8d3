"""How far two lists of numbers agree: in their ranks, and in what they put on top."""

from __future__ import annotations

import torch


def ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks ``[n]`` from 0, equal values sharing their mean rank."""
    found, place, counts = values.double().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double() - 1
    return (last - (counts.double() - 1) / 2)[place]


def spearman(first: torch.Tensor, second: torch.Tensor) -> float:
    """Correlation of the ranks of ``[n]`` and ``[n]``; nan where one of them is constant."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale else float("nan")


def shared_top(first: torch.Tensor, second: torch.Tensor, *, share: float = 0.1) -> float:
    """Part of the largest tenth ``|.|`` of one, ``[n]``, that is in the largest tenth of the other.

    By chance it is the share itself. At least one entry counts as the top.
    """
    count = max(1, round(share * len(first)))
    tops = [set(values.abs().topk(count).indices.tolist()) for values in (first, second)]
    return len(tops[0] & tops[1]) / count
