"""What an edit of both embeddings does: gap, retrieval and modality, always told together."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from steerlab.analyzers.bimodal.acting import Arm, edited
from steerlab.analyzers.bimodal.pairs import Shared
from steerlab.numerics.bridges import bridge, bridge_energy, bridge_ratio, population_plan
from steerlab.numerics.fidelity import r2
from steerlab.numerics.gaps import mean_difference_probe, modality_gap, probe_accuracy, recall, transport_gap
from steerlab.numerics.modality import modality_spread
from steerlab.report import Table

MOST = 2048  # pairs whose transport is solved exactly
BRIDGED = 160  # atoms between which energy is transported


def edit_table(arms: Mapping[str, Arm], learnt: torch.Tensor, held: torch.Tensor, *, among: int) -> Table:
    """A row an edit: both gaps, recall, the modality probe.

    The probe looks along the difference of means of the edited pairs that were learnt from, and is told on
    held out ones.

    Parameters
    ----------
    arms : mapping
        Edits of both sides by name.
    learnt, held : Tensor
        Embeddings ``[pair, 2, dim]``.
    among : int
        Pairs of a batch of retrieval; chance is one in that many.
    """
    rows: dict[str, list[float]] = {
        name: [] for name in ("gap", "transport", "recall@1", "recall@5", "probe")
    }
    for arm in arms.values():
        a, b = edited(arm, held).unbind(1)
        rows["gap"].append(modality_gap(a, b))
        rows["transport"].append(transport_gap(a[:MOST], b[:MOST]))
        rows["recall@1"].append(recall(a, b, k=1, batch=among))
        rows["recall@5"].append(recall(a, b, k=5, batch=among))
        probe = mean_difference_probe(*edited(arm, learnt).unbind(1))
        rows["probe"].append(probe_accuracy(probe, a, second=b))
    return {"edit": list(arms), **{name: torch.tensor(values) for name, values in rows.items()}}


def atom_table(shared: Shared) -> Table:
    """A row an atom: energies, score and class."""
    masks = shared.classes
    kinds = [
        "dead" if dead else "images" if image else "texts" if text else "bimodal"
        for dead, image, text in zip(
            masks.dead.tolist(), masks.first.tolist(), masks.second.tolist(), strict=True
        )
    ]
    return {
        "atom": torch.arange(len(kinds)),
        "energy of images": shared.images,
        "energy of texts": shared.texts,
        "score": shared.score,
        "class": kinds,
    }


def living_table(shared: Shared) -> Table:
    """Score against energy of the atoms that are not dead."""
    whole = atom_table(shared)
    living = (~shared.classes.dead).nonzero()[:, 0]
    return {
        "atom": living,
        "score": shared.score[living],
        "energy": ((shared.images + shared.texts) / 2)[living],
        "class": [whole["class"][i] for i in living.tolist()],
    }


def class_table(shared: Shared) -> Table:
    """Counts of the classes together with their shares of the energy: neither says much without the other."""
    masks, shares = shared.classes, shared.shares
    counts = [int(mask.sum()) for mask in (masks.first, masks.shared, masks.second, masks.dead)]
    return {
        "class": ["images", "bimodal", "texts", "dead"],
        "atoms": torch.tensor(counts),
        "energy share": torch.tensor([shares.first, shares.shared, shares.second, 0.0]),
    }


def bridge_tables(shared: Shared, held: torch.Tensor) -> dict[str, Table]:
    """Tables ``dictionary`` (single numbers) and ``bridges`` (the strongest pairs of atoms)."""
    codes = [shared.dictionary.encode(x) for x in held.unbind(1)]
    atoms = shared.dictionary.atoms
    instance = bridge(*codes, atoms=atoms, centred=True)
    e = shared.shares.shared
    strong = (shared.images + shared.texts).argsort(descending=True)[:BRIDGED].sort().values
    plan = population_plan(shared.images[strong], shared.texts[strong], atoms=atoms[strong])
    population = torch.zeros_like(instance)
    near = atoms[strong].double()
    population[strong[:, None], strong] = plan * (near @ near.T)
    best = instance.flatten().topk(min(20, instance.numel()))
    first, second = best.indices // len(atoms), best.indices % len(atoms)
    rebuilt = [shared.dictionary.reconstruct(x) for x in held.unbind(1)]
    on_diagonal = float(instance.diagonal().abs().sum() / instance.abs().sum().clamp_min(1e-300))
    said = {
        "R2 of images": r2(held[:, 0].double(), rebuilt[0].double()),
        "R2 of texts": r2(held[:, 1].double(), rebuilt[1].double()),
        "codes an image": float((codes[0] != 0).sum(-1).double().mean()),
        "codes a text": float((codes[1] != 0).sum(-1).double().mean()),
        "spread of the scores": modality_spread(shared.images, shared.texts),
        "bridge on single atoms, of all": on_diagonal,
        "rho of pairs": bridge_ratio(instance, shared.classes, share=e),
        "rho of populations": bridge_ratio(population, shared.classes, share=e),
    }
    carried, share = bridge_energy(instance)
    return {
        "dictionary": {"what": list(said), "value": torch.tensor(list(said.values()), dtype=torch.float64)},
        "bridges": {
            "image atom": first,
            "text atom": second,
            "bridge": best.values,
            "carried by the image atom": carried[first],
            "share of images": share[first],
        },
    }
