"""What follows from factors and modes: edits of queries and keys, and what they do beside random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from steerlab.analyzers.bfd.design import Design, count_of, part_of
from steerlab.analyzers.bfd.gathering import Gathered
from steerlab.analyzers.bfd.tables import HeadModes
from steerlab.analyzers.heads import block_of
from steerlab.edits import Affine, Edit, Recombine
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.modes import Modes

# name of an edit -> for which sides of the logits, and the settings of its `Recombine`
SWITCHES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "queries without position": ("q", {"position": 0.0}),
    "keys without position": ("k", {"position": 0.0}),
    "both without position": ("qk", {"position": 0.0}),
    "queries of position alone": ("q", {"content": 0.0}),
    "keys of position alone": ("k", {"content": 0.0}),
}


def without_modes(modes: Modes, chosen: Sequence[int]) -> Affine:
    """``q -> q - sum_m sigma_m (q . a_m) b_m`` at one head: every logit loses exactly the terms of the modes.

    Parameters
    ----------
    modes : Modes
        Of the head, in the basis of the data.
    chosen : sequence of int
        Which of them.
    """
    return Affine(modes.removal(_checked(modes, chosen)))


def kept_modes(modes: Modes, chosen: Sequence[int]) -> Affine:
    """``q -> sum_m sigma_m (q . a_m) b_m`` at one head: every logit keeps the terms of the modes alone."""
    return Affine(modes.kept(_checked(modes, chosen)))


def _checked(modes: Modes, chosen: Sequence[int]) -> list[int]:
    chosen = list(chosen)
    if not chosen or not all(isinstance(m, int) and 0 <= m < modes.rank for m in chosen):
        raise SteerlabError(f"modes {chosen}: this head has {modes.rank} (0 to {modes.rank - 1})")
    return chosen


def recombined(found: Gathered, site: str, **parts: Any) -> Recombine:
    """An edit of the factors at a site whose moments were gathered: all heads of queries or of keys.

    Parameters
    ----------
    found : Gathered
        The moments.
    site : str
        ``"blocks.3.q"`` or ``"blocks.3.k"``.
    **parts
        ``position``, ``content``, ``order``, ``rows`` of `steerlab.edits.Recombine`.
    """
    model = found.model(site)
    table = model.pos.movedim(0, 1) if model.pos.ndim == 3 else model.pos
    return Recombine(model.mu.float(), table.float().contiguous(), found.layout.design.start, **parts)


def switched(found: Gathered, place: str) -> dict[str, dict[str, Edit]]:
    """The on and off edits of a block by name, each ``{site: edit}``."""
    return {
        name: {f"{place}.{side}": recombined(found, f"{place}.{side}", **parts) for side in sides}
        for name, (sides, parts) in SWITCHES.items()
    }


def mirrored(design: Design) -> list[int]:
    """Positions reflected from left to right on a grid, or from end to start of a text."""
    places = torch.arange(design.positions)
    if not design.grid or torch.Size(design.grid).numel() != design.positions:
        return places.flip(0).tolist()
    return places.view(design.grid).flip(-1).flatten().tolist()


def telling(found: Gathered, modes: HeadModes) -> tuple[str, int, int]:
    """The mode with the most energy that a position is read for: its place, head and number.

    By ``sigma^2 max(L_P, R_P)^2``, a rule of our own.
    """
    best, at = -1.0, ("", 0, 0)
    for (place, head), one in modes.items():
        part = torch.maximum(one.query_position, one.key_position)
        size = (found.layout.scales[place] * one.sigma * part).square()
        top = int(size.argmax())
        if float(size[top]) > best:
            best, at = float(size[top]), (place, head, top)
    return at


def causal(model: Model, data: Any, found: Gathered, *, controls: int, batch: int) -> dict[str, Any]:
    """A row a block and edit: its effect on the output, beside random changes of its size.

    Each edit drops some of CC, CP, PC and PP from every logit of the block, exactly, and what is constant
    along a row does not matter: ``queries without position`` drops PC and PP, ``keys without position`` CP
    and PP.
    """
    rows: dict[str, list] = {"block": [], "edit": [], "effect": [], "floor": []}
    rows |= {f"effect random {i}": [] for i in range(controls)}
    for place in found.places:
        for name, edits in switched(found, place).items():
            means = kept(f"{name} {place}", partial(_effects, model, data, edits, (controls, batch)))
            rows["block"].append(block_of(place))
            rows["edit"].append(name)
            for column, value in zip(list(rows)[2:], means.tolist(), strict=True):
                rows[column].append(value)
    return {name: v if name == "edit" else torch.tensor(v) for name, v in rows.items()}


def _effects(model: Model, data: Any, edits: Mapping[str, Edit], how: tuple[int, int]) -> torch.Tensor:
    """Effect, floor and controls, means over the inputs."""
    controls, batch = how
    parts = []
    for start in range(0, count_of(data), batch):
        found = model.compare(part_of(data, start, start + batch), edits, controls=controls)
        parts.append(torch.cat([found.effect[None], found.floor[None], found.controls]))
    return torch.cat(parts, 1).double().mean(1)
