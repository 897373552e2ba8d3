"""The kinds of dictionary that can be trained: how codes are found, what is minimised, how it is kept."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from steerlab.bases.rules import JumpRelu, TopK
from steerlab.fitting.blocks import BLOCK_KINDS
from steerlab.fitting.kind import LINEAR, Kind, Pass, Weights, answers, error, kept, pre_activations
from steerlab.fitting.paired import PAIRED_KINDS, alignment
from steerlab.fitting.settings import Fitting
from steerlab.numerics.codes import decode_entries, decode_sparse
from steerlab.numerics.sparse import batch_threshold, batch_top_k, top_k_entries

__all__ = ["KINDS", "alignment"]


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


def _threshold(weights: Weights, settings: Fitting, batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """The mean over batches of the smallest pre-activation that is chosen (arXiv 2412.06410), ``[1]``."""
    found = [batch_threshold(pre_activations(weights, rows), settings.k) for rows in batches]
    return torch.stack(found).mean().clamp_min(0)[None]


KINDS = {
    "topk": Kind(
        LINEAR,
        _top_k,
        lambda weights, scale, settings, _: kept(weights, scale, TopK(settings.k)),
        answers,
        "top-k (arXiv 2406.04093)",
    ),
    "batch-topk": Kind(
        LINEAR,
        _batch_top_k,
        lambda weights, scale, settings, batches: kept(
            weights, scale, JumpRelu(_threshold(weights, settings, batches) * scale)
        ),
        answers,
        "batch top-k (arXiv 2412.06410), its threshold estimated on training rows",
    ),
    **PAIRED_KINDS,
    **BLOCK_KINDS,
}
