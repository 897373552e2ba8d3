"""AtomDose: what one atom of a dictionary does to what a language model writes, added and taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.doses import Scale, dose_passes, measured, random_direction, written
from steerlab.analyzers.likelihoods import Cost, Endings
from steerlab.analyzers.settings import check_doses, check_texts, check_whole
from steerlab.atoms import CodeMap, at_site, top_inputs
from steerlab.atoms.stream import site_of
from steerlab.bases import Dictionary
from steerlab.edits import Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report
from steerlab.store import made_on

AT_ONCE = 16  # texts that share a forward
AROUND = 12  # tokens shown on either side of the strongest


@dataclass(frozen=True)
class AtomDose(Analyzer):
    """Add an atom's direction over strengths, then take its code away where it fires.

    The data are control texts, which adding the atom should leave alone. Adding stands beside random
    directions of the same length; taking away beside other atoms that write about as much on the texts.
    The rule that finds the atom, and the score, are our own.

    Parameters
    ----------
    dictionary : Dictionary
        Usually ``"$name"`` of a `LoadDictionary`.
    atom : int or ``"auto"``
        Which; ``"auto"`` is the atom whose mean code tells the positive from the negative texts best, by the
        difference of means over the standard deviation.
    positive, negative : list of str
        Texts about the atom's matter and about others.
    contexts : list of str
        Beginnings: they are continued, and every ending is tried after each.
    toward, away : list of str
        Endings about the atom's matter and about others. None of them is in the texts.
    strengths : list of float
        Doses, in units of every token's own length.
    budget : float, optional
        Largest KL divergence on the control texts, in nats a token; the intervention is as strong as that
        allows, and without it as strong as the last of `strengths`.
    controls : int
        Random directions, and other atoms.
    top : int
        Texts in the table of those on which the atom fires most.
    new_tokens : int
        How far the contexts are continued; 0 for not at all.
    """

    dictionary: Any
    positive: Sequence[str]
    negative: Sequence[str]
    contexts: Sequence[str]
    toward: Sequence[str]
    away: Sequence[str]
    atom: int | str = "auto"
    strengths: Sequence[float] = (0.1, 0.2, 0.3)
    budget: float | None = None
    controls: int = 3
    top: int = 8
    new_tokens: int = 16

    def __post_init__(self) -> None:
        if not isinstance(self.dictionary, Dictionary):
            raise SteerlabError(f"AtomDose: dictionary={self.dictionary!r} is not a dictionary")
        check_texts(self, "positive", "negative", "contexts", "toward", "away")
        if self.atom != "auto":
            check_whole(self, "atom", least=0)
        check_doses(self, self.strengths, self.budget)
        check_whole(self, "controls", "top")
        check_whole(self, "new_tokens", least=0)

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: the doses, what is written, and the texts on which the atom fires most, with its codes."""
        site = str(site_of(model, self.dictionary))
        sae = at_site(self.dictionary, site)
        codes = self._codes(model, sae, site, self.positive)
        atom = self.atom if self.atom != "auto" else self._found(model, sae, site, codes)
        direction = sae[atom].float()
        endings = Endings.of(model, site, self.contexts, self.toward, self.away)
        scale = Scale(site, endings, Cost.of(model, site, data))
        doses = measured(scale, direction, self.strengths, budget=self.budget, controls=self.controls)
        add = scale.step(direction, doses.strength)
        away = {site: Zero(sae.only(atom)).on(exclude="first")}
        texts = [*self.positive, *self.negative, *scale.cost.texts]
        fires = top_inputs(model, sae, atom, [[text] for text in texts], k=self.top)[atom]
        tables = {"doses": doses.table()}
        if self.new_tokens:
            random = scale.step(random_direction(direction, 0), doses.strength)
            edits = {"base": None, "with the atom": add, "random 0": random}
            tables["texts"] = written(scale, edits, self.contexts, self.new_tokens)
        tables["fires on"] = {
            "code": torch.tensor([one.peak for one in fires]),
            "text": [str(one).partition(" at ")[2] for one in fires],
        }
        plots = doses.plots(what := f"atom {atom} at {site}")
        if fires:
            tables["codes"] = _around(fires)
            title = f"Where {what} fires most, and the words about it"
            plots["codes"] = Plot("tokens", "codes", title, {"value": "code", "label": "code"})
        without, receipt = self._without(model, site, away, others=_like(sae, codes, atom, self.controls))
        return Report(
            title=f"What {what} does",
            about="Its direction is added, beside random ones; its code is taken away, beside other atoms.",
            tables=tables,
            plots=plots,
            interventions={
                "add the atom": made_on(model, add, f"{what} added, {doses.strength:.3g} of the norm"),
                "take the atom away": made_on(model, away, f"{what} set to zero"),
            },
            evidence=(*doses.evidence(what), without),
            receipts=(receipt,),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The texts twice, every dose, the search for the strength, what is written, and the ablations."""
        texts = len(self.positive) + len(self.negative)
        without = 4 * (len(self.toward) + len(self.away)) * (3 + self.controls)
        return 2 * texts + without + dose_passes(self, data)

    def _codes(self, model: Model, sae: Dictionary, site: str, texts: Sequence[str]) -> torch.Tensor:
        """Mean codes over the tokens of each text but the first, ``[text, atom]``."""

        def mean(some: list[str]) -> torch.Tensor:
            acts = model.capture(some, at=site)
            tokens = acts.map_of(site)
            real = (tokens.select("all") & ~tokens.select("first")).float().cpu()[..., None]
            codes = sae.encode(acts[site].float()).cpu()
            return (codes * real).sum(1) / real.sum(1).clamp_min(1)

        parts = [list(texts[i : i + AT_ONCE]) for i in range(0, len(texts), AT_ONCE)]
        return torch.cat([kept(f"codes at {site} of {part}", lambda part=part: mean(part)) for part in parts])

    def _found(self, model: Model, sae: Dictionary, site: str, ours: torch.Tensor) -> int:
        """The atom that tells the two lists apart best."""
        others = self._codes(model, sae, site, self.negative)
        ours_var, others_var = ours.var(0, correction=0), others.var(0, correction=0)
        every = torch.cat([ours, others]).std(0, correction=0)
        # an atom that hardly ever fires has hardly any deviation; a share of the largest keeps it out
        spread = (0.5 * (ours_var + others_var)).sqrt() + 0.05 * every.max()
        gap = ours.mean(0) - others.mean(0)
        if not bool((gap > 0).any()):
            raise SteerlabError("AtomDose: no atom is stronger on the positive texts than on the negative")
        return int((gap / spread).argmax())

    def _without(
        self, model: Model, site: str, away: Changes, *, others: list[Changes]
    ) -> tuple[Evidence, str]:
        """How much less likely the wanted endings are after the positive texts without the code."""
        contexts = [
            f"{text} {self.contexts[i % len(self.contexts)]}" for i, text in enumerate(self.positive[:4])
        ]
        endings = Endings.of(model, site, contexts, self.toward, self.away)
        base = endings.score()
        lost = base - endings.score(away)
        with model.edit(away) as receipt:
            model.logits(contexts)
        controls = [base - endings.score({site: one}) for one in others]
        evidence = Evidence(
            f"taking the code away lowers the endings after {len(contexts)} positive texts (controls: other "
            "atoms that write as much)",
            "intervened",
            lost,
            tuple(controls),
            abs(base - endings.score(backwards=True)),
            "nats a token",
        )
        return evidence, str(receipt)


def _like(sae: Dictionary, codes: torch.Tensor, atom: int, count: int) -> list[Any]:
    """Edits that take other atoms away, those that write most nearly as much on the texts."""
    size = codes.mean(0) * sae.atoms.float().norm(dim=-1).cpu()
    far = (size - size[atom]).abs()
    far[atom] = torch.inf
    return [Zero(sae.only(one)).on(exclude="first") for one in far.argsort()[:count].tolist()]


def _around(fires: Sequence[CodeMap]) -> dict[str, Any]:
    """Codes about the strongest token of each text, a row a token; `row` counts the texts from 1."""
    table: dict[str, list] = {"row": [], "token": [], "code": []}
    for row, one in enumerate(fires, start=1):
        start, stop = max(0, one.place[0] - AROUND), one.place[0] + AROUND + 1
        codes = one.codes[start:stop].tolist()
        table["row"] += [row] * len(codes)
        table["token"] += (one.pieces or [str(i) for i in range(len(one.codes))])[start:stop]
        table["code"] += codes
    return table | {name: torch.tensor(table[name]) for name in ("row", "code")}
