"""What can be done with a phase: poorer updates, a kind of token held still, more or fewer steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from steerlab.analyzers.raptor.replacing import Probe
from steerlab.edits import LowRank, MeanField, Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Intervention
from steerlab.model import Model
from steerlab.report import Evidence, Table, effect_of
from steerlab.rewiring import Wiring, wired
from steerlab.store import made_on


def edits_of(
    model: Model, at: str, segment: range, *, groups: Mapping[str, slice], rank: int
) -> dict[str, Intervention]:
    """Edits of what the blocks of a phase add: low-rank, mean-field, and a class token that stays as it is.

    All three are pure functions of the updates, at ``attn`` and ``mlp`` of each block: nothing is rewired.
    """
    sites = [f"{at}.{block}.{part}" for block in segment for part in ("attn", "mlp")]
    try:
        model.sites(sites)
    except SteerlabError:
        return {}  # blocks that do not add what they compute to the stream as it is
    skip = groups["patches"].start if "patches" in groups else 0
    span = f"blocks {segment.start} to {segment.stop - 1}"
    made = {
        f"updates of rank {rank}": (
            dict.fromkeys(sites, LowRank(rank)),
            f"what attention and MLP of {span} add is of rank {rank} for each input",
        ),
        "mean-field updates": (
            dict.fromkeys(sites, MeanField(skip)),
            f"attention and MLP of {span} move all patches in one direction",
        ),
    }
    if "cls" in groups:
        made["freeze the class token"] = (
            dict.fromkeys(sites, Zero().on(tokens="cls")),
            f"the class token stays as it is before {span}",
        )
    return {name: made_on(model, edits, about) for name, (edits, about) in made.items()}


def wirings_of(model: Model, at: str, segments: Sequence[range], table: Table) -> dict[str, Wiring]:
    """Two neighbours exchanged where it costs least, and the longest phase once more and once less."""
    blocks = segments[-1].stop
    chosen = [
        (float(effect), int(old), int(new))
        for effect, kind, draw, old, new in zip(
            *(table[n] for n in ("effect", "kind", "draw", "replaced", "by")), strict=True
        )
        if draw == "neighbour" and kind == "inside"
    ]
    longest = max(segments, key=len)
    middle = longest[len(longest) // 2]
    every = list(range(blocks))
    made = {
        f"phase {segments.index(longest) + 1} once more": (
            [*every[: middle + 1], middle, *every[middle + 1 :]],
            f"block {middle} runs twice",
        ),
        f"phase {segments.index(longest) + 1} once less": ({middle: None}, f"block {middle} is skipped"),
    }
    if chosen:
        _, old, new = min(chosen)
        made["swap blocks"] = ({old: new, new: old}, f"blocks {old} and {new} exchanged")
    return {name: wired(model, order, at=at, about=about) for name, (order, about) in made.items()}


def tried(
    probe: Probe, edits: Mapping[str, Intervention], wirings: Mapping[str, Wiring], *, controls: int
) -> tuple[list[Evidence], list[str]]:
    """The effect of each: edits beside random changes as large, wirings beside skipping another block."""
    evidence, receipts = [], []
    for name, edit in edits.items():
        found = probe.model.compare(probe.inputs, dict(edit), controls=controls)
        evidence.append(effect_of(f"{name}: {edit.about} (controls: random changes of the same size)", found))
        receipts.append(str(found.receipt))
    base = probe.final()
    blocks = len(probe.model.sites(f"{probe.at}.*.resid"))
    others = torch.linspace(0, blocks - 1, min(controls, blocks)).round().int().unique().tolist()
    skips = (
        tuple(probe.moved(wired(probe.model, {block: None}, at=probe.at), base) for block in others)
        if wirings
        else ()
    )
    for name, wiring in wirings.items():
        claim = f"{name}: {wiring.about} (controls: blocks {', '.join(map(str, others))} skipped)"
        effect: Any = probe.moved(wiring, base)
        evidence.append(Evidence(claim, "intervened", effect, skips, 0.0, "1 - cosine of the output"))
    return evidence, receipts
