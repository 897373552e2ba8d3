"""Shared blocks trained for the phases that were found, for equal ones and for those of chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from steerlab.analyzers.raptor.cutting import Cuts, said
from steerlab.analyzers.raptor.replacing import Probe
from steerlab.keeping import keeper, kept
from steerlab.numerics.segmentation import equal_cuts
from steerlab.report import Evidence, Table
from steerlab.surrogates import Distilling, Surrogate, fit_surrogate
from steerlab.surrogates.scores import closed_loop
from steerlab.surrogates.teacher import Path


def distilled(
    probe: Probe, data: Any, cuts: Cuts, *, settings: Distilling, paths: Callable[[], Sequence[Path]]
) -> tuple[Surrogate, Table, list[Evidence]]:
    """Train one surrogate for each way to cut, with the same settings, and score all in the closed loop.

    The last third of the inputs is kept from the training and scores it, given as `paths`.
    """
    blocks = len(probe.model.sites(f"{probe.at}.*.resid"))
    settings = replace(settings, at=probe.at)
    wanted = {"phases": cuts.chosen, "equal": equal_cuts(blocks, len(cuts.chosen) + 1)}
    if wanted["equal"] == cuts.chosen:
        del wanted["equal"]
    # the commonest cuts of shuffled increments that are neither of these
    for others, _ in Counter(cuts.null_cuts).most_common():
        if others not in wanted.values():
            wanted["shuffled"] = others
            break
    held = paths()
    names = ("cuts", "at", "layer", "tokens", "cosine", "standing still", "R2", "R2 of the authors")
    rows: dict[str, list] = {name: [] for name in names}
    made: dict[tuple, Surrogate] = {}
    scores: dict[str, float] = {}
    here = keeper()
    for name, places in wanted.items():
        folder = None if here is None else here.folder / f"surrogate-{'-'.join(map(str, places))}"
        if places not in made:
            made[places] = fit_surrogate(probe.model, data, cuts=places, settings=settings, folder=folder)
        found = closed_loop(made[places], held)
        mean = torch.stack(list(found.cosine.values())).mean(0)
        scores[name] = float(kept(f"closed loop {name}", lambda m=mean: m.mean().reshape(1)))
        for group, cosines in found.cosine.items():
            for block, cosine in enumerate(cosines):
                values = (
                    *(name, said(places), block + 1, group, float(cosine), float(found.still[group][block])),
                    *(float(found.r2[block]), float(found.r2_authors[block])),
                )
                for column, value in zip(names, values, strict=True):
                    rows[column].append(value)
    texts = ("cuts", "at", "tokens")
    table = {n: v if n in texts else torch.tensor(v) for n, v in rows.items()}
    still = float(torch.stack(list(found.still.values())).mean())
    follows = f"a surrogate cut at {said(cuts.chosen)} follows the model in the closed loop"
    others = {said(places): scores[name] for name, places in wanted.items() if name != "phases"}
    findings = [
        Evidence(f"{follows} (control: a state that stands still)", "observed", scores["phases"], (still,))
    ]
    if others:
        claim = f"{follows} (controls: cut at {'; at '.join(others)})"
        findings.append(Evidence(claim, "observed", scores["phases"], tuple(others.values())))
    return made[cuts.chosen], table, [replace(one, unit="mean cosine") for one in findings]
