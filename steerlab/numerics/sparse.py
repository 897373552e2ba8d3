"""How pre-activations become sparse codes: each rule a function from ``[..., atom]`` to ``[..., atom]``."""

from __future__ import annotations

import torch


def jumprelu(pre: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """``pre`` where it exceeds both the threshold and zero, else 0 (arXiv 2407.14435)."""
    return torch.where(pre > threshold, pre, 0).relu()


def top_k_entries(
    pre: torch.Tensor,
    k: int,
    *,
    relu: bool = True,
    absolute: bool = False,
    rank_by: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and indices ``[..., k]`` of the strongest pre-activations of every row.

    Parameters
    ----------
    pre : Tensor
        ``[..., atom]``.
    k : int
        How many a row.
    relu : bool
        Whether negative values become 0 before the choice.
    absolute : bool
        Whether strength is the magnitude; then signs are kept.
    rank_by : Tensor, optional
        Factor ``[atom]`` of the ranking alone (the norm of the decoder's rows, say).
    """
    if relu and not absolute:
        pre = pre.relu()
    if not absolute and rank_by is None:
        return tuple(pre.topk(k, dim=-1, sorted=False))
    strength = pre if rank_by is None else pre * rank_by
    index = (strength.abs() if absolute else strength).topk(k, dim=-1, sorted=False).indices
    return pre.gather(-1, index), index


def spread(values: torch.Tensor, index: torch.Tensor, atoms: int) -> torch.Tensor:
    """Dense codes ``[..., atoms]`` from values and indices ``[..., k]``."""
    dense = values.new_zeros(*values.shape[:-1], atoms)
    return dense.scatter(-1, index, values)


def top_k(pre: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest pre-activations of every row, negative ones set to 0 (arXiv 2406.04093)."""
    return spread(*top_k_entries(pre, k), pre.shape[-1])


def batch_top_k(pre: torch.Tensor, k: int, rank_by: torch.Tensor | None = None) -> torch.Tensor:
    """The ``k`` times rows largest pre-activations of the whole batch (arXiv 2412.06410).

    A row's codes depend on the rows beside it; for single inputs use the threshold of `batch_threshold`.
    """
    pre = pre.relu()
    strength = (pre if rank_by is None else pre * rank_by).flatten()
    count = min(k * (pre.numel() // pre.shape[-1]), strength.numel())
    keep = torch.zeros_like(strength, dtype=torch.bool)
    keep[strength.topk(count, sorted=False).indices] = True
    return pre * keep.view_as(pre)


def batch_threshold(pre: torch.Tensor, k: int) -> torch.Tensor:
    """The ``k`` times rows largest pre-activation of a batch; codes at or above it number k on average."""
    count = k * (pre.numel() // pre.shape[-1])
    return pre.flatten().topk(count, sorted=False).values.min()


def gated(gate: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """``relu(magnitude)`` where the gate's pre-activation is positive, else 0 (arXiv 2404.16014)."""
    return torch.where(gate > 0, magnitude, 0).relu()


def group_max(pre: torch.Tensor, groups: int) -> torch.Tensor:
    """The largest entry of each of `groups` equal groups of atoms, if positive; every other one 0."""
    parts = pre.relu().unflatten(-1, (groups, -1))
    values, index = parts.max(dim=-1, keepdim=True)
    return torch.zeros_like(parts).scatter(-1, index, values).flatten(-2)


def block_top_k(pre: torch.Tensor, blocks: int, size: int) -> torch.Tensor:
    """All entries of the `blocks` groups of `size` atoms whose code is longest; signs are kept."""
    return spread(*block_entries(pre, blocks, size), pre.shape[-1])


def block_entries(pre: torch.Tensor, blocks: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and atom numbers ``[..., blocks * size]`` of the longest blocks of every row, longest first."""
    parts = pre.unflatten(-1, (-1, size))
    index = parts.detach().norm(dim=-1).topk(blocks, dim=-1).indices[..., None]
    atoms = index * size + torch.arange(size, device=pre.device)
    return parts.gather(-2, index.expand(*index.shape[:-1], size)).flatten(-2), atoms.flatten(-2)


def block_shrink(pre: torch.Tensor, threshold: torch.Tensor, size: int) -> torch.Tensor:
    """``max(1 - theta_g / |z_g|, 0) z_g`` for every block of `size` atoms: the prox of ``theta |z_g|``.

    `threshold` is ``[block]``, or ``[1]`` for all of them.

    Examples
    --------
    >>> block_shrink(torch.tensor([1.2, -0.7, 0.4]), torch.tensor([0.5]), 3)
    tensor([ 0.7850, -0.4579,  0.2617])
    """
    parts = pre.unflatten(-1, (-1, size))
    # the square is kept off 0, where the slope of a root is infinite
    lengths = parts.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
    return ((1 - threshold[:, None] / lengths).relu() * parts).flatten(-2)


def sparsemax(scores: torch.Tensor) -> torch.Tensor:
    """The nearest point of the simplex to `scores` along the last axis (arXiv 1602.02068).

    Examples
    --------
    >>> sparsemax(torch.tensor([0.5, 0.3, -1.0]))
    tensor([0.6000, 0.4000, 0.0000])
    """
    ordered = scores.sort(dim=-1, descending=True).values
    steps = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    excess = ordered.cumsum(dim=-1) - 1
    support = (steps * ordered > excess).sum(dim=-1, keepdim=True)
    return (scores - excess.gather(-1, support - 1) / support).relu()
