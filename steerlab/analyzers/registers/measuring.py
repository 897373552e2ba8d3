"""How even the stream of patches is: long tokens, roughness of their lengths, likeness of neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.batches import in_batches
from steerlab.analyzers.registers.finding import Plan
from steerlab.errors import SteerlabWarning
from steerlab.intervention import Changes
from steerlab.keeping import kept

SLACK = 1e-4  # what was cut to a length is not longer than it
MEASURES = (
    "long patches",
    "longest over median",
    "roughness",
    "likeness of neighbours",
    "change of the output",
)


def measured(plan: Plan, remedies: Mapping[str, Changes | None], above: float, rows: Any) -> torch.Tensor:
    """Every remedy on some inputs, ``[remedy, measure]``, in the order of `MEASURES`.

    The share of patches longer than `above` at the probe; the longest over the median length there; the mean
    difference in length of neighbouring patches over the mean length; the mean cosine of neighbours at the
    end of the model; and the relative change (or KL) of what the model is for. The measures are our own.
    """
    names, total, count = list(remedies), 0, 0
    for number, batch in enumerate(in_batches(rows, plan.batch)):
        found = kept(
            f"Registers remedies {number} {names}", lambda batch=batch: _all(plan, batch, remedies, above)
        )
        total, count = total + found.sum(1), count + found.shape[1]
    return total / count


def _all(plan: Plan, batch: Any, remedies: Mapping[str, Changes | None], above: float) -> torch.Tensor:
    """``[remedy, row, measure]``."""
    at, facts = [plan.probe, "final"], []
    for remedy in remedies.values():
        if remedy is None:
            facts.append(_facts(plan.model.capture(batch, at), plan.probe, above))
            continue
        with plan.model.edit(remedy, strict=False):  # on these inputs nothing may be long
            facts.append(_facts(plan.model.capture(batch, at), plan.probe, above))
    some = [remedy for remedy in remedies.values() if remedy is not None]
    with warnings.catch_warnings():  # a neuron that never speaks on these inputs is no mistake
        warnings.simplefilter("ignore", SteerlabWarning)
        effects = iter(plan.model.sweep(batch, some, batch=4, progress=False).double().cpu())
    none = torch.zeros(len(facts[0]), dtype=torch.float64)
    changes = [none if remedy is None else next(effects) for remedy in remedies.values()]
    return torch.stack([torch.cat([f, c[:, None]], 1) for f, c in zip(facts, changes, strict=True)])


def _facts(acts: Activations, probe: str, above: float) -> torch.Tensor:
    """All measures but the last, ``[row, measure]``."""
    axes = len(acts.map_of(probe).patch_grid())
    lengths = acts.grid(probe).float().norm(dim=-1)
    flat = lengths.flatten(1)
    ends = torch.nn.functional.normalize(acts.grid("final").float(), dim=-1)
    facts = [
        (flat > above * (1 + SLACK)).float().mean(1),
        flat.amax(1) / flat.median(1).values,
        neighbours(lengths, axes, lambda a, b: (a - b).abs()) / flat.mean(1),
        neighbours(ends, axes, lambda a, b: (a * b).sum(-1)),
    ]
    return torch.stack(facts, 1).double().cpu()


def neighbours(
    grid: torch.Tensor, axes: int, of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The mean of a function over pairs of patches side by side or one below the other, ``[row]``.

    Parameters
    ----------
    grid : Tensor
        ``[row, (frame,) row of patches, column, ...]``.
    axes : int
        How many of its axes are places: 2, or 3 with frames.
    of : callable
        From two parts of the grid to a number a pair.
    """
    found = []
    for axis in (axes - 1, axes):
        count = grid.shape[axis] - 1
        if count:
            found.append(of(grid.narrow(axis, 0, count), grid.narrow(axis, 1, count)).flatten(1))
    return torch.cat(found, 1).mean(1)
