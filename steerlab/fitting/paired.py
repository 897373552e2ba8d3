"""Kinds of dictionary for pairs of two modalities: by matching pursuit, and with an encoder and top-k."""

from __future__ import annotations

import torch
from torch.nn.functional import cosine_similarity

from steerlab.bases.encoders import Pursuit
from steerlab.bases.rules import TopK
from steerlab.fitting.kind import LINEAR, SEARCHED, Kind, Pass, Weights, answers, kept, pre_activations
from steerlab.fitting.settings import Fitting
from steerlab.numerics.codes import decode_entries
from steerlab.numerics.pursuit import matching_pursuit
from steerlab.numerics.sparse import top_k_entries


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


def gap_left(codes: torch.Tensor, missed: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
    """What of the difference of means would stay without unimodal atoms: a vector ``[dim]``.

    ``E[r] - E[r'] + sum_k 4 mu_k (1 - mu_k) (E[z_k] - E[z'_k]) d_k`` with the energy score ``mu`` of the
    batch: the error and the shared atoms, each as far as it is shared. Our own definition. Where
    modalities overlap, the cosine of paired codes does not say whether the gap lies in atoms of their own,
    in shared atoms that are a little louder in one of them, or in the error.

    Parameters
    ----------
    codes, missed : Tensor
        ``[pair, 2, atom]`` and ``[pair, 2, dim]``.
    decoder : Tensor
        Atoms ``[atom, dim]``.
    """
    energy = codes.square().mean(0)
    score = energy[0] / energy.sum(0).clamp_min(torch.finfo(codes.dtype).eps)
    codes, missed = codes.mean(0), missed.mean(0)
    return missed[0] - missed[1] + (4 * score * (1 - score) * (codes[0] - codes[1])) @ decoder


def _seen(missed: torch.Tensor, codes: torch.Tensor, decoder: torch.Tensor, settings: Fitting) -> Pass:
    """The loss of pairs: the error, less the alignment, and the gap that shared atoms would leave."""
    loss = missed.square().mean()
    if settings.align:
        loss = loss - settings.align * alignment(codes)
    if settings.gap:
        loss = loss + settings.gap * gap_left(codes, missed, decoder).square().mean()
    return Pass(loss, missed.detach().flatten(0, 1), (codes != 0).any(0).any(0))


def _pursued(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    codes = matching_pursuit(rows - weights["bias"], weights["decoder"], settings.k)
    missed = rows - (codes @ weights["decoder"] + weights["bias"])
    return _seen(missed, codes, weights["decoder"], settings)


def _top_k(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    decoder, flat = weights["decoder"], rows.flatten(0, 1)
    values, index = top_k_entries(pre_activations(weights, flat), settings.k)
    missed = flat - (decode_entries(values, index, decoder) + weights["bias"])
    codes = values.new_zeros(len(flat), len(decoder)).scatter(1, index, values)
    return _seen(missed.unflatten(0, rows.shape[:2]), codes.unflatten(0, rows.shape[:2]), decoder, settings)


def _projected(
    weights: Weights, rows: torch.Tensor, missed: torch.Tensor, atoms: torch.Tensor
) -> torch.Tensor:
    return missed @ weights["decoder"][atoms].T


PAIRED_KINDS = {
    "aligned": Kind(
        SEARCHED,
        _pursued,
        lambda weights, scale, settings, _: Pursuit(settings.k),
        _projected,
        "matching pursuit with aligned pairs (arXiv 2602.06218)",
        paired=True,
    ),
    "aligned-topk": Kind(
        LINEAR,
        _top_k,
        lambda weights, scale, settings, _: kept(weights, scale, TopK(settings.k)),
        answers,
        "top-k (arXiv 2406.04093) with aligned pairs (as arXiv 2602.06218 aligns them)",
        paired=True,
    ),
}
