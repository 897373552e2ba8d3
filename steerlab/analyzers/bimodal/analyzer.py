"""Bimodal: which atoms two towers share, and what closing their gap by the others does to retrieval."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.bimodal.acting import (
    BIMODAL,
    CLEAN,
    COMPLEMENT,
    ENERGY,
    MEANS,
    NUMBER,
    RESIDUAL,
    SHIFT,
    UNIMODAL,
    Arm,
    arms_of,
    changes_of,
    edited,
)
from steerlab.analyzers.bimodal.measuring import (
    atom_table,
    bridge_tables,
    class_table,
    edit_table,
    living_table,
)
from steerlab.analyzers.bimodal.pairs import (
    Shared,
    aligned_settings,
    check_pairs,
    embedded,
    learnt,
    shared_of,
)
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.bases import Dictionary
from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.figures import gap_view
from steerlab.fitting import Fitting
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report, Table, effect_of
from steerlab.store import made_on

DRAWN = 200  # pairs in a figure
TRIED = 16  # pairs on which the model itself is compared


@dataclass(frozen=True)
class Bimodal(Analyzer):
    """Sort the atoms of an aligned dictionary by modality and close the gap between two towers with them.

    Energies, scores and classes are those of arXiv 2602.06218; taking the unimodal atoms away and keeping
    what the dictionary misses is our own mode, and keeping the bimodal ones alone is the paper's. Gap, recall
    and the complement are always told together, because a dictionary that gives every concept one atom a
    modality closes the gap by losing what is retrieved by; where bimodal atoms hold less than a tenth of the
    energy there is a warning. Embeddings are divided by the length that they had before an edit.

    Parameters
    ----------
    images, texts : str
        Sites of the two embeddings, in one space.
    dictionary : Dictionary, optional
        Of these embeddings; otherwise one is trained on all pairs but the held out ones.
    atoms, k, steps, seed : int
        Of the training: atoms, codes of an embedding, steps, and what decides the first weights.
    align, gap : float
        Weights of the alignment and of the gap that shared atoms would leave; see
        `steerlab.fitting.Fitting`.
    eps : float
        An atom is bimodal where its score lies in ``[eps, 1 - eps]``.
    held : int
        Pairs, the last ones, on which everything is measured.
    among : int
        Pairs of a batch of retrieval.
    controls, batch : int
        Random choices of atoms beside each finding; pairs of a forward.
    """

    images: str = "vision.pooled"
    texts: str = "text.pooled"
    dictionary: Dictionary | None = None
    atoms: int = 128
    k: int = 12
    steps: int = 800
    seed: int = 0
    align: float = 0.3
    gap: float = 3.0
    eps: float = 0.05
    held: int = 512
    among: int = 256
    controls: int = 3
    batch: int = 64

    def __post_init__(self) -> None:
        check_whole(self, "held", "among", least=2)
        check_whole(self, "atoms", "k", "steps", "controls", "batch")
        check_whole(self, "seed", least=0)
        for name in ("align", "gap"):
            if not is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise SteerlabError(f"Bimodal: {name}={getattr(self, name)!r} is not a number of 0 or more")
        if not is_number(self.eps) or not 0 < self.eps < 0.5:
            raise SteerlabError(f"Bimodal: eps={self.eps!r} is not a share between 0 and 1/2")
        if self.dictionary is not None and not isinstance(self.dictionary, Dictionary):
            raise SteerlabError("Bimodal: dictionary is a trained dictionary of embeddings")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables ``classes``, ``edits``, ``atoms``, ``dictionary``, ``bridges`` and those of the figures."""
        texts, images = check_pairs("Bimodal", data)
        if len(texts) < 2 * self.held:
            raise SteerlabError(
                f"Bimodal: {len(texts)} pairs are too few to learn from some and hold out {self.held}"
            )
        at = (self.images, self.texts)
        pairs = embedded(model, data, at, self.batch)
        known, held = pairs[: -self.held], pairs[-self.held :]
        dictionary = (
            learnt(known, self.atoms, self._settings()) if self.dictionary is None else self.dictionary
        )
        shared = shared_of(dictionary, known, self.eps)
        arms = arms_of(shared, known, self.controls)
        table = edit_table(arms, known, held, among=min(self.among, self.held))
        closed = 1 - table["gap"] / table["gap"][0]
        table["gap closed"] = closed
        verdict = verdict_of(shared, table)
        if shared.shares.split_suspected:
            warnings.warn(f"Bimodal: {verdict}", SteerlabWarning, stacklevel=2)
        clouds = _clouds(arms, held)
        changes = {
            "close the gap": (RESIDUAL, "unimodal atoms removed, what the dictionary misses kept"),
            "bimodal atoms alone": (BIMODAL, "only what bimodal atoms explain"),
            "unimodal atoms alone": (UNIMODAL, "the complement: only what unimodal atoms explain"),
            "subtract the means": (MEANS, "each side without its mean"),
            "shift both sides": (SHIFT, "each side moved half of the gap"),
            "control, as many atoms": (f"{NUMBER} 0", "as many shared atoms removed"),
            "control, equal energy": (f"{ENERGY} 0", "shared atoms of equal energy removed"),
        }
        found = {
            name: made_on(model, changes_of(arms[arm], at), about)
            for name, (arm, about) in changes.items()
            if arm in arms
        }
        evidence = list(self._evidence(table))
        if RESIDUAL in arms:
            some = (texts[-self.held :][:TRIED], images[-self.held :][:TRIED])
            compared = model.compare(some, changes_of(arms[RESIDUAL], at), controls=self.controls)
            evidence.append(effect_of("closing the gap, on the model's own output", compared))
        return Report(
            title=f"What {len(shared.bimodal)} bimodal atoms of {len(dictionary)} hold of two towers",
            about=f"{verdict} {len(known)} pairs to learn from, {len(held)} held out.",
            tables={
                "classes": class_table(shared),
                "edits": table,
                "atoms": atom_table(shared),
                "living atoms": living_table(shared),
                **bridge_tables(shared, held),
                **clouds,
            },
            plots=_plots(clouds),
            interventions=found,
            evidence=tuple(evidence),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Every pair once, and the comparison of a few."""
        return len(data[0]) + TRIED * (2 + self.controls)

    def _settings(self) -> Fitting:
        return aligned_settings(self.k, self.steps, seed=self.seed, align=self.align, gap=self.gap)

    def _evidence(self, table: Table) -> list[Evidence]:
        """The gap and the recall beside random atoms, the complement and chance."""
        row = {name: i for i, name in enumerate(table["edit"])}
        if RESIDUAL not in row:
            return [Evidence("gap; no atom is of one modality alone", "observed", float(table["gap"][0]))]
        random = [i for name, i in row.items() if name.startswith("random")]
        best, chance = row[RESIDUAL], 1 / min(self.among, self.held)
        number = [i for i in random if table["edit"][i].startswith(NUMBER)]
        others = [row[name] for name in (UNIMODAL, COMPLEMENT) if name in row]
        closed, found = table["gap closed"], table["recall@1"]
        return [
            Evidence(
                "gap closed without unimodal atoms (controls: as many other atoms, or of equal energy)",
                "intervened",
                float(closed[best]),
                tuple(closed[random].tolist()),
                unit="of the gap",
            ),
            Evidence(
                "recall@1 without unimodal atoms (controls: as many other atoms)",
                "intervened",
                float(found[best]),
                tuple(found[number].tolist()),
                chance,
            ),
            Evidence(
                "recall@1 kept by bimodal atoms (controls: the complement, unimodal atoms and what is left)",
                "intervened",
                float(found[row[BIMODAL]]),
                tuple(found[others].tolist()),
                chance,
            ),
            Evidence(
                "recall@1 without unimodal atoms, less that with means subtracted",
                "intervened",
                float(found[best] - found[row[MEANS]]),
                floor=2 * float((found[best] * (1 - found[best]) / (2 * self.held)).sqrt()),
            ),
        ]


def verdict_of(shared: Shared, table: Table) -> str:
    """Gap, recall and complement in one sentence, with the warning where shared concepts are split."""
    row = {name: i for i, name in enumerate(table["edit"])}
    if RESIDUAL not in row:
        return "No atom is of one modality alone, so the gap cannot be closed by removing atoms."
    gap, found = table["gap"].tolist(), table["recall@1"].tolist()
    parts = [
        f"{name}: gap {gap[row[name]]:.3f}, recall@1 {found[row[name]]:.3f}"
        for name in (CLEAN, RESIDUAL, BIMODAL, UNIMODAL)
        if name in row
    ]
    share = shared.shares.shared
    lost = ""
    if shared.shares.split_suspected:
        lost = f"Gap closed, retrieval lost: bimodal atoms hold {share:.1%} of the energy. "
    return f"{lost}{'; '.join(parts)}. Bimodal atoms hold {share:.1%} of the energy."


def _clouds(arms: dict[str, Arm], held: torch.Tensor) -> dict[str, Table]:
    """Pairs before and after, in the plane of the gap and of most variance; none where nothing is removed."""
    if RESIDUAL not in arms:
        return {}
    before, after = (
        dict(zip(("image", "text"), edited(arms[arm], held).unbind(1), strict=True))
        for arm in (CLEAN, RESIDUAL)
    )
    return {"points": gap_view(before, after, most=DRAWN)}


def _plots(clouds: dict[str, Table]) -> dict[str, Plot]:
    """Clouds before and after, the edits side by side, and the energies of the atoms."""
    plots = {
        name: Plot(
            "scatter",
            name,
            "Embeddings before and after unimodal atoms are removed",
            {"panel": "panel", "x": "x", "y": "y", "classes": "class"}
            | {"x label": "along the gap", "y label": "across"},
        )
        for name in clouds
    }
    for column, label in (("gap", "distance of the means"), ("recall@1", "recall@1")):
        plots[column] = Plot(
            "bars",
            "edits",
            f"{label[0].upper()}{label[1:]} after each edit of the embeddings",
            {"names": "edit", "y": column, "label": label, "names label": "edit"},
        )
    plots["atoms"] = Plot(
        "scatter",
        "living atoms",
        "What each atom holds, and of which side",
        {
            "x": "score",
            "y": "energy",
            "x label": "the images' share of its energy",
            "y label": "energy",
            "y scale": "log",
            "classes": "class",
        },
    )
    return plots
