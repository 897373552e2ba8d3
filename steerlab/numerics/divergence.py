"""How far two outputs are apart, row by row."""

from __future__ import annotations

import torch


def kl_last(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the next-token distributions, in nats.

    Parameters
    ----------
    base, other : Tensor
        Logits ``[batch, token, vocabulary]`` (the last token is compared) or ``[batch, class]``.

    Returns
    -------
    Tensor
        ``KL(base || other)`` a row, ``[batch]``.
    """
    if base.ndim == 3:
        base, other = base[:, -1], other[:, -1]
    log_p = base.double().log_softmax(-1)
    return (log_p.exp() * (log_p - other.double().log_softmax(-1))).sum(-1)


def kl_tokens(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """``KL(base || other)`` of every distribution, ``[...]`` from logits ``[..., vocabulary]``, in nats."""
    pieces = (logits.reshape(-1, base.shape[-1]).split(256) for logits in (base, other))
    return torch.cat([kl_last(p, q) for p, q in zip(*pieces, strict=True)]).reshape(base.shape[:-1])


def relative_change(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """``||other - base|| / ||base||`` a row, ``[batch]``."""
    base, other = base.flatten(1).double(), other.flatten(1).double()
    return (other - base).norm(dim=1) / base.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
