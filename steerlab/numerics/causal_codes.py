"""Codes of a sequence split in two: what its past foretells, by attention over codes, and what is new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from steerlab.numerics.sparse import top_k_entries

GUARD = 1e-6  # beside the length of what is predicted, so that nothing is divided by 0
WEIGHTS = ("query", "key", "value", "output")
NAMES = ("decoder", "bias", *WEIGHTS, *(f"{name}_bias" for name in WEIGHTS))


@dataclass(frozen=True, eq=False)
class Split:
    """A sequence in two parts.

    Attributes
    ----------
    predicted, novel : Tensor
        ``z_p`` and ``z_n``, ``[batch, token, atom]``.
    share : Tensor
        The least-squares scale of the prediction, ``[batch, token]``; where it is negative, so are codes.
    rest : Tensor
        ``y``, what the prediction leaves, ``[batch, token, dim]``, orthogonal to the prediction.
    """

    predicted: torch.Tensor
    novel: torch.Tensor
    share: torch.Tensor
    rest: torch.Tensor


@dataclass(frozen=True)
class Sizes:
    """What a split needs to know besides its weights.

    Parameters
    ----------
    heads : int
        Of the attention over codes.
    k : int or None
        Novel codes a token; None keeps all that are positive.
    gain : float
        ``lam``, by which codes are multiplied; arXiv 2511.01836 takes ``1 / (4 dim)``.
    """

    heads: int
    k: int | None
    gain: float


def split(
    x: torch.Tensor, weights: Mapping[str, torch.Tensor], sizes: Sizes, real: torch.Tensor | None = None
) -> Split:
    """The split of arXiv 2511.01836, with one layer of attention.

    ``y = x - b``, codes ``relu(lam y D^T)``, and from the codes of earlier tokens, by attention whose queries
    are the own codes, ``p = relu(a)``; ``z_p = s p`` with ``s = <p D, y> / (|p D| + 1e-6)^2``; the novel part
    is the top-k code of ``y - s p D``.

    Parameters
    ----------
    x : Tensor
        ``[batch, token, dim]``, whole sequences.
    weights : mapping
        ``decoder`` ``D`` ``[atom, dim]``, ``bias`` ``b`` ``[dim]``, and `WEIGHTS` with their biases as linear
        layers have them.
    sizes : Sizes
        Heads, ``k`` and ``lam``.
    real : Tensor, optional
        Boolean ``[batch, token]``: what counts. Others have codes of 0 and are not looked at, so that a
        sequence is split as if they were not there.
    """
    decoder = weights["decoder"]
    y = x - weights["bias"]
    real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if real is None else real.to(x.device)
    codes = (sizes.gain * (y @ decoder.T)).relu() * real[..., None]
    past = torch.cat([torch.zeros_like(codes[:, :1]), codes[:, :-1]], 1)
    p = (_attended(codes, past, weights, sizes.heads, real) * real[..., None]).relu()
    told = p @ decoder
    share = (told * y).sum(-1) / (told.norm(dim=-1) + GUARD).square()
    rest = y - share[..., None] * told
    answers = (sizes.gain * (rest @ decoder.T)).relu() * real[..., None]
    if sizes.k is None or sizes.k >= answers.shape[-1]:
        novel = answers
    else:
        values, index = top_k_entries(answers, sizes.k)
        novel = torch.zeros_like(answers).scatter(-1, index, values)
    return Split(share[..., None] * p, novel, share, rest)


def _attended(
    codes: torch.Tensor,
    past: torch.Tensor,
    weights: Mapping[str, torch.Tensor],
    heads: int,
    real: torch.Tensor,
) -> torch.Tensor:
    """Attention of the own codes to those of earlier tokens, ``[batch, token, atom]``."""

    def projected(values: torch.Tensor, name: str) -> torch.Tensor:
        found = values @ weights[name].T + weights[f"{name}_bias"]
        return found.unflatten(-1, (heads, -1)).transpose(1, 2)

    count = codes.shape[1]
    causal = torch.ones(count, count, dtype=torch.bool, device=codes.device).tril()
    before = torch.cat([torch.zeros_like(real[:, :1]), real[:, :-1]], 1)
    begins = real & (real.cumsum(1) == 1)  # the first token that counts looks at nothing, which is a key
    seen = causal & (before | begins)[:, None, None, :]
    none = ~seen.any(-1, keepdim=True)  # tokens that do not count; they look at themselves and are dropped
    eye = torch.eye(count, dtype=torch.bool, device=codes.device)
    query, key, value = projected(codes, "query"), projected(past, "key"), projected(past, "value")
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen | (none & eye))
    mixed = mixed.masked_fill(none, 0.0)
    return mixed.transpose(1, 2).flatten(-2) @ weights["output"].T + weights["output_bias"]
