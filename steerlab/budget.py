"""The largest strength that leaves other inputs alone: found by measuring, not by guessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.divergence import kl_tokens

DOUBLINGS, HALVINGS = 16, 10
Make = Callable[[float], Changes]


@dataclass(frozen=True, eq=False)
class Budget:
    """A strength and what it costs on control inputs.

    Attributes
    ----------
    strength : float
        The largest that was found to stay under the bound.
    cost : float
        What it costs.
    bound : float
        What it may cost.
    intervention : dict
        The edits at that strength.
    curve : list of (float, float)
        Every strength that was measured, with its cost, in order of strength.
    unit : str
        What a cost is.
    """

    strength: float
    cost: float
    bound: float
    intervention: Changes
    curve: list[tuple[float, float]]
    unit: str

    def __str__(self) -> str:
        lines = [f"strength {self.strength:.4g}: {self.unit} {self.cost:.3g} of at most {self.bound:g}"]
        lines += [f"  {strength:10.4g}  {cost:.3g}" for strength, cost in self.curve]
        return "\n".join(lines)


def within_budget(
    model: Model, control: Any, make: Make, *, bound: float = 0.05, start: float = 1.0
) -> Budget:
    """Find the largest strength whose effect on control inputs stays under a bound.

    The strength is doubled from `start` until the bound is passed, then the gap is halved ten times. Where
    the cost is not monotone, the first passage counts: below the strength found, nothing measured cost more.

    Parameters
    ----------
    model : Model
        The model.
    control : object
        Inputs that should stay as they are, as for `Model.capture`: plain text, unrelated images.
    make : callable
        From a strength to an intervention: ``lambda s: {site: Add(vector, s)}``.
    bound : float
        For language models the mean KL divergence from the base over all tokens, in nats; for other models
        the mean relative change of the output.
    start : float
        The first strength; negative ones search below zero.

    Returns
    -------
    Budget
        The strength, its cost, the intervention, and the curve of what was measured.
    """
    if not start or start != start or not bound > 0:
        raise SteerlabError(
            f"start={start}, bound={bound}: a search needs a start other than 0 and a bound above 0"
        )
    measure, unit = _measure(model, control)
    known: dict[float, float] = {}

    def costs_too_much(strength: float) -> bool:
        cost = kept(f"budget {strength}", lambda: torch.tensor(measure(make(strength)), dtype=torch.float64))
        known[strength] = float(cost)
        return not known[strength] <= bound  # NaN is too much

    good, strength = 0.0, float(start)
    for _ in range(DOUBLINGS):
        if costs_too_much(strength):
            break
        good, strength = strength, 2 * strength
    else:
        strength = good
    for _ in range(HALVINGS if strength != good else 0):
        middle = (good + strength) / 2
        if costs_too_much(middle):
            strength = middle
        else:
            good = middle
    if not good:
        raise SteerlabError(
            f"even a strength of {strength:.3g} costs {known[strength]:.3g}, more than the bound of {bound:g}"
        )
    curve = sorted(known.items(), key=lambda pair: abs(pair[0]))
    return Budget(good, known[good], bound, make(good), curve, unit)


def _measure(model: Model, control: Any) -> tuple[Callable[[Changes], float], str]:
    """How an intervention is measured on the control inputs, and what the number is."""
    inputs = model._prepared(control)
    base = _logits(model, inputs)
    if base is None:
        return lambda edit: float(model.sweep(inputs, [edit], progress=False).mean()), "relative change"
    mask = torch.ones(base.shape[:-1], dtype=torch.bool)
    given = inputs.get("attention_mask")
    if isinstance(given, torch.Tensor) and given.shape == mask.shape:
        mask = given.bool()

    def kl(edit: Changes) -> float:
        with model.edit(edit):
            edited = model.logits(inputs)
        return float(kl_tokens(base, edited)[mask.to(base.device)].mean())

    return kl, "KL(base || edited) in nats"


def _logits(model: Model, inputs: dict[str, Any]) -> torch.Tensor | None:
    """The base's logits; None for models that give none."""
    if not isinstance(model.module, nn.Module):
        return None
    try:
        return model.logits(inputs)
    except SteerlabError:
        return None
