"""The kinds of dictionary that can be trained: how codes are found, what is minimised, how it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.nn.functional import cosine_similarity

from steerlab.bases.encoders import Encoder, Linear, Pursuit
from steerlab.bases.rules import BlockTopK, JumpRelu, TopK
from steerlab.fitting.settings import Fitting
from steerlab.numerics.codes import decode_entries, decode_sparse
from steerlab.numerics.pursuit import matching_pursuit
from steerlab.numerics.sparse import batch_threshold, batch_top_k, block_top_k, top_k_entries

Weights = dict[str, torch.Tensor]

LINEAR = ("encoder", "encoder_bias", "decoder", "bias")
SEARCHED = ("decoder", "bias")


@dataclass(frozen=True, eq=False)
class Pass:
    """What one batch says.

    Parameters
    ----------
    loss : Tensor
        What is minimised, a scalar.
    missed : Tensor
        What is left unexplained of every row, ``[row, dim]``, without gradients.
    fired : Tensor
        Which atoms had a code, boolean ``[atom]``.
    """

    loss: torch.Tensor
    missed: torch.Tensor
    fired: torch.Tensor


@dataclass(frozen=True)
class Kind:
    """A kind of dictionary.

    Parameters
    ----------
    weights : tuple of str
        Names of what is trained.
    run : callable
        ``(weights, rows, settings) -> Pass``; rows are centred and scaled, ``[row, dim]`` or pairs.
    encoder : callable
        ``(weights, scale, settings, batches) -> Encoder`` for rows of their own scale.
    along : callable
        ``(weights, rows, missed, atoms) -> [row, m]``: how strongly some atoms would answer to rows, of which
        `missed` is left unexplained; by it dead atoms learn.
    source : str
        What the method is called and where it is described.
    paired : bool
        Whether rows come in pairs ``[row, 2, dim]``.
    """

    weights: tuple[str, ...]
    run: Callable[[Weights, torch.Tensor, Fitting], Pass]
    encoder: Callable[[Weights, float, Fitting, Iterable[torch.Tensor]], Encoder]
    along: Callable[[Weights, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    source: str
    paired: bool = False


def pre_activations(weights: Weights, rows: torch.Tensor) -> torch.Tensor:
    """``(x - bias) W + b``, ``[row, atom]``: the decoder's bias is taken off first (arXiv 2406.04093)."""
    return torch.addmm(weights["encoder_bias"], rows - weights["bias"], weights["encoder"])


def alignment(codes: torch.Tensor) -> torch.Tensor:
    """Mean cosine of paired codes without their strongest entries: a scalar from ``[pair, 2, atom]``.

    ``mean_i <z_i / |z_i|, z'_i / |z'_i|>`` (arXiv 2602.06218). Of each pair, the entry that is strongest in
    the one code and the entry that is strongest in the other are first set to 0 in both, as the authors' code
    does: each modality's constant atom would otherwise be forced into one.
    """
    strongest = codes.detach().abs().argmax(dim=-1)  # [pair, 2]
    drop = torch.zeros_like(codes[:, 0], dtype=torch.bool).scatter(1, strongest, True)
    left = codes.masked_fill(drop[:, None], 0.0)
    return cosine_similarity(left[:, 0], left[:, 1], dim=-1).mean()


def _error(rows: torch.Tensor, rebuilt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    missed = rows - rebuilt
    return missed.square().mean(), missed.detach()


def _top_k(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    values, index = top_k_entries(pre_activations(weights, rows), settings.k)
    loss, missed = _error(rows, decode_entries(values, index, weights["decoder"]) + weights["bias"])
    fired = torch.zeros_like(weights["encoder_bias"], dtype=torch.bool)
    fired[index[values > 0]] = True
    return Pass(loss, missed, fired)


def _batch_top_k(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    return _dense(weights, rows, batch_top_k(pre_activations(weights, rows), settings.k))


def _blocks(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    return _dense(weights, rows, block_top_k(pre_activations(weights, rows), settings.k, settings.block))


def _dense(weights: Weights, rows: torch.Tensor, codes: torch.Tensor) -> Pass:
    loss, missed = _error(rows, decode_sparse(codes, weights["decoder"]) + weights["bias"])
    return Pass(loss, missed, (codes != 0).any(0))


def _aligned(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    codes = matching_pursuit(rows - weights["bias"], weights["decoder"], settings.k)
    loss, missed = _error(rows, codes @ weights["decoder"] + weights["bias"])
    if settings.align:
        loss = loss - settings.align * alignment(codes)
    return Pass(loss, missed.flatten(0, 1), (codes != 0).any(0).any(0))


def _encoded(weights: Weights, rows: torch.Tensor, missed: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    return (rows - weights["bias"]) @ weights["encoder"][:, atoms] + weights["encoder_bias"][atoms]


def _projected(
    weights: Weights, rows: torch.Tensor, missed: torch.Tensor, atoms: torch.Tensor
) -> torch.Tensor:
    return missed @ weights["decoder"][atoms].T


def _kept(weights: Weights, scale: float, rule: TopK | JumpRelu | BlockTopK) -> Linear:
    # codes grow with the rows and the atoms stay, so that the bias alone knows of the scale
    return Linear(weights["encoder"], weights["encoder_bias"] * scale, rule)


def _threshold(weights: Weights, settings: Fitting, batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """The mean over batches of the smallest pre-activation that is chosen (arXiv 2412.06410), ``[1]``."""
    found = [batch_threshold(pre_activations(weights, rows), settings.k) for rows in batches]
    return torch.stack(found).mean().clamp_min(0)[None]


KINDS = {
    "topk": Kind(
        LINEAR,
        _top_k,
        lambda weights, scale, settings, _: _kept(weights, scale, TopK(settings.k)),
        _encoded,
        "top-k (arXiv 2406.04093)",
    ),
    "batch-topk": Kind(
        LINEAR,
        _batch_top_k,
        lambda weights, scale, settings, batches: _kept(
            weights, scale, JumpRelu(_threshold(weights, settings, batches) * scale)
        ),
        _encoded,
        "batch top-k (arXiv 2412.06410), its threshold estimated on training rows",
    ),
    "block": Kind(
        LINEAR,
        _blocks,
        lambda weights, scale, settings, _: _kept(weights, scale, BlockTopK(settings.k, settings.block)),
        _encoded,
        "top blocks by the length of their signed codes (our own definition)",
    ),
    "aligned": Kind(
        SEARCHED,
        _aligned,
        lambda weights, scale, settings, _: Pursuit(settings.k),
        _projected,
        "matching pursuit with aligned pairs (arXiv 2602.06218)",
        paired=True,
    ),
}
