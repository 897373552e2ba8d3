"""Confidence intervals of any statistic from its values with one chunk of the data left out at a time."""

from __future__ import annotations

import torch


def jackknife(
    estimate: torch.Tensor, left_out: torch.Tensor, *, level: float = 0.95
) -> tuple[torch.Tensor, torch.Tensor]:
    """The interval ``estimate -+ t * se`` by the delete-a-group jackknife, as its two ends.

    ``se^2 = (g - 1) / g * sum_i (left_out_i - mean)^2`` for ``g`` groups, and ``t`` is Student's quantile
    with ``g - 1`` degrees of freedom.

    Parameters
    ----------
    estimate : Tensor
        ``[...]``, from all the data.
    left_out : Tensor
        ``[group, ...]``: the same without one group of the data each.
    level : float
        How often the interval is to hold the truth.
    """
    from scipy.special import stdtrit

    groups = len(left_out)
    if groups < 2:
        raise ValueError(f"an interval needs 2 groups or more, and there are {groups}")
    spread = (left_out - left_out.mean(0)).square().sum(0) * ((groups - 1) / groups)
    reach = float(stdtrit(groups - 1, (1 + level) / 2)) * spread.sqrt()
    return estimate - reach, estimate + reach
