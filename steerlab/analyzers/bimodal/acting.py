"""Edits of both towers' embeddings: unimodal atoms taken away, kept alone, the baselines and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from steerlab.analyzers.bimodal.pairs import Shared, lengths
from steerlab.edits import Add, Edit, Project, Remove, Zero

CLEAN, RESIDUAL = "nothing changed", "without unimodal atoms"
REBUILT, BIMODAL, UNIMODAL = "reconstructed", "bimodal atoms alone", "unimodal atoms alone"
MEANS, SHIFT, COMPLEMENT = "means subtracted", "shifted together", "without bimodal atoms"
NUMBER, ENERGY = "random, as many", "random, equal energy"

Arm = tuple[Edit | None, Edit | None]  # of the images' embeddings and of the texts'


def arms_of(shared: Shared, pairs: torch.Tensor, controls: int) -> dict[str, Arm]:
    """Every way of editing both embeddings, by name.

    ``without unimodal atoms`` is ``x - sum_{k not in B} z_k d_k``, our own, which keeps the error;
    ``bimodal atoms alone`` is what arXiv 2602.06218 does, ``sum_{k in B} z_k d_k``, here with the decoder's
    constant, and zeros where no atom is shared. Means are those of embeddings of length 1, each taken off at
    the length of its row.

    Parameters
    ----------
    shared : Shared
        The dictionary and the classes of its atoms.
    pairs : Tensor
        Embeddings ``[pair, 2, dim]`` that the means are taken of.
    controls : int
        Random choices of atoms of each kind.
    """
    whole, alone, both = shared.dictionary, shared.unimodal, shared.bimodal
    means = (pairs / lengths(pairs)).mean(0)
    half = (means[0] - means[1]) / 2
    arms: dict[str, Arm] = {CLEAN: (None, None), REBUILT: _twice(Project(whole))}
    arms[MEANS] = (along(-means[0]), along(-means[1]))
    arms[SHIFT] = (along(-half), along(half))
    for name, kind, atoms in (
        (BIMODAL, Project, both),
        (UNIMODAL, Project, alone),
        (RESIDUAL, Remove, alone),
        (COMPLEMENT, Remove, both),
    ):
        if len(atoms):
            arms[name] = _twice(kind(whole.only(atoms)))
        elif kind is Project:
            arms[name] = _twice(Zero())
    if len(alone):
        for seed in range(controls):
            for name, drawn in ((NUMBER, as_many(shared, seed)), (ENERGY, as_strong(shared, seed))):
                if len(drawn):
                    arms[f"{name} {seed}"] = _twice(Remove(whole.only(drawn)))
    return arms


def along(step: torch.Tensor) -> Add:
    """A step of embeddings of length 1, taken at the length of each row."""
    return Add(step, float(step.norm()), unit="norm") if bool(step.any()) else Add(step)


def as_many(shared: Shared, seed: int) -> torch.Tensor:
    """As many shared atoms, drawn at random, as there are unimodal ones; all where they are fewer."""
    order = torch.randperm(len(shared.bimodal), generator=torch.Generator().manual_seed(seed))
    return shared.bimodal[order[: len(shared.unimodal)]].sort().values


def as_strong(shared: Shared, seed: int) -> torch.Tensor:
    """Shared atoms in random order while they fit into the energy of the unimodal ones; at least one.

    Where none fits, the weakest one.
    """
    energy = shared.images + shared.texts
    budget = float(energy[shared.unimodal].sum())
    order = torch.randperm(len(shared.bimodal), generator=torch.Generator().manual_seed(seed))
    chosen, spent = [], 0.0
    for atom in shared.bimodal[order].tolist():
        if spent + float(energy[atom]) <= budget:
            chosen.append(atom)
            spent += float(energy[atom])
    if not chosen and len(shared.bimodal):
        chosen = [int(shared.bimodal[energy[shared.bimodal].argmin()])]
    return torch.tensor(sorted(chosen), dtype=torch.long)


def changes_of(arm: Arm, at: Sequence[str]) -> Mapping[str, Edit]:
    """An arm as an intervention: sites and edits."""
    return {site: edit for site, edit in zip(at, arm, strict=True) if edit is not None}


def edited(arm: Arm, pairs: torch.Tensor) -> torch.Tensor:
    """Embeddings ``[pair, 2, dim]`` after the edits, in units of the length that each had before."""
    sides = [x if edit is None else edit(x) for edit, x in zip(arm, pairs.unbind(1), strict=True)]
    return torch.stack(sides, 1) / lengths(pairs)


def _twice(edit: Edit) -> Arm:
    return edit, edit
