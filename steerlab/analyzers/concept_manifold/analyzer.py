"""ConceptManifold: how an ordinary dictionary holds a concept's manifold, and what its atoms do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.concept_manifold.acting import (
    Place,
    arrivals,
    effects,
    manifold_of,
    matched,
    moves,
)
from steerlab.analyzers.concept_manifold.facts import Held, blind_groups, held, tables_of
from steerlab.analyzers.concept_manifold.gathering import Labelled, gathered, labelled, trained
from steerlab.analyzers.concept_manifold.results import plots_of, seen
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.atoms import AtomGroup, Grouping
from steerlab.bases import Dictionary
from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting
from steerlab.intervention import Intervention
from steerlab.model import Model
from steerlab.report import Evidence, Report
from steerlab.store import made_on
from steerlab.tokens import TokenChoice

ROWS, TRIED = 20_000, 4  # activations in memory at most; values that are moved to


@dataclass(frozen=True)
class ConceptManifold(Analyzer):
    """Count the atoms that hold a concept by their span and by their codes, and take them out.

    The question is that of arXiv 2604.28119: a dictionary holds a manifold whole (few atoms, each at work
    everywhere), tiles it (many, each on a patch), or dilutes it. Curves by span cannot tell the first two
    apart, curves by codes can; the verdict is our own rule (`steerlab.numerics.tiling.regime`). Groups are
    also found without labels, by Ising couplings.

    Parameters
    ----------
    at : str
        One site.
    values : list of str, optional
        For texts: each fills the ``{}`` of every input; the value is the label.
    labels : list, optional
        Or the label of each input: texts, or numbers, which are sorted.
    tokens : optional
        Tokens that are looked at, as in a scope: ``"last"``, ``"cls"``.
    dictionary : Dictionary, optional
        Of the site; without one a top-k dictionary is trained.
    corpus : optional
        Inputs to train on and to find groups in; the inputs themselves by default. All their tokens count,
        but those that `usual_tokens` leaves out.
    corpus_tokens : optional
        Tokens of the corpus.
    atoms, k, steps, seed : int
        Of the training.
    of : str
        ``"means"`` of values or ``"samples"``: whose variance is to be explained.
    share : float
        At which explained share atoms are counted.
    most : int
        Atoms of a curve.
    readout : str
        The activation on which moves are judged, at the same tokens.
    acted, controls : int
        Inputs on which interventions are tried, 0 for none; control groups beside each.
    batch : int
        Inputs of a forward.
    """

    at: str
    values: Sequence[str] | None = None
    labels: Sequence[Any] | None = None
    tokens: TokenChoice | None = None
    dictionary: Dictionary | None = None
    corpus: Any = None
    corpus_tokens: TokenChoice | None = None
    atoms: int = 256
    k: int = 8
    steps: int = 400
    seed: int = 0
    of: str = "means"
    share: float = 0.8
    most: int = 64
    readout: str = "final"
    acted: int = 48
    controls: int = 4
    batch: int = 16

    def __post_init__(self) -> None:
        check_whole(self, "atoms", "k", "steps", "most", "controls", "batch")
        check_whole(self, "seed", "acted", least=0)
        if self.of not in ("means", "samples"):
            raise SteerlabError(f"ConceptManifold: of={self.of!r} is 'means' or 'samples'")
        if not is_number(self.share) or not 0 < self.share < 1:
            raise SteerlabError(f"ConceptManifold: share={self.share!r} is not between 0 and 1")
        if (self.values is None) == (self.labels is None):
            raise SteerlabError("ConceptManifold: give values= for texts with {}, or labels=, and not both")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: ``capture``, ``atoms``, ``tuning``, ``groups`` and, where acted, ``acts``."""
        given = labelled(data, self.values, self.labels)
        if len(given.names) < 2:
            raise SteerlabError("ConceptManifold: one value alone has no manifold")
        site = model.site(self.at)
        x, owners = gathered(model, given.inputs, site, tokens=self.tokens, batch=self.batch, most=ROWS)
        labels = given.labels[owners]
        background = x
        if self.corpus is not None:
            background, _ = gathered(
                model, self.corpus, site, tokens=self.corpus_tokens, batch=self.batch, most=ROWS
            )
        dictionary = self.dictionary
        if dictionary is None:
            settings = Fitting(k=self.k, steps=self.steps, batch=256, seed=self.seed)
            dictionary = trained(torch.cat([x, background]), self.atoms, settings)
        found = held(x, labels, dictionary, of=self.of, share=self.share, most=self.most)
        if not len(found.carriers):
            raise SteerlabError(f"ConceptManifold: no atom's codes explain anything of {list(given.names)}")
        more = background[: 4 * len(x)] if self.corpus is not None else x[:0]
        codes = dictionary.encode(torch.cat([x, more]))
        _, groups = blind_groups(found, codes, dictionary, Grouping())
        carriers = AtomGroup(dictionary, found.carriers)
        rates = (codes[: len(x)] != 0).double().mean(0)  # where the concept is, so that controls act there
        others = [matched(carriers, rates, seed, _near(found)) for seed in range(self.controls)]
        others = [one for one in others if one is not None]
        tables = tables_of(found, given.names) | {"groups": groups}
        evidence = [*seen(found, self.of)]
        place = Place(model, site, model.site(self.readout), self.tokens, self.batch)
        manifold = manifold_of(carriers, x, labels, given.names)
        interventions: dict[str, Intervention] = {
            f"remove the concept by {how}": made_on(
                model, place.changes(carriers.ablation(how)), f"{len(carriers)} atoms removed by their {how}"
            )
            for how in ("codes", "span")
        }
        targets = _spread(len(given.names), TRIED)
        if manifold is not None:
            for target, edit in zip(targets, moves(manifold, targets), strict=True):
                interventions[f"move to {given.names[target]}"] = made_on(
                    model,
                    place.changes(edit),
                    f"the span of {len(carriers)} atoms set to {given.names[target]}",
                )
        metric = ""
        if self.acted:
            tables["acts"], seen_in_acts = self._acted(place, given, (carriers, others), x, labels)
            evidence += seen_in_acts
            metric = seen_in_acts[0].unit
        verdict = found.verdict
        told = "never reach it" if verdict.ratio is None else f"need {verdict.ratio:.3g} times as many"
        spans = found.span.needed(found.share)
        return Report(
            title=f"How {len(dictionary)} atoms at {site} hold {len(given.names)} values: {verdict.label}",
            about=f"{len(x)} activations; {spans} atoms explain {found.share:.0%} of the variance of "
            f"{self.of} by their span, and codes {told}.",
            tables=tables,
            plots=plots_of(tables, found, metric),
            interventions=interventions,
            evidence=tuple(evidence),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The inputs once, the corpus, and on some of them ablations, moves and their controls."""
        count = len(data) * (len(self.values) if self.values is not None else 1)
        corpus = 0 if self.corpus is None else len(self.corpus)
        return count + corpus + min(count, self.acted) * (3 + 2 * TRIED) * (1 + self.controls)

    def _acted(
        self,
        place: Place,
        given: Labelled,
        groups: tuple[AtomGroup, list[AtomGroup]],
        x: torch.Tensor,
        labels: torch.Tensor,
    ) -> tuple[dict[str, Any], list[Evidence]]:
        """Ablations and moves of the carriers, beside the same of groups that fire as often."""
        own, others = groups
        some = _spread(len(given.labels), self.acted)
        inputs = _rows(given.inputs, some)
        arms = [one.ablation(how) for how in ("codes", "span") for one in (own, *others)]
        values = effects(place, inputs, arms).view(2, -1)
        base = place.model.compare(
            _rows(given.inputs, some[: place.batch]), place.changes(own.ablation("codes")), controls=1
        )
        floor, metric = float(base.floor.mean()), base.metric
        table = {"act": ["removed by codes", "removed by span"], "effect": values[:, 0]}
        table |= {f"effect random {i}": values[:, i + 1] for i in range(len(others))}
        evidence = [
            Evidence(
                f"{len(own)} atoms removed by their {how} (controls: as many that fire as often)",
                "intervened",
                float(row[0]),
                tuple(row[1:].tolist()),
                floor,
                metric,
            )
            for how, row in zip(("codes", "span"), values, strict=True)
        ]
        targets = [t for t in _spread(len(given.names), TRIED) if bool((given.labels[some] == t).any())]
        scores = []
        for one in (own, *others):
            manifold = manifold_of(one, x, labels, given.names)
            if manifold is not None and targets:
                reached = arrivals(place, inputs, given.labels[some], manifold, targets)
                scores.append(float(reached.mean()))
            if one is own and not scores:
                return table, evidence
        claim = f"moves to {len(targets)} values in the atoms' span change {place.readout} as the values do"
        evidence.append(
            Evidence(
                f"{claim} (controls: in the span of as many that fire as often)",
                "intervened",
                scores[0],
                tuple(scores[1:]),
                unit="cosine",
            )
        )
        return table, evidence


def _near(found: Held) -> torch.Tensor:
    """Atoms that took part in the labelled curve at all: they are no controls."""
    return found.codes.chosen[: 2 * len(found.carriers)]


def _spread(count: int, most: int) -> list[int]:
    """At most so many numbers below `count`, evenly far apart."""
    return torch.linspace(0, count - 1, min(count, most)).round().long().tolist()


def _rows(inputs: Any, some: Sequence[int]) -> Any:
    return inputs[some] if isinstance(inputs, torch.Tensor) else [inputs[i] for i in some]
