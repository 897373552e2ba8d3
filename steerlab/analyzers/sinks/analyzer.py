"""Sinks: which heads send their attention to one token, on which tokens, and what kind of sinks these are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.analyzers.sinks.acting import (
    heads_by_type,
    heads_of_class,
    on_heads,
    random_heads,
    redirected,
    sink_interventions,
)
from steerlab.analyzers.sinks.facts import SinkFacts, SinkRules
from steerlab.analyzers.sinks.parts import count_of, part_of, parts_of, rows_of
from steerlab.analyzers.sinks.projections import projections
from steerlab.analyzers.sinks.tables import sink_plots, sink_tables
from steerlab.analyzers.sinks.watching import fields_of, watched
from steerlab.edits import Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.sinks import EPSILONS
from steerlab.report import Evidence, Report, Table

PROVED = 2  # inputs on which the projections are checked


@dataclass(frozen=True)
class Sinks(Analyzer):
    """Find the sink events of every input, block and head, class them, and act on the heads of a class.

    A head sinks on an input where the dominant column ``s = argmax_j mean_i A_ij`` of its pattern gets
    ``A_is >= 1 - eps`` from a share of the queries (the operational rule of arXiv 2606.08105's code). It is a
    *no-op* where the value at the sink is small, a *broadcast* where it is not and the update has rank one.
    In causal models the queries are those after the sink, at least 16 of them; that rule, the depth profile
    and the token types are our own definitions. Patterns are made a few rows at a time and never kept;
    everything that rules and thresholds need is in the table ``"events"``.

    Parameters
    ----------
    at : str
        Patterns of one tower, wildcards included.
    eps, share, query_subset, norm_space, no_op, broadcast, rank
        See `SinkRules`.
    least : float
        Share of the inputs on which a head must sink to be given a class.
    batch : int
        Inputs of a forward.
    acted : int
        Inputs on which interventions are tried; 0 for none.
    controls : int
        Random choices beside each of them.
    """

    at: str = "blocks.*.pattern"
    eps: float = 0.5
    share: float = 0.9
    query_subset: float | None = None
    norm_space: str = "projected"
    no_op: float = 0.2
    broadcast: float = 0.5
    rank: float = 1.5
    least: float = 0.1
    batch: int = 8
    acted: int = 8
    controls: int = 4

    def __post_init__(self) -> None:
        check_whole(self, "batch", "controls")
        check_whole(self, "acted", least=0)
        if not (is_number(self.least) and 0 <= self.least <= 1):
            raise SteerlabError(f"Sinks: least={self.least!r} is not a share of the inputs")
        self.rules()

    def rules(self) -> SinkRules:
        """The settings that make events and classes."""
        try:
            return SinkRules(**{one.name: getattr(self, one.name) for one in fields(SinkRules)})
        except SteerlabError as fault:
            raise SteerlabError(f"Sinks: {fault}") from None

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables as in `sink_tables`; see there."""
        rules = self.rules()
        facts = sink_facts(model, data, self.at, batch=self.batch, eps=self.eps)
        tables = sink_tables(facts, rules, self.least)
        heads = tables["heads"]
        classes = {kind: len(heads_of_class(heads, kind)) for kind in ("no-op", "broadcast", "other")}
        told = ", ".join(f"{count} {kind}" for kind, count in classes.items())
        evidence = [
            Evidence(
                f"sink events ({told} heads of {len(heads['site'])})",
                "observed",
                float(tables["blocks"]["events an input"].sum()),
                unit="an input",
            )
        ]
        if self.acted:
            evidence += self._acted(model, rows_of(data, range(min(self.acted, count_of(data)))), heads)
        return Report(
            title=f"Attention sinks of {len(heads['site'])} heads",
            about=f"{facts.shape[0]} inputs; a head sinks where {_said(rules)} "
            f"look at one token with at least {1 - rules.eps:g} of their attention.",
            tables=tables,
            plots=sink_plots(tables, rules),
            interventions=sink_interventions(model, heads),
            evidence=tuple(evidence),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The inputs once, the check, and what is tried on some of them."""
        return count_of(data) + 2 * PROVED + 3 * self.acted * (2 + self.controls)

    def _acted(self, model: Model, data: Any, table: Table) -> list[Evidence]:
        """Silence the heads of a class beside as many others, and redirect from a token beside others."""
        tried: dict[str, list[Changes]] = {}
        for kind in ("no-op", "broadcast"):
            heads = heads_of_class(table, kind)
            if heads and 2 * len(heads) <= len(table["site"]):
                sets = [heads, *(random_heads(table, heads, seed) for seed in range(self.controls))]
                claim = f"silencing the {len(heads)} {kind} heads (controls: as many other heads)"
                tried[claim] = [on_heads(one, Zero()) for one in sets]
        for keys, heads in heads_by_type(table).items():
            others = [[5 + 3 * i] for i in range(self.controls)]
            claim = f"redirecting {len(heads)} heads from {keys} (controls: from another token)"
            tried[claim] = [redirected(heads, one) for one in (keys, *others)]
        return _effects(model, data, tried)


def sink_facts(model: Model, data: Any, at: str, *, batch: int = 8, eps: float = 0.5) -> SinkFacts:
    """What there is to know of the sinks of every input, block and head, batch by batch.

    Parameters
    ----------
    model : Model
        The model.
    data : object
        Inputs as for `Model.capture`: a list of texts or images, a tensor, or tensors by name.
    at : str
        Patterns of one tower, wildcards included.
    batch : int
        Inputs of a forward.
    eps : float
        Recorded beside those of the sensitivity table.
    """
    patterns = model.sites(at)
    epsilons = tuple(dict.fromkeys((*EPSILONS, float(eps))))
    through = projections(
        model, part_of(model, rows_of(data, range(min(PROVED, count_of(data)))), patterns[0]), patterns
    )

    def one(part: Any) -> torch.Tensor:
        return watched(model, part_of(model, part, patterns[0]), through, epsilons)

    bar = tqdm(total=count_of(data), desc="sinks", disable=None, leave=False)
    recorded = []
    with bar:
        for i, part in enumerate(parts_of(data, batch)):
            recorded.append(
                kept(f"sinks at {at} {epsilons} batch {i} of {batch}", lambda part=part: one(part))
            )
            bar.update(recorded[-1].shape[1])
    places = tuple(site.place for site in patterns)
    return SinkFacts.of(torch.cat(recorded, 1), fields_of(epsilons), places)


def _effects(model: Model, data: Any, tried: Mapping[str, list[Changes]]) -> list[Evidence]:
    """Of each claim the first arm's mean effect on the output, beside that of the others."""
    if not tried:
        return []
    found = model.compare(
        data, next(iter(tried.values()))[0], controls=1
    )  # its floor and metric are all that is taken
    evidence = []
    for claim, arms in tried.items():
        effect, *controls = model.sweep(data, arms, batch=2, progress=False).mean(1).tolist()
        floor = float(found.floor.mean())
        evidence.append(Evidence(claim, "intervened", effect, tuple(controls), floor, found.metric))
    return evidence


def _said(rules: SinkRules) -> str:
    share = rules.share if rules.query_subset is None else rules.query_subset
    return f"{share:.0%} of the queries"
