"""Temporal: the predictable and the novel part of activations, and the loss of a model without either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.perplexity import losses
from steerlab.analyzers.settings import check_whole
from steerlab.analyzers.temporal.events import event_evidence, event_labels, event_plot, event_table
from steerlab.analyzers.temporal.measuring import measure_plots, measures
from steerlab.analyzers.temporal.reading import sequences
from steerlab.bases import TemporalFeaturizer
from steerlab.edits import RandomControl, Zero
from steerlab.errors import SteerlabError
from steerlab.fitting import TemporalFitting, fit_temporal
from steerlab.keeping import keeper
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report
from steerlab.store import made_on

TOLD = {"predictable": "forget the context", "novel": "ignore the token"}


@dataclass(frozen=True)
class Temporal(Analyzer):
    """Split activations into what their past foretells and what is new, measure both, and take away either.

    The parts and most measures are those of arXiv 2511.01836; the loss without a part, beside random changes
    of the same lengths, is our own. The data are texts. Without a featurizer one is trained on every second
    of them, and measured on the others; activations of at most `most` texts are held.

    Parameters
    ----------
    at : str
        One site of a language model.
    featurizer : TemporalFeaturizer or str, optional
        A trained one, or its file.
    atoms : int
        Of the one that is trained; whole multiples of 32.
    steps, k : int
        Of its training.
    tokens : int
        Tokens of every text that are looked at.
    most, acted, controls : int
        Texts at most; those on which the loss is measured; random changes and surrogates.
    events : list of lists, optional
        For each text a label a token, None for no event, or spans ``(begin, end)`` of tokens: whether codes
        follow them is measured too.
    """

    at: str
    featurizer: Any = None
    atoms: int = 256
    steps: int = 300
    k: int = 16
    tokens: int = 48
    most: int = 128
    acted: int = 8
    controls: int = 3
    events: Sequence[Sequence[Any]] | None = None

    def __post_init__(self) -> None:
        check_whole(self, "atoms", "steps", "k", "acted", "controls")
        check_whole(self, "most", "tokens", least=4)
        if self.featurizer is not None and not isinstance(self.featurizer, (TemporalFeaturizer, str, Path)):
            raise SteerlabError(f"Temporal: featurizer={self.featurizer!r} is neither one nor its file")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables ``energy``, ``memory``, ``past``, ``measures``, ``loss`` and perhaps ``events``."""
        site = str(model.site(self.at))
        texts = [data] if isinstance(data, str) else list(data)[: self.most]
        if len(texts) < 4 or not all(isinstance(text, str) for text in texts):
            raise SteerlabError("Temporal: the data are texts, four or more")
        known = None if self.events is None else event_labels(self.events, len(texts), self.tokens)
        x = sequences(model, texts, site, self.tokens)
        tfa, held = self._featurizer(x, site)
        tables, plots = measures(tfa, x[held], surrogates=self.controls), measure_plots()
        if known is not None:
            tables["events"], plots["events"] = event_table(tfa, x[held], known[held]), event_plot()
        mine = [texts[i] for i in held[: self.acted]]
        rise, controls, base = self._losses(model, site, tfa, mine)
        parts = list(TOLD)
        tables["loss"] = {
            "part taken away": parts,
            "rise": torch.tensor([rise[part] for part in parts], dtype=torch.float64),
        }
        for seed in range(self.controls):
            values = [controls[part][seed] for part in parts]
            tables["loss"][f"rise random {seed}"] = torch.tensor(values, dtype=torch.float64)
        plots["loss"] = Plot(
            "bars",
            "loss",
            "What the next words cost without either part",
            {"names": "part taken away", "y": "rise", "label": "rise of the loss (nats a token)"},
        )
        past, energy = tables["past"], tables["energy"]
        surrogate = [
            float(past[f"explained random {seed}"][-1] - past["noise"][-1]) for seed in range(self.controls)
        ]
        window = int(past["window"][-1])
        evidence = [
            Evidence(
                f"variance at {site} in the span of the {window} tokens before, above noise without memory "
                "(controls: tokens in another order)",
                "observed",
                float(past["explained"][-1] - past["noise"][-1]),
                tuple(surrogate),
                0.0,
                "share",
            ),
            Evidence(
                "predictable share of the reconstruction's energy",
                "observed",
                float(energy["predictable share"][1:].mean()),
                unit="share",
            ),
        ]
        evidence += [
            Evidence(
                f"the loss without the {part} part, from {base:.2f} (controls: random changes as long)",
                "intervened",
                rise[part],
                tuple(controls[part]),
                0.0,
                "nats a token",
            )
            for part in parts
        ]
        if known is not None:
            evidence.insert(2, event_evidence(tables["events"]))
        return Report(
            title=f"What the past foretells at {site}",
            about=f"{len(held)} texts of {self.tokens} tokens; {tfa!r}, which misses "
            f"{float(energy['unexplained'][1:].mean()):.0%} of the energy.",
            tables=tables,
            plots=plots,
            interventions={
                TOLD[part]: made_on(model, {site: Zero(getattr(tfa, part))}, f"the {part} part set to zero")
                for part in parts
            },
            evidence=tuple(evidence),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The texts once, and some of them under every edit."""
        return min(len(data), self.most) + self.acted * (2 + 3 + 2 * self.controls)

    def _featurizer(self, x: torch.Tensor, site: str) -> tuple[TemporalFeaturizer, list[int]]:
        """The featurizer, and the texts that it was not trained on."""
        every = list(range(len(x)))
        if isinstance(self.featurizer, TemporalFeaturizer):
            return self.featurizer, every
        if self.featurizer is not None:
            return TemporalFeaturizer.load(self.featurizer), every
        settings = TemporalFitting(k=self.k, steps=self.steps, batch=8)
        now = keeper()
        folder = None if now is None else now.folder / "temporal"
        made = fit_temporal(x[::2], self.atoms, settings=settings, folder=folder, facts={"site": site})
        return made, every[1::2]

    def _losses(
        self, model: Model, site: str, tfa: TemporalFeaturizer, texts: list[str]
    ) -> tuple[dict[str, float], dict[str, list[float]], float]:
        """How much the loss rises without each part and under random changes as long, and what it was."""
        arms: dict[str, Any] = {"base": None}
        for part in TOLD:
            edit = Zero(getattr(tfa, part))
            arms[part] = {site: edit}
            arms |= {f"{part} {seed}": {site: RandomControl(edit, seed)} for seed in range(self.controls)}
        found = {name: float(one.mean()) for name, one in losses(model, texts, arms, begin=4).items()}
        rise = {name: value - found["base"] for name, value in found.items()}
        controls = {part: [rise[f"{part} {seed}"] for seed in range(self.controls)] for part in TOLD}
        return {part: rise[part] for part in TOLD}, controls, found["base"]
