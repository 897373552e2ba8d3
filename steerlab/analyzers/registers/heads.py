"""Heads that look at a token whose value is next to nothing, found while the inputs go by."""

from __future__ import annotations

from typing import Any

import torch

from steerlab.analyzers.batches import in_batches
from steerlab.analyzers.registers.finding import Plan
from steerlab.attending import attend
from steerlab.keeping import kept
from steerlab.looks import Looks
from steerlab.sites import Site

ROUTED, EVENT, SILENT = 0.5, 0.9, 0.2


def quiet_heads(plan: Plan) -> tuple[list[Site], torch.Tensor, torch.Tensor]:
    """Every head of the plan's blocks, and on which share of the inputs it does nothing for most queries.

    An input counts where at least 0.9 of the queries put at least half of their attention on the head's
    dominant key, and that key's value is at most a fifth as long as the mean of the others' (the lenient
    rule of the code of arXiv 2606.08105, with values as the head sees them). `Sinks` looks closer.

    Returns
    -------
    heads, share, mass : list of Site, Tensor, Tensor
        ``blocks.*.pattern`` sites of one head each; ``[head]``, and the mean attention on the dominant key.
    """
    at = [f"{block}.pattern" for block in plan.blocks]

    def one(batch: Any) -> torch.Tensor:
        found: dict[str, torch.Tensor] = {}

        def see(site: Site, looks: Looks) -> None:
            found[str(site)] = torch.stack(_quiet(looks), -1).double().cpu()

        attend(plan.model, batch, at, see)
        return torch.stack([found[site] for site in at])

    total, rows = 0, 0
    for number, batch in enumerate(in_batches(plan.data, plan.batch)):
        part = kept(f"Registers heads {number} {at}", lambda batch=batch: one(batch))
        total, rows = total + part.sum(1), rows + part.shape[1]
    heads = [Site(place, "pattern", str(head)) for place in plan.blocks for head in range(total.shape[1])]
    share, mass = (total / rows).flatten(0, 1).unbind(-1)
    return heads, share, mass


def _quiet(looks: Looks) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether a head does nothing for most queries of an input, and its sink's mass, ``[batch, head]``."""
    columns = sum(tile.sum(2) for _, tile in looks.tiles())
    most, sink = columns.max(-1)
    routed = sum(
        (tile.gather(-1, sink[..., None, None].expand(*tile.shape[:3], 1)) >= ROUTED).sum((2, 3))
        for _, tile in looks.tiles()
    )
    size = looks.v.float().norm(dim=-1)
    size = size.repeat_interleave(looks.q.shape[1] // size.shape[1], 1)
    own = size.gather(-1, sink[..., None])[..., 0]
    others = (size.sum(-1) - own) / (size.shape[-1] - 1)
    quiet = (routed >= EVENT * looks.queries) & (own <= SILENT * others)
    return quiet.to(most), most / looks.queries
