"""What a step of a shared index of concepts minimises: universal and coupled dictionaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from steerlab.errors import SteerlabError
from steerlab.fitting.settings import Fitting
from steerlab.numerics.codes import decode_entries
from steerlab.numerics.concepts import iso_energy_loss, paired_code_loss
from steerlab.numerics.sparse import top_k_entries

PARTS = ("encoder", "encoder_bias", "decoder", "bias")
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Losses:
    """Weights of what a coupled training minimises beside each model's own reconstruction.

    The family of losses is that of arXiv 2606.09653 and 2602.06218; which weights the former takes is not
    known to us, and those here are our own.

    Parameters
    ----------
    translation : float
        ``|D_2(z_1) - x_2|^2`` of pairs.
    consistency : float
        Paired codes agree: ``(z_1 - z_2)^2 / (E z_1^2 + E z_2^2)``.
    energy : float
        Each concept has the same energy in both models; needs no pairs.
    cycle : float
        ``x_1 -> z_1 -> D_2 -> z_2 -> D_1`` comes back; needs no pairs.
    """

    translation: float = 1.0
    consistency: float = 0.1
    energy: float = 0.1
    cycle: float = 0.1

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise SteerlabError(f"Losses: {one.name}={value!r} is not a number of 0 or more")


@dataclass(frozen=True, eq=False)
class Step:
    """A batch and what is drawn for it.

    Parameters
    ----------
    weights : dict
        Of all models, as ``"decoder.0"``.
    batch : sequence of Tensor
        Centred and scaled rows of each model, ``[row, dim]``, that belong together.
    drawn : sequence of int
        The models in a random order.
    settings, losses
        What was asked for.
    """

    weights: Weights
    batch: Sequence[torch.Tensor]
    drawn: Sequence[int]
    settings: Fitting
    losses: Losses

    def of(self, model: int) -> Weights:
        """The weights of one model."""
        return {part: self.weights[f"{part}.{model}"] for part in PARTS}


@dataclass(frozen=True, eq=False)
class Pass:
    """What a step says.

    Parameters
    ----------
    loss : Tensor
        What is minimised, a scalar.
    missed : dict
        What is left unexplained of a model's rows, ``[row, dim]``.
    entries : tuple of Tensor
        Values and indices of the codes of the first drawn model, ``[row, k]``.
    learns : set of str
        Names of the weights that learn.
    """

    loss: torch.Tensor
    missed: dict[int, torch.Tensor]
    entries: tuple[torch.Tensor, torch.Tensor]
    learns: set[str]


def entries_of(weights: Weights, rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and indices ``[row, k]`` of a model's codes of its rows."""
    pre = torch.addmm(weights["encoder_bias"], rows - weights["bias"], weights["encoder"])
    return top_k_entries(pre, k)


def rebuilt(weights: Weights, entries: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Codes decoded into a model's rows, ``[row, dim]``."""
    return decode_entries(*entries, weights["decoder"]) + weights["bias"]


def universal(step: Step) -> Pass:
    """``sum_j |x_j - TopK(encoder_i(x_i)) D_j|^2`` (arXiv 2502.03714)."""
    source = step.drawn[0]
    entries = entries_of(step.of(source), step.batch[source], step.settings.k)
    missed = {model: x - rebuilt(step.of(model), entries) for model, x in enumerate(step.batch)}
    learns = {f"{part}.{source}" for part in PARTS}
    learns |= {f"{part}.{model}" for part in ("decoder", "bias") for model in missed}
    return Pass(sum(one.square().mean() for one in missed.values()), missed, entries, learns)


def coupled(step: Step) -> Pass:
    """Own reconstructions, translations, paired codes, energies and cycles of two models, weighed."""
    pair, weigh, k = step.drawn[:2], step.losses, step.settings.k
    weights = {model: step.of(model) for model in pair}
    rows = {model: step.batch[model] for model in pair}
    entries = {model: entries_of(weights[model], rows[model], k) for model in pair}
    missed = {model: rows[model] - rebuilt(weights[model], entries[model]) for model in pair}
    loss = sum(one.square().mean() for one in missed.values())
    for start, end in (pair, pair[::-1]):
        there = rebuilt(weights[end], entries[start])
        loss = loss + weigh.translation * (rows[end] - there).square().mean()
        if weigh.cycle:
            back = rebuilt(weights[start], entries_of(weights[end], there, k))
            loss = loss + weigh.cycle * (rows[start] - back).square().mean()
    if weigh.consistency or weigh.energy:
        atoms = len(weights[pair[0]]["encoder_bias"])
        codes = [torch.zeros(len(rows[m]), atoms).scatter_add(1, *entries[m][::-1]) for m in pair]
        loss = loss + weigh.consistency * paired_code_loss(*codes) + weigh.energy * iso_energy_loss(*codes)
    learns = {f"{part}.{model}" for part in PARTS for model in pair}
    return Pass(loss, missed, entries[pair[0]], learns)


STEPS = {"universal": universal, "coupled": coupled}
