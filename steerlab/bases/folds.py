"""The same dictionary written differently: unit rows, no bias before the encoder, no norm, no gate."""

from __future__ import annotations

from dataclasses import replace

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Encoder, Gated, Linear
from steerlab.bases.norms import Norm, Same, Standardise, Whitening
from steerlab.bases.rules import JumpRelu, scaled
from steerlab.errors import SteerlabError


def unit_rows(dictionary: Dictionary) -> Dictionary:
    """The same reconstructions with rows of length 1: codes become ``z |d|``.

    ``D / n``, ``W n``, ``b n`` and thresholds ``n``, with ``n`` the rows' lengths. Which atoms are active
    does not change: a top-k rule goes on ranking by the old codes.

    Parameters
    ----------
    dictionary : Dictionary
        With a linear or a gated encoder; rows of length 0 stay as they are.
    """
    n = dictionary.decoder.norm(dim=-1)
    n = torch.where(n > 0, n, torch.ones_like(n))
    rows = dictionary.decoder / n[:, None]
    return replace(dictionary, decoder=rows, encoder=_longer(dictionary.encoder, n), stats=None)


def without_pre_bias(dictionary: Dictionary) -> Dictionary:
    """The same codes with the bias before encoding moved into the encoder's own: ``b - pre W``."""
    if dictionary.pre_bias is None:
        return dictionary
    encoder = _shifted(dictionary.encoder, dictionary.pre_bias)
    return replace(dictionary, encoder=encoder, pre_bias=None)


def without_norm(dictionary: Dictionary) -> Dictionary:
    """The same codes and reconstructions from the activation itself, for norms that are constants.

    With ``n = (x - m) M``: ``W <- M W``, ``b <- b - (m M + pre) W``, ``D <- D M^-1``, and
    ``bias <- bias M^-1 + m`` (arXiv 2511.13981 for whitening). The rows' lengths change, and with them what a
    unit of code is. Norms that measure every row cannot be folded, and a transcoder's may not be.
    """
    if isinstance(dictionary.norm, Same):
        return dictionary
    if dictionary.is_transcoder:
        raise SteerlabError("a transcoder reads one space and writes another: its norm cannot be folded")
    mean, forward, backward = _affine(dictionary.norm, dictionary.dim)
    pre = dictionary.pre_bias if dictionary.pre_bias is not None else torch.zeros(dictionary.dim)
    encoder = _shifted(dictionary.encoder, mean @ forward + pre)
    bias = mean if dictionary.bias is None else dictionary.bias @ backward + mean
    return replace(
        dictionary,
        decoder=dictionary.decoder @ backward,
        encoder=replace(encoder, weight=forward @ encoder.weight),
        bias=bias,
        pre_bias=None,
        norm=Same(),
        stats=None,
    )


def as_jumprelu(dictionary: Dictionary) -> Dictionary:
    """A gated dictionary as a JumpReLU one with the same codes.

    On the magnitude path ``pre = x W e^r + b_mag``, the gate is open where
    ``pre > b_mag - b_gate e^r`` (arXiv 2407.14435 shows that the two are one architecture).
    """
    gate = dictionary.encoder
    if not isinstance(gate, Gated):
        raise SteerlabError(f"only a gated dictionary can be written so, not {type(gate).__name__}")
    scale = gate.log_scale.exp()
    threshold = gate.magnitude_bias - gate.gate_bias * scale
    encoder = Linear(gate.weight * scale, gate.magnitude_bias, JumpRelu(threshold))
    return replace(dictionary, encoder=encoder)


def _affine(norm: Norm, dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if isinstance(norm, Whitening):
        return norm.mean, norm.matrix, norm.inverse
    if isinstance(norm, Standardise):
        std = norm.std.expand(dim)
        return norm.mean.expand(dim), torch.diag(1 / std), torch.diag(std)
    raise SteerlabError(
        f"{type(norm).__name__} measures every row: it cannot be folded into constant weights"
    )


def _longer(encoder: Encoder, n: torch.Tensor) -> Encoder:
    """The encoder whose codes are `n` times as large."""
    if isinstance(encoder, Gated):
        return replace(
            encoder,
            weight=encoder.weight * n,
            gate_bias=encoder.gate_bias * n,
            magnitude_bias=encoder.magnitude_bias * n,
        )
    rule = scaled(encoder.rule, n) if isinstance(encoder, Linear) else None
    if rule is None:
        name = type(encoder.rule).__name__ if isinstance(encoder, Linear) else type(encoder).__name__
        raise SteerlabError(f"the codes of {name} cannot be rescaled atom by atom: its support would change")
    return Linear(encoder.weight * n, encoder.bias * n, rule)


def _shifted(encoder: Encoder, by: torch.Tensor) -> Encoder:
    """The encoder that gives at ``x`` what the old one gave at ``x - by``."""
    if isinstance(encoder, Gated):
        along = by @ encoder.weight
        return replace(
            encoder,
            gate_bias=encoder.gate_bias - along,
            magnitude_bias=encoder.magnitude_bias - along * encoder.log_scale.exp(),
        )
    if not isinstance(encoder, Linear):
        raise SteerlabError(f"{type(encoder).__name__} has no bias of its own to take another one up")
    return replace(encoder, bias=encoder.bias - by @ encoder.weight)
