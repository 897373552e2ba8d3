"""Steering along a block's curve: how far a later read-out follows, beside matched steps elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.activations import Activations
from steerlab.analyzers.batches import in_batches
from steerlab.analyzers.blocks.factors import Factor
from steerlab.analyzers.blocks.sampling import choice_of
from steerlab.bases import Curved, Dictionary
from steerlab.edits import Edit, Move, Replace
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.tuning import Readout
from steerlab.report import Evidence
from steerlab.sites import Site
from steerlab.tokens import TokenChoice

SHARES = (-0.25, 0.125, 0.25, 0.375)  # of a period, or two standard deviations of a line


@dataclass(frozen=True, eq=False)
class Plan:
    """What is steered and read.

    Parameters
    ----------
    sites : tuple of Site
        Where it is steered, and where it is read.
    curve : Curved
        The factor's curve inside its block.
    reading : Readout
        Of the later site, fitted without any edit.
    factor : Factor
        What is read.
    straight : Tensor
        Unit directions ``[control, dim]`` along which as long a step is made instead.
    names : list of str
        What those are.
    tokens : optional
        Which tokens are looked at.
    """

    sites: tuple[Site, Site]
    curve: Curved
    reading: Readout
    factor: Factor
    straight: torch.Tensor
    names: list[str]
    tokens: TokenChoice | None

    @property
    def moves(self) -> list[float]:
        """How far along the factor each arm goes."""
        known = self.factor.values[~self.factor.values.isnan()]
        whole = self.factor.period or float(2 * known.std())
        return [share * whole for share in SHARES]


def straight_steps(
    blocks: tuple[Dictionary, int, int], direction: torch.Tensor, controls: int, seed: int
) -> tuple[torch.Tensor, list[str]]:
    """Directions of controls: one in the span of each of some other blocks, and the best single one.

    Parameters
    ----------
    blocks : tuple
        The featurizer, atoms in a block, and the number of the block that is steered.
    direction : Tensor
        The best single direction ``[dim]``.
    controls, seed : int
        How many other blocks, drawn with which seed.
    """
    featurizer, size, best = blocks
    generator = torch.Generator().manual_seed(seed)
    others = [g for g in range(len(featurizer) // size) if g != best] or [best]
    steps, names = [], []
    for number in range(controls):
        other = others[int(torch.randint(len(others), (1,), generator=generator))]
        atoms = featurizer.decoder[other * size : (other + 1) * size]
        steps.append(torch.randn(size, generator=generator) @ atoms)
        names.append(f"random {number}")
    steps += [direction, -direction]
    names += ["single direction", "against it"]
    return torch.nn.functional.normalize(torch.stack(steps), dim=-1), names


def steered(model: Model, data: Any, plan: Plan, batch: int) -> torch.Tensor:
    """Sums over tokens, ``[move, arm, 4]``: distance to the target before and after, way, and count.

    Arm 0 goes along the curve; the others make a step of the same length, token by token, on a straight line.
    """
    total = torch.zeros(len(plan.moves), 1 + len(plan.names), 4, dtype=torch.float64)
    first = 0
    for number, inputs in enumerate(in_batches(data, batch)):

        def one(inputs: Any = inputs, first: int = first) -> torch.Tensor:
            return _batch(model, inputs, plan, first)

        total += kept(f"Blocks steered {number} {plan.sites}", one)
        first += len(inputs)
    return total


def _batch(model: Model, inputs: Any, plan: Plan, first: int) -> torch.Tensor:
    here, later = plan.sites
    found = torch.zeros(len(plan.moves), 1 + len(plan.names), 4, dtype=torch.float64)
    base = model.capture(inputs, [here, later])
    x = base[here].float()
    choice = choice_of(base, later, plan.tokens)
    true = plan.factor.values[first : first + len(inputs)]
    before, values, _ = _read(_chosen(base, choice)[later], plan, true)
    for i, move in enumerate(plan.moves):
        target = values + move
        at_first = plan.factor.distance(before, target)
        for arm, edit in enumerate(_arms(x, plan, move)):
            with model.edit({here: edit}, strict=False):
                acts = model.capture(inputs, later)
            after = _read(_chosen(acts, choice)[later], plan, true)[0]
            way = plan.factor.way(before, after)
            numbers = (at_first, plan.factor.distance(after, target), way, torch.ones_like(way))
            found[i, arm] = torch.stack([n.double().sum() for n in numbers])
    return found


def _chosen(acts: Activations, choice: TokenChoice | None) -> Activations:
    return acts if choice is None else acts.tokens(choice)


def _arms(x: torch.Tensor, plan: Plan, move: float) -> Iterator[Edit]:
    own = Move(plan.curve, move)
    yield own
    length = (own(x) - x).norm(dim=-1, keepdim=True)
    for direction in plan.straight:
        yield Replace(x + length * direction)


def _read(later: torch.Tensor, plan: Plan, true: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Read-outs and true values of the tokens where something is known, and which those are."""
    values = Factor(plan.factor.name, true, plan.factor.period).tokens(later.shape[1])
    known = ~values.isnan()
    return plan.reading(later[known].float()), values[known], known


def evidence_of_steering(sums: torch.Tensor, plan: Plan) -> Evidence:
    """Over all moves together: the share of the way to the target that the read-out goes."""
    share = 1 - sums[..., 1].sum(0) / sums[..., 0].sum(0)
    return Evidence(
        f"moving along the curve moves what {plan.sites[1]} says of {plan.factor.name} "
        "(controls: steps as long in other blocks and along the best single direction)",
        "intervened",
        float(share[0]),
        tuple(share[1:].tolist()),
        0.0,
        unit="share of the way",
    )
