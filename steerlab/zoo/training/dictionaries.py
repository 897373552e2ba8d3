"""Train and measure the sparse dictionaries of the embedded models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.formats import read_dictionary
from steerlab.fitting import Fitting, fit_dictionary
from steerlab.model import Model
from steerlab.numerics.fidelity import measure
from steerlab.numerics.stability import stability
from steerlab.wrapping import wrap
from steerlab.zoo import load
from steerlab.zoo.training.harvest import harvest

__all__ = ["PLANS", "Plan", "evaluate", "train"]

_AT_ONCE = 4096


@dataclass(frozen=True)
class Plan:
    """A dictionary of the zoo.

    Parameters
    ----------
    model, site : str
        A model of the zoo, and the activation that is explained.
    atoms : int
        How many atoms.
    settings : Fitting
        How they are trained.
    """

    model: str
    site: str
    atoms: int
    settings: Fitting

    @property
    def name(self) -> str:
        """What the dictionary is called."""
        return f"{self.model}/{self.site}"

    def rows(self, model: Model, folder: Path, *, held_out: bool) -> torch.Tensor:
        """Activations ``[row, dim]``."""
        return harvest(self.model, model, self.site, held_out=held_out, folder=folder)

    def fit(self, model: Model, folder: Path, seed: int) -> Dictionary:
        """The dictionary of a seed; what a run left in `folder` is gone on from."""
        settings = replace(self.settings, seed=seed)
        rows = self.rows(model, folder, held_out=False)
        return fit_dictionary(rows, self.atoms, settings=settings, folder=folder / f"{self.name}-{seed}")


PLANS = {
    plan.name: plan
    for plan in (
        Plan("smollm2", "blocks.15.resid", 2048, Fitting(k=32, steps=2500, batch=1024, lr=2e-3)),
        Plan("shapes-vit", "blocks.4.resid", 256, Fitting(k=8, steps=3000, batch=1024, lr=2e-3)),
        Plan("shapes-sdxl", "unet.up.1.2.update", 512, Fitting(k=8, steps=3000, batch=1024, lr=2e-3)),
        Plan("shapes-clip", "vision.blocks.3.resid", 256, Fitting(k=8, steps=3000, batch=1024, lr=2e-3)),
        Plan("motion-video", "blocks.2.resid", 256, Fitting(k=8, steps=3000, batch=1024, lr=2e-3)),
    )
}


def train(plan: Plan, folder: Path) -> None:
    """Train a dictionary from nothing and write it in float16, with the usual size of its codes.

    Parameters
    ----------
    plan : Plan
        One of `PLANS`.
    folder : Path
        Where ``<model>/<site>.safetensors`` goes; the folder beside it, ending in ``-training``, keeps what
        a run goes on from.
    """
    place = _beside(folder)
    model = _opened(plan)
    made = plan.fit(model, place, seed=0)
    facts = replace(made.facts, site=plan.site, model=f"zoo:{plan.model}", l0=float(plan.settings.k))
    made = replace(made, facts=facts).measured(_pieces(plan.rows(model, place, held_out=False)))
    made.save(_file(plan, folder), dtype=torch.float16)
    _file(plan, folder).chmod(0o644)  # it is written for the owner alone


@torch.no_grad()
def evaluate(plan: Plan, folder: Path) -> dict[str, float]:
    """Measure a dictionary on data that it was not trained on.

    Parameters
    ----------
    plan : Plan
        One of `PLANS`.
    folder : Path
        Where the dictionaries lie.

    Returns
    -------
    dict
        ``r2``: share of the variance explained; ``l0``: codes a row; ``dead``: share of atoms without a code
        on any held-out row; ``stability``: mean matched cosine with the atoms of another seed, centred, and
        ``stability_random``: the same of random atoms; ``rows``: held-out rows.
    """
    place = _beside(folder)
    model = _opened(plan)
    made = read_dictionary(_file(plan, folder), "steerlab", {})
    other = plan.fit(model, place, seed=1)
    rows = plan.rows(model, place, held_out=True)
    fidelity, active, fired = None, 0, torch.zeros(len(made), dtype=torch.bool)
    for x in _pieces(rows):
        codes = made.encode(x)
        part = measure(x, made.decode(codes))
        fidelity = part if fidelity is None else fidelity.merge(part)
        active += int((codes != 0).sum())
        fired |= (codes != 0).any(0)
    matched = stability(made.atoms, other.atoms)
    return {
        "r2": fidelity.r2,
        "l0": active / len(rows),
        "dead": 1 - float(fired.float().mean()),
        "stability": matched.score,
        "stability_random": matched.baseline,
        "rows": len(rows),
    }


def _opened(plan: Plan) -> Model:
    brought = load(plan.model)
    return wrap(brought.model, brought.processor)


def _pieces(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    return (some.float() for some in rows.split(_AT_ONCE))


def _beside(folder: Path) -> Path:
    return folder.with_name(folder.name + "-training")


def _file(plan: Plan, folder: Path) -> Path:
    return folder / plan.model / f"{plan.site}.safetensors"
