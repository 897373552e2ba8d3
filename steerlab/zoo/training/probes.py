"""Linear probes: ridge regression with its strength chosen by leaving one out, and the share explained."""

from __future__ import annotations

import torch

__all__ = ["explained"]

_STRENGTHS = tuple(10.0**power for power in range(-1, 7))


def explained(
    features: torch.Tensor, targets: torch.Tensor, held_features: torch.Tensor, held_targets: torch.Tensor
) -> torch.Tensor:
    r"""Fit a ridge probe to each target and return the R² on held-out rows, ``[target]``.

    Features are put on one scale first. The strength is chosen for each target among powers of ten by the
    error of leaving one row out, which has a closed form:

    .. math:: r_i / (1 - h_i)

    with residuals :math:`r` and leverages :math:`h`. Nothing of the held-out rows is used for fitting.

    Parameters
    ----------
    features, held_features : Tensor
        ``[row, feature]``.
    targets, held_targets : Tensor
        ``[row, target]``.
    """
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-6)
    x, held = (((part - mean) / spread).double() for part in (features, held_features))
    centre = targets.mean(0).double()
    y = targets.double() - centre
    values, vectors = torch.linalg.eigh(x.T @ x)
    turned, held_turned = x @ vectors, held @ vectors
    moments = turned.T @ y
    lowest = torch.full((y.shape[1],), torch.inf, dtype=y.dtype)
    guesses = torch.zeros(len(held), y.shape[1], dtype=y.dtype)
    for strength in _STRENGTHS:
        inverse = 1 / (values.clamp_min(0) + strength)
        weights = inverse[:, None] * moments
        leverage = (turned.square() * inverse).sum(1) + 1 / len(x)
        left_out = ((y - turned @ weights) / (1 - leverage)[:, None]).square().mean(0)
        better = left_out < lowest
        lowest = torch.where(better, left_out, lowest)
        guesses = torch.where(better, held_turned @ weights, guesses)
    truth = held_targets.double()
    missed = (guesses + centre - truth).square().sum(0)
    return (1 - missed / (truth - truth.mean(0)).square().sum(0)).float()
