"""What a kind of dictionary is: what is trained, what is minimised, what is kept after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from steerlab.bases.encoders import Encoder, Linear
from steerlab.bases.rules import Rule
from steerlab.fitting.settings import Fitting

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


def as_drawn(weights: Weights, rows: torch.Tensor, settings: Fitting) -> Weights:
    """First weights as they were drawn: random unit atoms, and encoders that look along them."""
    return weights


def no_longer(weights: Weights, settings: Fitting) -> None:
    """Leave of the gradient what turns the atoms; what would only make them longer is taken back anyway."""
    if settings.unit_norm:
        decoder = weights["decoder"]
        decoder.grad -= (decoder.grad * decoder.detach()).sum(-1, keepdim=True) * decoder.detach()


def unit_length(weights: Weights, settings: Fitting, done: int) -> None:
    """Bring atoms back to length 1, where that is wanted."""
    if settings.unit_norm:
        weights["decoder"].copy_(normalize(weights["decoder"]))


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
    along : callable, optional
        ``(weights, rows, missed, atoms) -> [row, m]``: how strongly some atoms would answer to rows, of which
        `missed` is left unexplained; by it dead atoms learn. None where `run` sees to that itself.
    source : str
        What the method is called and where it is described.
    paired : bool
        Whether rows come in pairs ``[row, 2, dim]``.
    begin : callable
        ``(weights, rows, settings) -> weights``: the first weights, from random ones and the first rows.
    hold : callable
        ``(weights, settings)``: what is done to gradients before a step, in place.
    settle : callable
        ``(weights, settings, done)``: what is done to weights after step number `done`, in place.
    """

    weights: tuple[str, ...]
    run: Callable[[Weights, torch.Tensor, Fitting], Pass]
    encoder: Callable[[Weights, float, Fitting, Iterable[torch.Tensor]], Encoder]
    along: Callable[[Weights, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None
    source: str
    paired: bool = False
    begin: Callable[[Weights, torch.Tensor, Fitting], Weights] = as_drawn
    hold: Callable[[Weights, Fitting], None] = no_longer
    settle: Callable[[Weights, Fitting, int], None] = unit_length


def pre_activations(weights: Weights, rows: torch.Tensor) -> torch.Tensor:
    """``(x - bias) W + b``, ``[row, atom]``: the decoder's bias is taken off first (arXiv 2406.04093)."""
    return torch.addmm(weights["encoder_bias"], rows - weights["bias"], weights["encoder"])


def answers(weights: Weights, rows: torch.Tensor, missed: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
    """Pre-activations of some atoms, ``[row, m]``."""
    flat = rows.reshape(missed.shape)
    return (flat - weights["bias"]) @ weights["encoder"][:, atoms] + weights["encoder_bias"][atoms]


def error(rows: torch.Tensor, rebuilt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean square of what is missed, and what is missed, ``[row, dim]``, without gradients."""
    missed = rows - rebuilt
    return missed.square().mean(), missed.detach()


def kept(weights: Weights, scale: float, rule: Rule) -> Linear:
    """The encoder for rows of their own scale."""
    # codes grow with the rows and the atoms stay, so that the bias alone knows of the scale
    return Linear(weights["encoder"], weights["encoder_bias"] * scale, rule)
