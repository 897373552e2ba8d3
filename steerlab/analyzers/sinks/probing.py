"""One head on inputs on which it sinks: its edits as rank-one corrections, and what they do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.sinks.parts import Part, part_of
from steerlab.analyzers.sinks.watching import sink_of
from steerlab.attending import attend
from steerlab.edits import Add, Mask, Zero
from steerlab.errors import SteerlabWarning
from steerlab.intervention import Changes
from steerlab.looks import Looks
from steerlab.model import Model
from steerlab.numerics.divergence import kl_tokens
from steerlab.numerics.sink_values import value_correction
from steerlab.sites import Site

EDITS = (
    *("zero", "mean", "donor sink", "donor non-sink"),
    *("redirect", "random non-sink", "zero head"),
)
MEASURES = ("change", "kl", "cosine")


@dataclass(frozen=True, eq=False)
class Probe:
    """What a head does on some inputs; nothing before its block is changed by any edit.

    Attributes
    ----------
    head : Site
        ``"blocks.3.heads.7"``.
    part : Part
        The inputs.
    place : Tensor
        The sink, ``[input]``.
    column : Tensor
        Attention to it, ``[input, query]``.
    values : Tensor
        As this query head has them, ``[input, token, dim]``.
    other, other_column : Tensor
        A random token that is not the sink, ``[input]``, and the attention to it, ``[input, query]``.
    outcome : Tensor
        Boolean ``[input, token]``: tokens of the output that are measured.
    """

    head: Site
    part: Part
    place: torch.Tensor
    column: torch.Tensor
    values: torch.Tensor
    other: torch.Tensor
    other_column: torch.Tensor
    outcome: torch.Tensor

    def edits(self) -> dict[str, Changes]:
        """The edits of `EDITS`, each of this head alone.

        A changed value at the sink is ``Delta (A V)_i = A_is (v'_s - v_s)`` at this head's output, which is
        exact; a value head may serve other query heads too, so it is not edited itself. The donor of an input
        is the next one; the mean is over all others. Redirecting sets the scores of the sink to minus
        infinity, so that the softmax shares out; its own row keeps it, since it may see nothing else.
        """
        rows = torch.arange(len(self.place))
        own, ordinary = self.values[rows, self.place], self.values[rows, self.other]
        mean = (own.sum(0) - own) / max(len(own) - 1, 1)
        wanted = {
            "zero": torch.zeros_like(own),
            "mean": mean,
            "donor sink": own.roll(-1, 0),
            "donor non-sink": ordinary.roll(-1, 0),
        }
        found: dict[str, Changes] = {
            name: {self.head: Add(value_correction(self.column, value - own))}
            for name, value in wanted.items()
        }
        found["redirect"] = {Site(self.head.place, "scores", self.head.heads): Mask(self._without())}
        found["random non-sink"] = {self.head: Add(value_correction(self.other_column, -ordinary))}
        found["zero head"] = {self.head: Zero()}
        return {name: found[name] for name in EDITS}

    def _without(self) -> torch.Tensor:
        """Boolean ``[input, query, key]``: all but the sink."""
        count = self.column.shape[1]
        place = torch.arange(count)
        sink = place == self.place[:, None]
        return ~(sink[:, None, :] & ~sink[:, :, None])


def probe(model: Model, batch: Any, head: Site, seed: int = 0) -> Probe:
    """Watch one head on some inputs."""
    pattern, number = Site(head.place, "pattern"), int(head.heads)
    part = part_of(model, batch, pattern)
    found: dict[str, torch.Tensor] = {}

    def see(site: Site, looks: Looks) -> None:
        sink = sink_of(looks, part)
        place = sink.place[:, number].clamp_min(0).cpu()
        other = _others(place, part.real, seed)
        columns = looks.to(other.unique())[:, number]  # [input, query, one of these]
        at = torch.searchsorted(other.unique(), other)
        group = looks.q.shape[1] // looks.v.shape[1]
        found["place"], found["other"] = place, other
        found["column"] = sink.column[:, number].cpu()
        found["other_column"] = columns[torch.arange(len(at)), :, at].cpu()
        found["values"] = looks.v[:, number // group].cpu()
        found["on"] = sink.on[:, number].cpu()

    attend(model, part.inputs, pattern, see)
    outcome = part.real & (torch.arange(part.real.shape[1]) != found["place"][:, None])
    if "patches" in part.tokens.groups:
        outcome &= part.tokens.select("patches").cpu()
    if part.tokens.position is not None:
        outcome &= found["on"]
    return Probe(head, part, outcome=outcome, **{name: one for name, one in found.items() if name != "on"})


def _others(place: torch.Tensor, real: torch.Tensor, seed: int) -> torch.Tensor:
    """A random real token a row that is not its sink."""
    draw = torch.rand(real.shape, generator=torch.Generator().manual_seed(seed))
    allowed = real.clone()
    allowed[torch.arange(len(place)), place] = False
    return draw.masked_fill(~allowed, -1.0).argmax(1)


def effects(model: Model, found: Probe) -> torch.Tensor:
    """What each edit does to the output, ``[edit, measure, input]``.

    ``change`` is ``sqrt(mean_i |P'_i - P_i|^2) / sqrt(mean_i |P_i|^2)`` over the final tokens that count: in
    images the patches (``final_patch_relrms`` of arXiv 2606.08105's code), in texts those after the sink (our
    own); the sink is left out. ``kl`` is the mean divergence of the next-token distributions there, in nats,
    NaN in models without. ``cosine`` compares the mean change with the donor's mean token less the input's
    own: 1 where the edit moves the output to the donor.
    """
    sites = _outputs(model, found.head)
    weight = found.outcome.float() / found.outcome.sum(1, keepdim=True).clamp_min(1)
    base = _read(model, found, sites)
    mean = (base["final"] * weight[..., None]).sum(1)
    toward = mean.roll(-1, 0) - mean
    rows = []
    for edit in found.edits().values():
        with warnings.catch_warnings():  # an edit that changes nothing is an answer here
            warnings.simplefilter("ignore", SteerlabWarning)
            with model.edit(edit):
                edited = _read(model, found, sites)
        step = edited["final"] - base["final"]
        size = (base["final"].square().sum(-1) * weight).sum(1).clamp_min(1e-30)
        change = ((step.square().sum(-1) * weight).sum(1) / size).sqrt()
        moved = (step * weight[..., None]).sum(1)
        kl = torch.full_like(change, torch.nan)
        if "logits" in sites:
            every = kl_tokens(base["logits"][found.outcome], edited["logits"][found.outcome]).float()
            kl = torch.stack([part.mean() for part in every.split(found.outcome.sum(1).tolist())])
        rows.append(torch.stack([change, kl, torch.cosine_similarity(moved, toward, dim=-1)]))
    return torch.stack(rows)


def _outputs(model: Model, head: Site) -> dict[str, str]:
    """Where the end of the tower is read, and the logits of a language model."""
    tower = head.place.rpartition("blocks")[0].rstrip(".")
    known = {(site.place, site.stream) for site in model.sites()}
    if (tower, "final") in known:
        final = Site(tower, "final")
    else:
        final = [site for site in model.sites(f"{tower}.blocks.*.resid".lstrip("."))][-1]
    found = {"final": str(final)}
    if ("", "logits") in known and tower == "" and ("", "pooled") not in known:
        found["logits"] = str(Site("", "logits"))
    return found


def _read(model: Model, found: Probe, sites: Mapping[str, str]) -> dict[str, torch.Tensor]:
    texts = found.part.tokens.position is not None
    wanted = {name: site for name, site in sites.items() if name != "logits" or texts}
    acts = model.capture(found.part.inputs, at=list(wanted.values()))
    return {name: acts[site].float().cpu() for name, site in wanted.items()}
