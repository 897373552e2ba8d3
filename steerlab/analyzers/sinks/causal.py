"""SinkCauses: whether heads classed no-op or broadcast do what their class says, by single-head edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from tqdm.auto import tqdm

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.analyzers.sinks.analyzer import sink_facts
from steerlab.analyzers.sinks.facts import SinkFacts, SinkRules
from steerlab.analyzers.sinks.parts import count_of, rows_of
from steerlab.analyzers.sinks.probing import EDITS, MEASURES, effects, probe
from steerlab.edits import Zero
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.sink_classes import CLASSES
from steerlab.report import Evidence, Plot, Report, Table
from steerlab.sites import Site
from steerlab.store import made_on

DRAWS = 1000  # of the bootstrap
TRIED = ("no-op", "broadcast")


@dataclass(frozen=True)
class SinkCauses(Analyzer):
    """Edit the value at the sink of single heads, the attention left as it is, and measure the output.

    The protocol of arXiv 2606.08105's code: the value at the sink is set to zero, to the head's mean over
    other inputs, to that of another input's sink (a donor) or of an ordinary token of it, and the sink's
    score is taken away; a random other token's value set to zero is the control. A no-op head does not mind
    but for an ordinary value; the output of a broadcast head moves to the donor. Where zero matters but mean
    and donor do not, what the head hands out is the same for all inputs (our own reading).

    Heads are those of a class with the most events, the first block apart. Intervals are bootstrap ones over
    heads and their inputs, our own.

    Parameters
    ----------
    at : str
        Patterns of one tower, wildcards included.
    eps, share, query_subset, norm_space, no_op, broadcast, rank
        See `SinkRules`.
    top : int
        Heads of each class.
    events : int
        Inputs of each head, from those on which it is of its class.
    least : int
        Fewest such inputs of a head that is tried.
    batch : int
        Inputs of a forward while sinks are looked for.
    first_block : bool
        Whether heads of the first block are tried as well: what sinks there are raw embeddings.
    seed : int
        Of the random tokens and of which inputs are taken.
    """

    at: str = "blocks.*.pattern"
    eps: float = 0.5
    share: float = 0.9
    query_subset: float | None = None
    norm_space: str = "projected"
    no_op: float = 0.2
    broadcast: float = 0.5
    rank: float = 1.5
    top: int = 4
    events: int = 8
    least: int = 4
    batch: int = 8
    first_block: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(self, "top", "batch")
        check_whole(self, "events", "least", least=2)
        check_whole(self, "seed", least=0)
        if not is_number(self.eps):
            raise SteerlabError(f"SinkCauses: eps={self.eps!r} is not a number")
        self.rules()

    def rules(self) -> SinkRules:
        """The settings that make events and classes."""
        try:
            return SinkRules(**{one.name: getattr(self, one.name) for one in fields(SinkRules)})
        except SteerlabError as fault:
            raise SteerlabError(f"SinkCauses: {fault}") from None

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: ``effects``, a row a head and edit; ``<class> effects`` with means and intervals."""
        facts = sink_facts(model, data, self.at, batch=self.batch, eps=self.eps)
        chosen = self._chosen(facts)
        if not chosen:
            where = "" if self.first_block else "after the first block "
            raise SteerlabError(
                f"SinkCauses: {where}no head is a no-op or a broadcast on {self.least} inputs "
                f"or more of {facts.shape[0]}; try other rules, as query_subset=0.3, or more inputs"
            )
        bar = tqdm(chosen, desc="single-head edits", disable=None, leave=False)
        measured = {
            (kind, head): kept(
                f"sink causes {head} on {rows} seed {self.seed}",
                lambda head=head, rows=rows: effects(
                    model, probe(model, rows_of(data, rows), head, self.seed)
                ),
            )
            for kind, head, rows in bar
        }
        tables: dict[str, Table] = {"effects": _effects_table(measured)}
        plots, evidence, interventions = {}, [], {}
        for kind in TRIED:
            own = {str(head): one for (of, head), one in measured.items() if of == kind}
            if not own:
                continue
            tables[f"{kind} effects"] = table = _class_table(list(own.values()), self.seed)
            plots[kind] = Plot(
                "bars",
                f"{kind} effects",
                f"edits of {len(own)} {kind} heads, one at a time",
                {"names": "edit", "y": "change", "label": "relative change of the final tokens"},
            )
            evidence += _evidence(kind, len(own), table)
            interventions[f"silence the tried {kind} heads"] = made_on(
                model, {name: Zero() for name in own}, f"{len(own)} {kind} heads set to zero"
            )
        return Report(
            title=f"What single-head edits of {len(chosen)} sinking heads do",
            about="The value at the sink is changed, one head at a time; all that follows is recomputed.",
            tables=tables,
            plots=plots,
            interventions=interventions,
            evidence=tuple(evidence),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The inputs once, and every edit of the heads that are tried."""
        return count_of(data) + len(TRIED) * self.top * self.events * (2 + len(EDITS))

    def _chosen(self, facts: SinkFacts) -> list[tuple[str, Site, list[int]]]:
        """Class, head and inputs: the heads of a class with the most events, the first block apart."""
        classes, found = facts.classes(self.rules()), []
        order = torch.randperm(facts.shape[0], generator=torch.Generator().manual_seed(self.seed))
        for kind in TRIED:
            of_class = classes == CLASSES.index(kind)
            count = of_class.sum(0)
            if not self.first_block:
                count[[block.endswith("blocks.0") for block in facts.blocks]] = 0
            for place in count.flatten().argsort(descending=True, stable=True)[: self.top].tolist():
                block, head = divmod(place, facts.shape[2])
                if int(count[block, head]) >= self.least:
                    rows = [i for i in order.tolist() if bool(of_class[i, block, head])][: self.events]
                    found.append((kind, Site(facts.blocks[block], "heads", str(head)), rows))
        return found


def _effects_table(measured: Mapping[tuple[str, Site], torch.Tensor]) -> Table:
    """A row a head and edit: means over its inputs."""
    rows = [
        (kind, str(head), edit, one.shape[-1], *one[i].double().mean(1).tolist())
        for (kind, head), one in measured.items()
        for i, edit in enumerate(EDITS)
    ]
    kinds, sites, edits, counts, *numbers = zip(*rows, strict=True)
    table = {"class": list(kinds), "site": list(sites), "edit": list(edits), "inputs": torch.tensor(counts)}
    measures = {name: torch.tensor(one) for name, one in zip(MEASURES, numbers, strict=True)}
    return table | {name: one for name, one in measures.items() if not bool(one.isnan().all())}


def _class_table(heads: Sequence[torch.Tensor], seed: int) -> Table:
    """Means over heads of the means over their inputs, with intervals of 95 %, a row an edit."""
    mean = torch.stack([one.double().mean(2) for one in heads]).mean(0)
    drawn = torch.stack([_resampled(heads, seed + i) for i in range(DRAWS)])
    low, high = drawn.nanquantile(0.025, 0), drawn.nanquantile(0.975, 0)
    table: dict[str, Any] = {"edit": list(EDITS)}
    for i, name in enumerate(MEASURES):
        if bool(mean[:, i].isnan().all()):
            continue  # no divergence where there are no next tokens
        table |= {name: mean[:, i], f"{name} low": low[:, i], f"{name} high": high[:, i]}
    return table


def _resampled(heads: Sequence[torch.Tensor], seed: int) -> torch.Tensor:
    """One draw of the bootstrap: heads, then inputs of each, with replacement; ``[edit, measure]``."""
    generator = torch.Generator().manual_seed(seed)
    means = []
    for place in torch.randint(len(heads), (len(heads),), generator=generator).tolist():
        one = heads[place].double()
        means.append(one[..., torch.randint(one.shape[-1], (one.shape[-1],), generator=generator)].mean(-1))
    return torch.stack(means).mean(0)


def _evidence(kind: str, count: int, table: Table) -> list[Evidence]:
    """What the class says should happen, beside what should not."""
    at = {edit: i for i, edit in enumerate(table["edit"])}

    def of(measure: str, *edits: str) -> tuple[float, ...]:
        return tuple(float(table[measure][at[edit]]) for edit in edits)

    unit = "relative change of the final tokens"
    if kind == "no-op":
        claim = f"an ordinary value at the sink of {count} no-op heads (controls: zero, mean, a donor's sink)"
        return [
            Evidence(
                claim,
                "intervened",
                *of("change", "donor non-sink"),
                of("change", "zero", "mean", "donor sink"),
                unit=unit,
            )
        ]
    moved = f"a donor's sink value in {count} broadcast heads moves the output to the donor"
    return [
        Evidence(
            f"no value at the sink of {count} broadcast heads (control: none at a random other token)",
            "intervened",
            *of("change", "zero"),
            of("change", "random non-sink"),
            unit=unit,
        ),
        Evidence(
            f"{moved} (controls: its ordinary value, none at a random token)",
            "intervened",
            *of("cosine", "donor sink"),
            of("cosine", "donor non-sink", "random non-sink"),
            unit="cosine",
        ),
    ]
