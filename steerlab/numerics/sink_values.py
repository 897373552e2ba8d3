"""What a head writes at and around a sink: value norms and the rank of its update, in head space alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

LEAST = 1e-12  # denominators
JITTER = 1e-10  # relative, where the eigensolver fails


def head_grams(weight: torch.Tensor, heads: int, gain: torch.Tensor | None = None) -> torch.Tensor:
    """``M_h = W_h^T diag(gain^2) W_h`` of every head, ``[head, dim, dim]`` in float64.

    With it ``|gain * W_h v|^2 = v^T M_h v``, so no vector of the stream's width is needed.

    Parameters
    ----------
    weight : Tensor
        Of the output projection, ``[stream, head * dim]``; ``W_h`` are the columns of head h.
    heads : int
        How many query heads.
    gain : Tensor, optional
        Layer scale, ``[stream]``.
    """
    scaled = weight.double() if gain is None else gain.double()[:, None] * weight.double()
    split = scaled.unflatten(1, (heads, -1)).transpose(0, 1)
    return split.transpose(1, 2) @ split


def roots(grams: torch.Tensor) -> torch.Tensor:
    """``R`` with ``R R^T = M``, symmetric, ``[..., dim, dim]``; exact where `M` has no full rank as well."""
    values, vectors = torch.linalg.eigh(grams)
    return (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.transpose(-1, -2)


def projected_norms(values: torch.Tensor, grams: torch.Tensor) -> torch.Tensor:
    """``|u_j| = sqrt(v_j^T M v_j)``, ``[batch, head, token]``.

    Parameters
    ----------
    values : Tensor
        ``[batch, key-value head, token, dim]``; each serves ``head / key-value head`` heads.
    grams : Tensor
        ``[head, dim, dim]``.
    """
    wide = served(values, len(grams))
    grams = grams.to(values)
    return ((wide @ grams) * wide).sum(-1).clamp_min(0).sqrt()


def served(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Values as each query head has them, ``[batch, head, token, dim]``."""
    group, left = divmod(heads, values.shape[1])
    if left:
        raise ValueError(f"{heads} heads cannot share {values.shape[1]} key-value heads evenly")
    return values if group == 1 else values.repeat_interleave(group, dim=1)


def sink_ratio(norms: torch.Tensor, place: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """``|x_s| / mean_{j != s} |x_j|`` over real tokens, ``[batch, head]``; NaN without a sink.

    Parameters
    ----------
    norms : Tensor
        ``[batch, head, token]``.
    place : Tensor
        The sink, ``[batch, head]``; -1 for none.
    real : Tensor
        Boolean ``[batch, token]``.
    """
    at = place.clamp_min(0)[..., None]
    own = norms.gather(-1, at)[..., 0]
    held = norms * real[:, None].to(norms)
    others = (held.sum(-1) - own) / (real.sum(-1)[:, None] - 1).clamp_min(1)
    return (own / others.clamp_min(LEAST)).masked_fill(place < 0, torch.nan)


@dataclass(frozen=True, eq=False)
class Update:
    """The shape of ``U = A u``, what a head adds to the stream, ``[batch, head]`` each.

    Attributes
    ----------
    stable_rank : Tensor
        ``|U|_F^2 / sigma_1^2``, 1 for a matrix of rank one; NaN where U is 0.
    energy : Tensor
        Its reciprocal, the share of the first singular value.
    norm : Tensor
        ``mean_i |U_i|``.
    """

    stable_rank: torch.Tensor
    energy: torch.Tensor
    norm: torch.Tensor


def update_shape(mixed: torch.Tensor, on: torch.Tensor, root: torch.Tensor) -> Update:
    """The stable rank and size of an update from ``A V`` alone.

    The nonzero singular values of U are those of ``(A V) R`` with ``M = R R^T``, so that a problem of the
    head's width decides, ``R^T (A V)^T (A V) R``.

    Parameters
    ----------
    mixed : Tensor
        ``A V``, what the heads write, ``[batch, head, query, dim]``.
    on : Tensor
        Boolean ``[batch, head, query]``: the queries that count.
    root : Tensor
        ``R``, ``[head, dim, dim]``.
    """
    kept = mixed.masked_fill(~on[..., None], 0.0)
    rows = kept @ root.to(kept)
    gram = (rows.transpose(-1, -2) @ rows).double()
    total, top = gram.diagonal(dim1=-2, dim2=-1).sum(-1), top_eigenvalue(gram)
    rank = (total / top.clamp_min(torch.finfo(torch.float64).tiny)).clamp_min(1.0)
    rank = rank.masked_fill((total <= 0) | top.isnan(), torch.nan)
    norm = rows.norm(dim=-1).sum(-1) / on.sum(-1).clamp_min(1)
    return Update(rank, 1 / rank, norm.masked_fill(~on.any(-1), torch.nan))


def top_eigenvalue(gram: torch.Tensor) -> torch.Tensor:
    """The largest eigenvalue of symmetric matrices ``[..., dim, dim]`` in float64.

    A head that broadcasts is so close to rank one that batched solvers may fail: then a little is added to
    the diagonal and taken off again, then singular values are tried, then one matrix at a time; NaN is the
    last answer.
    """
    flat = gram.reshape(-1, *gram.shape[-2:])
    added = JITTER * flat.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(flat.shape[-1], dtype=flat.dtype, device=flat.device)
    ways = (
        lambda one, extra: torch.linalg.eigvalsh(one)[..., -1],
        lambda one, extra: torch.linalg.eigvalsh(one + extra[..., None, None] * eye)[..., -1] - extra,
        lambda one, extra: torch.linalg.svdvals(one)[..., 0],
    )
    for way in ways:
        try:
            return way(flat, added).reshape(gram.shape[:-2])
        except torch.linalg.LinAlgError:
            continue
    found = [_alone(one, extra, ways) for one, extra in zip(flat, added, strict=True)]
    return torch.stack(found).reshape(gram.shape[:-2])


def _alone(one: torch.Tensor, extra: torch.Tensor, ways: tuple) -> torch.Tensor:
    for way in ways:
        try:
            return way(one, extra)
        except torch.linalg.LinAlgError:
            continue
    return one.new_tensor(torch.nan)


def value_correction(column: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """``Delta (A V)_i = A_is (v'_s - v_s)``: a changed value at one token, exactly, without any attention.

    Parameters
    ----------
    column : Tensor
        Attention to that token, ``[..., query]``.
    change : Tensor
        ``v'_s - v_s``, ``[..., dim]``.

    Returns
    -------
    Tensor
        ``[..., query, dim]``.
    """
    return column[..., None] * change[..., None, :]


def without_column(mixed: torch.Tensor, column: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """``(A V)_i`` after ``A_is <- 0`` and rows made to sum to 1 again, ``[..., query, dim]``.

    A saturated row leaves nothing to share, and NaN is given there: mask the score instead, which is the
    well-defined edit.
    """
    left = (1 - column)[..., None]
    left = left.masked_fill(left < LEAST, torch.nan)
    return (mixed - column[..., None] * value[..., None, :]) / left
