"""The kinds of dictionary that can be trained: how codes are found, what is minimised, how it is kept."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn.functional import cosine_similarity

from steerlab.bases.encoders import Pursuit
from steerlab.bases.rules import JumpRelu, TopK
from steerlab.fitting.blocks import BLOCK_KINDS
from steerlab.fitting.kind import LINEAR, SEARCHED, Kind, Pass, Weights, error, kept, pre_activations
from steerlab.fitting.settings import Fitting
from steerlab.numerics.codes import decode_entries, decode_sparse
from steerlab.numerics.pursuit import matching_pursuit
from steerlab.numerics.sparse import batch_threshold, batch_top_k, top_k_entries


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


def _top_k(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    values, index = top_k_entries(pre_activations(weights, rows), settings.k)
    loss, missed = error(rows, decode_entries(values, index, weights["decoder"]) + weights["bias"])
    fired = torch.zeros_like(weights["encoder_bias"], dtype=torch.bool)
    fired[index[values > 0]] = True
    return Pass(loss, missed, fired)


def _batch_top_k(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    return _dense(weights, rows, batch_top_k(pre_activations(weights, rows), settings.k))


def _dense(weights: Weights, rows: torch.Tensor, codes: torch.Tensor) -> Pass:
    loss, missed = error(rows, decode_sparse(codes, weights["decoder"]) + weights["bias"])
    return Pass(loss, missed, (codes != 0).any(0))


def _aligned(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    codes = matching_pursuit(rows - weights["bias"], weights["decoder"], settings.k)
    loss, missed = error(rows, codes @ weights["decoder"] + weights["bias"])
    if settings.align:
        loss = loss - settings.align * alignment(codes)
    return Pass(loss, missed.flatten(0, 1), (codes != 0).any(0).any(0))


def _encoded(weights: Weights, rows: torch.Tensor, missed: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    return (rows - weights["bias"]) @ weights["encoder"][:, atoms] + weights["encoder_bias"][atoms]


def _projected(
    weights: Weights, rows: torch.Tensor, missed: torch.Tensor, atoms: torch.Tensor
) -> torch.Tensor:
    return missed @ weights["decoder"][atoms].T


def _threshold(weights: Weights, settings: Fitting, batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """The mean over batches of the smallest pre-activation that is chosen (arXiv 2412.06410), ``[1]``."""
    found = [batch_threshold(pre_activations(weights, rows), settings.k) for rows in batches]
    return torch.stack(found).mean().clamp_min(0)[None]


KINDS = {
    "topk": Kind(
        LINEAR,
        _top_k,
        lambda weights, scale, settings, _: kept(weights, scale, TopK(settings.k)),
        _encoded,
        "top-k (arXiv 2406.04093)",
    ),
    "batch-topk": Kind(
        LINEAR,
        _batch_top_k,
        lambda weights, scale, settings, batches: kept(
            weights, scale, JumpRelu(_threshold(weights, settings, batches) * scale)
        ),
        _encoded,
        "batch top-k (arXiv 2412.06410), its threshold estimated on training rows",
    ),
    "aligned": Kind(
        SEARCHED,
        _aligned,
        lambda weights, scale, settings, _: Pursuit(settings.k),
        _projected,
        "matching pursuit with aligned pairs (arXiv 2602.06218)",
        paired=True,
    ),
    **BLOCK_KINDS,
}
