"""Attention written out: scores, pattern and mixed values, from queries, keys and values."""

from __future__ import annotations

import torch


def attention_scores(
    q: torch.Tensor,
    k: torch.Tensor,
    *,
    scale: float,
    softcap: float | None = None,
    bias: torch.Tensor | None = None,
    causal: bool = False,
) -> torch.Tensor:
    """Scores before the softmax: ``softcap(q·k * scale) + bias``, masked entries ``-inf``.

    Parameters
    ----------
    q : Tensor
        Queries ``[batch, head, query, dim]``.
    k : Tensor
        Keys ``[batch, key-value head, key, dim]``; each serves ``head / key-value head`` query heads.
    scale : float
        Factor of the products.
    softcap : float, optional
        ``c`` of ``c * tanh(s / c)``.
    bias : Tensor, optional
        Mask or bias that broadcasts to the scores: boolean (True attends) or additive.
    causal : bool
        Whether query ``i`` sees keys up to ``i`` only.

    Returns
    -------
    Tensor
        ``[batch, head, query, key]`` in float32 at least.
    """
    q_BGRQD = q.unflatten(1, (k.shape[1], -1))
    scores = (q_BGRQD @ k.unsqueeze(2).transpose(-1, -2)).flatten(1, 2)
    scores = scores if scale == 1.0 else scores * scale
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if causal:
        allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~allowed, -torch.inf)
    if bias is None:
        return scores
    if bias.dtype == torch.bool:
        return scores.masked_fill(~bias, -torch.inf)
    # the smallest number of a dtype is how transformers writes "never"
    never = bias <= torch.finfo(bias.dtype).min
    return (scores + bias.to(scores.dtype)).masked_fill(never, -torch.inf)


def some_scores(
    q: torch.Tensor,
    k: torch.Tensor,
    *,
    rows: slice | None = None,
    keys: slice | torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    causal: bool = False,
    scale: float,
    softcap: float | None = None,
) -> torch.Tensor:
    """Scores of some queries to some keys, ``[batch, head, row, key]``; otherwise as `attention_scores`.

    Parameters
    ----------
    rows : slice, optional
        Which queries.
    keys : slice or Tensor, optional
        Numbers of the keys, ``[key]``.
    """
    chosen, columns = rows or slice(None), slice(None) if keys is None else keys
    if bias is not None:
        bias = bias if bias.shape[-2] == 1 else bias[..., chosen, :]
        bias = bias if bias.shape[-1] == 1 else bias[..., columns]
    if causal:
        first = chosen.indices(q.shape[2])[0]
        seen = isinstance(columns, slice) and columns.indices(k.shape[2])[1] <= first + 1
        every = torch.arange(k.shape[2], device=k.device)
        # what every one of the queries sees needs no mask
        bias = None if seen else every[: q.shape[2]][chosen, None] >= every[columns]
    own = q[:, :, chosen] * scale  # fewer numbers than the scores
    return attention_scores(own, k[:, :, columns], scale=1.0, softcap=softcap, bias=bias)


def attention_pattern(scores: torch.Tensor, sinks: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax over keys; a query that may see no key gets zeros, as fused kernels give it.

    Parameters
    ----------
    scores : Tensor
        ``[batch, head, query, key]``.
    sinks : Tensor, optional
        One logit a head, ``[head]``, that takes part in the sum but has no column.

    Returns
    -------
    Tensor
        ``[batch, head, query, key]``; rows sum to 1, or to less where a sink takes its share.
    """
    top = scores.amax(dim=-1, keepdim=True)
    if sinks is not None:
        sinks = sinks.to(scores.dtype).reshape(1, -1, 1, 1)
        top = torch.maximum(top, sinks)
    top = top.detach().masked_fill(top == -torch.inf, 0.0)
    mass = torch.exp(scores - top)
    total = mass.sum(dim=-1, keepdim=True)
    if sinks is not None:
        total = total + torch.exp(sinks - top)
    return mass / total.masked_fill(total == 0, 1.0)


def mix_values(pattern: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """What the heads write: ``pattern · v``.

    Parameters
    ----------
    pattern : Tensor
        ``[batch, head, query, key]``.
    v : Tensor
        ``[batch, key-value head, key, dim]``.

    Returns
    -------
    Tensor
        ``[batch, head, query, dim]`` in the dtype of `v`.
    """
    grouped = pattern.to(v.dtype).unflatten(1, (v.shape[1], -1))
    return (grouped @ v.unsqueeze(2)).flatten(1, 2)
