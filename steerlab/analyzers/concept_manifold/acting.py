"""Acting on the atoms that carry a concept: both ablations and moves, beside groups that fire as often."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.batches import in_batches
from steerlab.analyzers.concept_manifold.gathering import entries_of
from steerlab.atoms import AtomGroup
from steerlab.bases import Manifold
from steerlab.bases.manifold_fitting import Shape
from steerlab.edits import Edit, Replace
from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.intervention import Changes
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.sites import Site
from steerlab.tokens import TokenChoice


@dataclass(frozen=True, eq=False)
class Place:
    """Where edits act and where their effect is read.

    Parameters
    ----------
    model : Model
        The model.
    site, readout : Site
        Where edits act, and which activation tells their effect.
    tokens : optional
        Of both.
    batch : int
        Inputs of a forward.
    """

    model: Model
    site: Site
    readout: Site
    tokens: TokenChoice | None
    batch: int

    def changes(self, edit: Edit) -> Changes:
        """The edit at its site, on the tokens that were looked at."""
        return {str(self.site): edit if self.tokens is None else edit.on(tokens=self.tokens)}

    def read(self, inputs: Any, edit: Edit | None = None) -> torch.Tensor:
        """The readout of every input, the mean over its tokens, perhaps under an edit; ``[input, dim]``."""
        rows = []
        for number, some in enumerate(in_batches(inputs, self.batch)):
            what = f"readout {self.readout} {self.tokens} under {edit} batch {number} of {self.batch}"
            rows.append(kept(what, lambda some=some: self._one(some, edit)))
        return torch.cat(rows)

    def _one(self, batch: Any, edit: Edit | None) -> torch.Tensor:
        with nullcontext() if edit is None else self.model.edit(self.changes(edit)):
            found = entries_of(self.model, batch, self.readout, self.tokens, 1_000_000).double()
        owners = found[:, 0].long()
        sums = torch.zeros(int(owners.max()) + 1, found.shape[1] - 1, dtype=torch.float64)
        return sums.index_add(0, owners, found[:, 1:]) / torch.bincount(owners)[:, None]


def matched(group: AtomGroup, rates: torch.Tensor, seed: int, avoid: torch.Tensor) -> AtomGroup | None:
    """As many other atoms, each a random one of the three that fire nearest as often as a member.

    Parameters
    ----------
    group : AtomGroup
        The members.
    rates : Tensor
        How often each atom of its dictionary fires, ``[atom]``.
    seed : int
        Of the choice among the three.
    avoid : Tensor
        Atoms that are not taken, ``[a]``; where too few others are left there is no such group.
    """
    generator = torch.Generator().manual_seed(seed)
    free = torch.ones(len(rates), dtype=torch.bool)
    free[group.atoms] = free[avoid] = False
    if int(free.sum()) < len(group):
        return None
    chosen = []
    for member in group.atoms.tolist():
        apart = torch.where(free, (rates - rates[member]).abs(), torch.inf)
        nearest = apart.argsort(stable=True)[: min(3, int(free.sum()))]
        chosen.append(int(nearest[torch.randint(len(nearest), (1,), generator=generator)]))
        free[chosen[-1]] = False
    return AtomGroup(group.dictionary, chosen)


def effects(place: Place, inputs: Any, edits: Sequence[Edit]) -> torch.Tensor:
    """Mean effect of each edit on the model's output, ``[edit]``; the metric is that of `Model.sweep`."""
    total, rows = torch.zeros(len(edits), dtype=torch.float64), 0
    arms = [place.changes(edit) for edit in edits]
    for some in in_batches(inputs, place.batch):
        with warnings.catch_warnings():
            # a control that never fires on these inputs changes nothing, and that is what it shows
            warnings.simplefilter("ignore", SteerlabWarning)
            found = place.model.sweep(some, arms, batch=2, progress=False).double()
        total += found.sum(1)
        rows += found.shape[1]
    return total / rows


def manifold_of(
    group: AtomGroup, x: torch.Tensor, labels: torch.Tensor, names: Sequence[str]
) -> Manifold | None:
    """The concept's manifold in the group's span, where three values or more and two directions allow it."""
    if len(names) < 3 or len(group.span) < 2:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SteerlabWarning)
            return group.fit_manifold(x, labels, shape=Shape(coords="ordinal", names=names))
    except SteerlabError:
        return None


def moves(manifold: Manifold, targets: Sequence[int]) -> list[Replace]:
    """Inside the group's span the activation becomes that of each target value."""
    return [Replace(manifold.point(int(one)).float(), manifold.subspace) for one in targets]


def arrivals(
    place: Place, inputs: Any, labels: torch.Tensor, manifold: Manifold, targets: Sequence[int]
) -> torch.Tensor:
    """Cosine of what a move does to the readout with what the target's own inputs have there, ``[target]``.

    Compared are ``mean(edited) - mean(base)`` over the inputs of all other values and ``mean(base of the
    target) - mean(base of the others)``; our own definition.
    """
    base = place.read(inputs)
    found = []
    for target, edit in zip(targets, moves(manifold, targets), strict=True):
        edited = place.read(inputs, edit)
        others = labels != target
        change = (edited - base)[others].mean(0)
        wanted = base[labels == target].mean(0) - base[others].mean(0)
        found.append(float(torch.nn.functional.cosine_similarity(change, wanted, dim=0)))
    return torch.tensor(found)
