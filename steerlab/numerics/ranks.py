"""Three soft ranks of a matrix from its singular values, which are never to be mixed with one another."""

from __future__ import annotations

import torch


def _energies(singular: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared singular values in float64, their largest brought to one, and which rows hold anything."""
    wide = singular.double()
    top = wide.abs().amax(-1, keepdim=True)
    return (wide / top.masked_fill(top == 0, 1.0)).square(), (top != 0).squeeze(-1)


def _where(alive: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return torch.where(alive, value, torch.nan)


def stable_rank(singular: torch.Tensor) -> torch.Tensor:
    """``sum_k s_k^2 / s_1^2`` of singular values ``[..., k]`` in any order, as ``[...]`` in float64.

    1 for a matrix of rank one and ``k`` for equal values; nan where all are zero. It is
    ``||M||_F^2 / ||M||_2^2``, the rank that the works on sinks (arXiv 2606.08105) and on block-recurrent
    depth (arXiv 2512.19941) speak of.
    """
    energies, alive = _energies(singular)
    return _where(alive, energies.sum(-1))  # the largest energy is one


def participation_ratio(singular: torch.Tensor) -> torch.Tensor:
    """``(sum_k s_k^2)^2 / sum_k s_k^4`` of singular values ``[..., k]``, as ``[...]`` in float64.

    1 for a matrix of rank one and ``k`` for equal values; nan where all are zero.
    """
    energies, alive = _energies(singular)
    return _where(alive, energies.sum(-1).square() / energies.square().sum(-1).masked_fill(~alive, 1.0))


def entropy_rank(singular: torch.Tensor) -> torch.Tensor:
    """``exp(-sum_k p_k ln p_k)``, ``p_k = s_k^2 / sum_m s_m^2``, of singular values ``[..., k]``.

    1 for a matrix of rank one and ``k`` for equal values; nan where all are zero. Shape ``[...]``, float64.
    `steerlab.numerics.geometry.effective_rank` weighs by ``s_k`` in place of ``s_k^2``: another number.
    """
    energies, alive = _energies(singular)
    shares = energies / energies.sum(-1, keepdim=True).masked_fill(~alive.unsqueeze(-1), 1.0)
    return _where(alive, torch.special.entr(shares).sum(-1).exp())


def fullness(variances: torch.Tensor) -> dict[str, torch.Tensor]:
    """How many dimensions of a block are in use, from variances ``[..., k]`` of what it contributes.

    ``stable rank``, ``participation``, ``effective rank`` (the exponential of the entropy) and
    ``utilisation``, the effective rank over ``k`` (Fel, Kowal et al., Structuring Sparsity). The stable rank
    is that of the matrix of codes, ``sum e / max e``: the paper's words would allow that of its covariance.

    Examples
    --------
    >>> {name: round(float(value), 3) for name, value in fullness(torch.tensor([4.0, 2, 1, 1])).items()}
    {'stable rank': 2.0, 'participation': 2.909, 'effective rank': 3.364, 'utilisation': 0.841}
    """
    singular = variances.double().clamp_min(0).sqrt()
    effective = entropy_rank(singular)
    return {
        "stable rank": stable_rank(singular),
        "participation": participation_ratio(singular),
        "effective rank": effective,
        "utilisation": effective / variances.shape[-1],
    }
