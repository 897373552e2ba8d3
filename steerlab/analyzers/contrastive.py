"""ContrastiveVector: the difference of means between two lists of texts, and what adding it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.doses import Scale, dose_passes, measured, random_direction, written
from steerlab.analyzers.likelihoods import Cost, Endings
from steerlab.analyzers.settings import check_doses, check_texts, check_whole
from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.report import Report
from steerlab.store import made_on

AT_ONCE = 16  # texts that share a forward


@dataclass(frozen=True)
class ContrastiveVector(Analyzer):
    """Fit ``v = mean(x | positive) - mean(x | negative)`` at the last token of texts, and steer with it.

    The data are control texts, which the steering should leave alone. The vector is that of contrastive
    activation addition (arXiv 2312.06681); the score of the endings and the units are our own.

    Parameters
    ----------
    at : str
        One site of a language model.
    positive, negative : list of str
        Texts whose last tokens differ in what the vector is to hold.
    contexts : list of str
        Beginnings: they are continued, and every ending is tried after each.
    toward, away : list of str
        Endings that the vector should make likelier, and less likely. None of them is in the texts.
    strengths : list of float
        Doses, in units of every token's own length.
    budget : float, optional
        Largest KL divergence on the control texts, in nats a token; the intervention is as strong as that
        allows, and without it as strong as the last of `strengths`.
    controls : int
        Random directions beside it.
    new_tokens : int
        How far the contexts are continued; 0 for not at all.
    """

    at: str
    positive: Sequence[str]
    negative: Sequence[str]
    contexts: Sequence[str]
    toward: Sequence[str]
    away: Sequence[str]
    strengths: Sequence[float] = (-0.2, -0.1, 0.1, 0.2)
    budget: float | None = None
    controls: int = 3
    new_tokens: int = 16

    def __post_init__(self) -> None:
        check_texts(self, "positive", "negative", "contexts", "toward", "away")
        check_doses(self, self.strengths, self.budget)
        check_whole(self, "controls")
        check_whole(self, "new_tokens", least=0)

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: the doses, and what is written with and without the vector."""
        site = str(model.site(self.at))
        vector = self._mean(model, site, self.positive) - self._mean(model, site, self.negative)
        if not bool(vector.any()):
            raise SteerlabError("ContrastiveVector: positive and negative texts have the same mean")
        endings = Endings.of(model, site, self.contexts, self.toward, self.away)
        scale = Scale(site, endings, Cost.of(model, site, data))
        doses = measured(scale, vector, self.strengths, budget=self.budget, controls=self.controls)
        edit = scale.step(vector, doses.strength)
        tables = {"doses": doses.table()}
        with model.edit(edit) as receipt:
            model.logits(scale.cost.texts)
        if self.new_tokens:
            random = scale.step(random_direction(vector, 0), doses.strength)
            edits = {"base": None, "steered": edit, "random 0": random}
            tables["texts"] = written(scale, edits, self.contexts, self.new_tokens)
        what = f"the contrastive vector at {site}"
        pairs = f"{len(self.positive)} against {len(self.negative)} texts"
        return Report(
            title=f"What a contrastive vector at {site} does",
            about=f"A difference of means, {pairs}, is added; "
            "random directions of the same length stand beside it.",
            tables=tables,
            plots=doses.plots(what),
            interventions={
                "add the vector": made_on(model, edit, f"{pairs}, at {doses.strength:.3g} of the norm")
            },
            evidence=doses.evidence(what),
            receipts=(str(receipt),),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The texts of the vector, every dose, the search for the strength, and what is written."""
        return len(self.positive) + len(self.negative) + dose_passes(self, data)

    def _mean(self, model: Model, site: str, texts: Sequence[str]) -> torch.Tensor:
        """Mean of the last tokens, ``[dim]``."""
        parts = [list(texts[i : i + AT_ONCE]) for i in range(0, len(texts), AT_ONCE)]

        def last(part: list[str]) -> torch.Tensor:
            return model.capture(part, at=site, tokens="last")[site][:, 0].float().cpu()

        found = [kept(f"last tokens at {site} of {part}", lambda part=part: last(part)) for part in parts]
        return torch.cat(found).mean(0)
