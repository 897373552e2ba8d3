"""Figures of a factor decomposition, and what modes read over pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from steerlab.analyzers.bfd.gathering import Gathered
from steerlab.analyzers.bfd.tables import HeadModes
from steerlab.analyzers.heads import block_of
from steerlab.analyzers.seen import drawable, pixels_of
from steerlab.model import Model
from steerlab.numerics.modes import PAIRS
from steerlab.report import Plot

SHARES = ",".join(PAIRS)


def drawn_modes(model: Model, few: Any, found: Gathered, modes: HeadModes) -> dict[str, Any] | None:
    """Readings of the strongest mode of each type, ``[picture, row, column]`` a side."""
    design = found.layout.design
    if len(design.grid) != 2:
        return None
    table: dict[str, Any] = {"image": drawable(pixels_of(model, few))}
    for kind in PAIRS:
        at = _strongest(found, modes, kind)
        if at is None:
            continue
        place, head, number = at
        sides = found.sides(place)
        acts = model.capture(few, [f"{place}.q", f"{place}.k"])
        groups = acts[f"{place}.q"].shape[2] // acts[f"{place}.k"].shape[2]
        x = (
            acts[f"{place}.q"][:, design.start : design.stop, head],
            acts[f"{place}.k"][:, design.start : design.stop, head // groups],
        )
        away = [part.double() - side.mu[head] for part, side in zip(x, sides, strict=True)]
        one = modes[place, head].signed(away[0] @ modes[place, head].a.T)
        name = f"{kind}: block {block_of(place)} head {head} mode {number}"
        for side, part, vectors in zip(("query", "key"), away, (one.a, one.b), strict=True):
            table[f"{name} {side}"] = (part @ vectors[number]).unflatten(1, design.grid).float()
    return table


def _strongest(found: Gathered, modes: HeadModes, kind: str) -> tuple[str, int, int] | None:
    """The mode of a type with the largest part of its own head's energy."""
    best, at = 0.0, None
    for (place, head), one in modes.items():
        share = one.sigma.square() / one.sigma.square().sum()
        own = torch.tensor([k == kind for k in one.types()])
        if own.any() and float((share * own).max()) > best:
            best, at = float((share * own).max()), (place, head, int((share * own).argmax()))
    return at


def plots(tables: Mapping[str, Any]) -> dict[str, Plot]:
    """A figure for each table that says more as one."""
    options = {"names": "block", "form": "stacked", "label": "share of the energy of queries times keys"}
    made = {
        "blocks": Plot(
            "bars", "blocks", "Content (C) and position (P): query, then key", options | {"y": SHARES}
        ),
        "stream": Plot(
            "lines",
            "stream",
            "How much of the stream is position",
            {"x": "block", "y": "position", "x ticks": "whole", "y label": "share of the variance"},
        ),
        "spectra": Plot(
            "spectrum",
            "spectra",
            "Modes of the logits, a mean over heads",
            {"y": ",".join(tables["spectra"]), "y label": "share of the energy", "x label": "mode"},
        ),
        "modes": Plot(
            "scatter",
            "modes",
            "What each mode reads (named block.head.mode)",
            {
                "x": "query position",
                "y": "key position",
                "classes": "type",
                "names": "name",
                "x label": "share of position, query side",
                "y label": "share of position, key side",
            },
        ),
    }
    if "before rotation" in tables:
        title = "The same before queries and keys are rotated"
        made["before rotation"] = Plot("bars", "before rotation", title, options | {"y": SHARES})
    if "probes" in tables:
        made["probes"] = Plot(
            "lines",
            "probes",
            "Reading the position from parts of the stream",
            {
                "x": "block",
                "y": "activation,content,content squared,chance",
                "x ticks": "whole",
                "y label": "positions told rightly (share)",
            },
        )
    if "maps" in tables:
        names = [name.removesuffix(" query") for name in tables["maps"] if name.endswith(" query")]
        if names:
            title = "What modes read: queries in red, keys in cyan"
            made["maps"] = Plot("mode maps", "maps", title, {"modes": ",".join(names)})
    return made
