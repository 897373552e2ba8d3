"""Encoders of Overcomplete from their state dicts: linear, tied, or a small network with its norms."""

from __future__ import annotations

import torch

from steerlab.bases.encoders import Encoder, Linear
from steerlab.bases.formats.files import Weights
from steerlab.bases.layered import Hidden, Layer, Layered
from steerlab.bases.rules import Rule
from steerlab.errors import SteerlabError

FINAL, BLOCK = "encoder.final_block", "encoder.mlp_blocks.{}"
TIED, UNTIED = "encoder.tied_to.", "encoder.weight"
MIXING = ("encoder.attention_blocks.", "encoder.resnet_blocks.")
EPS = 1e-5  # of torch's norms, and nowhere in the file


def network(weights: Weights, rows: torch.Tensor, rule: Rule) -> Encoder:
    """The encoder of a state dict, as it runs after training.

    Parameters
    ----------
    weights : Weights
        The state dict.
    rows : Tensor
        Atoms ``[atom, dim]``, for encoders that are their transpose.
    rule : Rule
        What makes the codes sparse.
    """
    atoms, dim = rows.shape
    if any(name.startswith(MIXING) for name in weights):
        raise SteerlabError(
            f"{weights.file}: its encoder mixes tokens (attention or convolutions), and no encoder of "
            "single activations equals it"
        )
    if UNTIED in weights or any(name.startswith(TIED) for name in weights):
        weight = weights.take(UNTIED, atoms, dim) if UNTIED in weights else rows
        bias = weights.maybe("encoder.bias", atoms)
        return Linear(weight.T.contiguous(), torch.zeros(atoms) if bias is None else bias, rule)
    last = _layer(weights, FINAL)
    if last.weight.shape[1] != atoms:
        raise SteerlabError(f"{weights.file}: the encoder gives {last.weight.shape[1]} codes, not {atoms}")
    hidden, number = None, 0
    while f"{BLOCK.format(number)}.0.weight" in weights:
        hidden = Hidden(_layer(weights, BLOCK.format(number)), hidden)
        number += 1
    if hidden is None and last.gain is None:
        return Linear(last.weight, last.bias, rule)
    return Layered(last, rule, hidden)


def _layer(weights: Weights, name: str) -> Layer:
    """A linear layer with what follows it: a batch norm goes into its weights, a layer norm stays."""
    weight = weights.take(f"{name}.0.weight", None, None).T
    size = weight.shape[1]
    bias = weights.take(f"{name}.0.bias", size)
    gain, shift = (weights.maybe(f"{name}.1.{part}", size) for part in ("weight", "bias"))
    if gain is None or shift is None:
        return Layer(weight.contiguous(), bias)
    if f"{name}.1.running_mean" not in weights:
        return Layer(weight.contiguous(), bias, gain, shift, EPS)
    mean, variance = (weights.take(f"{name}.1.running_{part}", size) for part in ("mean", "var"))
    factor = gain / (variance + EPS).sqrt()
    return Layer((weight * factor).contiguous(), (bias - mean) * factor + shift)
