"""Kinds of block-sparse featurizers: free encoders, orthonormal tied blocks, and group shrinkage."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from steerlab.bases.encoders import Encoder, Linear
from steerlab.bases.rules import BlockShrink, BlockTopK
from steerlab.fitting.kind import LINEAR, Kind, Pass, Weights, error, kept, pre_activations
from steerlab.fitting.settings import Fitting
from steerlab.numerics.blocks import block_norms, bounded_blocks, orthonormal_blocks
from steerlab.numerics.codes import decode_entries
from steerlab.numerics.sparse import block_entries, block_shrink

PAPER = "block-sparse featurizer of Fel, Kowal et al., Structuring Sparsity"
_ORTHONORMAL_EVERY = 20  # steps between two QR factorisations, as in the paper


def _explained(
    weights: Weights, rows: torch.Tensor, pre: torch.Tensor, settings: Fitting
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the k strongest blocks explain, and what the k next ones add, ``[row, dim]`` each."""
    most = min(2 * settings.k, pre.shape[-1] // settings.block)
    values, index = block_entries(pre, most, settings.block)
    split = settings.k * settings.block
    return (
        decode_entries(values[:, :split], index[:, :split], weights["decoder"]),
        decode_entries(values[:, split:], index[:, split:], weights["decoder"]),
    )


def _seen(
    rows: torch.Tensor, rebuilt: torch.Tensor, more: torch.Tensor, pre: torch.Tensor, settings: Fitting
) -> Pass:
    """The loss with the auxiliary term ``alpha E|r - z'D|^2``, ``r`` without gradients (our own reading)."""
    loss, missed = error(rows, rebuilt)
    weight = 1 / settings.k if settings.auxiliary is None else settings.auxiliary
    if weight:
        loss = loss + weight * (missed - more).square().mean()
    _, index = block_entries(pre.detach(), min(settings.k, pre.shape[-1] // settings.block), settings.block)
    fired = torch.zeros(pre.shape[-1], dtype=torch.bool, device=pre.device)
    fired[index.flatten()] = True
    return Pass(loss, missed, fired)


def _vanilla(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    pre = pre_activations(weights, rows)
    rebuilt, more = _explained(weights, rows, pre, settings)
    return _seen(rows, rebuilt + weights["bias"], more, pre, settings)


def _tied(weights: Weights, rows: torch.Tensor) -> torch.Tensor:
    """``gamma x D^T``, ``[row, atom]``."""
    return weights["log_gamma"].exp() * (rows @ weights["decoder"].T)


def _grassmannian(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    pre = _tied(weights, rows)
    return _seen(rows, *_explained(weights, rows, pre, settings), pre, settings)


def _lasso(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Pass:
    """The penalty ``lambda ||z||_{2,1}`` is added while more blocks are active than wanted.

    It is divided by the width, as the mean square is. The auxiliary blocks are the strongest among those
    that are not active.
    """
    pre, size = pre_activations(weights, rows), settings.block
    codes = block_shrink(pre, weights["log_threshold"].exp(), size)
    lengths = block_norms(codes, size)
    active = lengths > 0
    loss, missed = error(rows, codes @ weights["decoder"] + weights["bias"])
    if float(active.sum(-1).float().mean()) > settings.k:
        loss = loss + settings.penalty * lengths.sum(-1).mean() / rows.shape[-1]
    weight = 1 / settings.k if settings.auxiliary is None else settings.auxiliary
    if weight:
        others = pre.masked_fill(active.repeat_interleave(size, -1), 0.0)
        values, index = block_entries(others, min(settings.k, active.shape[-1]), size)
        more = decode_entries(values, index, weights["decoder"])
        loss = loss + weight * (missed - more).square().mean()
    return Pass(loss, missed, active.any(0).repeat_interleave(size))


def _fitting_scale(pre: torch.Tensor, rows: torch.Tensor, decoder: torch.Tensor, settings: Fitting) -> float:
    """The factor of the codes that fits rows best at the first step; without it sizes start wrong."""
    values, index = block_entries(pre, settings.k, settings.block)
    rebuilt = decode_entries(values, index, decoder).double()
    return float((rebuilt * rows).sum() / rebuilt.square().sum().clamp_min(1e-30))


def _begin_free(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Weights:
    """Blocks of the largest length that is allowed, and encoders along them: ``W = c D^T``.

    Thresholds, where there are such, are those at which every block answers to ``k / G`` of the first rows,
    so that as many blocks are active as are wanted (our own definition). From lower ones, with most blocks
    active at first, several blocks come to share one factor and stay.
    """
    decoder = orthonormal_blocks(weights["decoder"], settings.block) / settings.block**0.5
    scale = _fitting_scale(rows @ decoder.T, rows, decoder, settings)
    begun = weights | {"decoder": decoder, "encoder": scale * decoder.T.contiguous()}
    if "log_threshold" in weights:
        lengths = block_norms(rows @ begun["encoder"], settings.block)
        share = 1 - settings.k / lengths.shape[1]
        place = min(max(1, round(share * len(rows))), max(1, len(rows) - 1))  # no block begins without a row
        begun["log_threshold"] = lengths.kthvalue(place, 0).values.clamp_min(1e-12).log()
    return begun


def _begin_tied(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Weights:
    decoder = orthonormal_blocks(weights["decoder"], settings.block)
    scale = _fitting_scale(rows @ decoder.T, rows, decoder, settings)
    return {"decoder": decoder, "log_gamma": decoder.new_tensor([max(scale, 1e-6)]).log()}


def _as_it_is(weights: Weights, settings: Fitting) -> None:
    """Gradients as they are: blocks may change their length."""


def _bound(weights: Weights, settings: Fitting, done: int) -> None:
    weights["decoder"].copy_(bounded_blocks(weights["decoder"], settings.block))


def _orthonormal(weights: Weights, settings: Fitting, done: int) -> None:
    if done % _ORTHONORMAL_EVERY == 0 or done == settings.steps:  # what is kept never has drifted
        weights["decoder"].copy_(orthonormal_blocks(weights["decoder"], settings.block))


def _kept_tied(weights: Weights, scale: float, settings: Fitting, _: Iterable[torch.Tensor]) -> Encoder:
    encoder = (weights["log_gamma"].exp() * weights["decoder"]).T.contiguous()
    return Linear(encoder, encoder.new_zeros(encoder.shape[1]), BlockTopK(settings.k, settings.block))


def _kept_lasso(weights: Weights, scale: float, settings: Fitting, _: Iterable[torch.Tensor]) -> Encoder:
    return kept(weights, scale, BlockShrink(weights["log_threshold"].exp() * scale, settings.block))


BLOCK_KINDS = {
    "block": Kind(
        LINEAR,
        _vanilla,
        lambda weights, scale, settings, _: kept(weights, scale, BlockTopK(settings.k, settings.block)),
        None,
        f"vanilla {PAPER}, with a bias of its own (our own addition)",
        begin=_begin_free,
        hold=_as_it_is,
        settle=_bound,
    ),
    "grassmannian": Kind(
        ("decoder", "log_gamma"),
        _grassmannian,
        _kept_tied,
        None,
        f"Grassmannian {PAPER}; rows are centred first (our own addition)",
        begin=_begin_tied,
        hold=_as_it_is,
        settle=_orthonormal,
    ),
    "group-lasso": Kind(
        (*LINEAR, "log_threshold"),
        _lasso,
        _kept_lasso,
        None,
        f"group lasso {PAPER}, with a bias of its own (our own addition)",
        begin=_begin_free,
        hold=_as_it_is,
        settle=_bound,
    ),
}
