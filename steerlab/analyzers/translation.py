"""Translation: whether two models share concepts: by one index, by translation, by the same edit in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.concept_manifold.acting import Place
from steerlab.analyzers.concept_manifold.gathering import gathered
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.atoms.translating import TranslationReport, translation
from steerlab.bases import Dictionary
from steerlab.edits import Add
from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting, fit_coupled
from steerlab.keeping import keeper
from steerlab.loading import load
from steerlab.model import Model
from steerlab.numerics.concepts import cofire_proportion, firing_entropy
from steerlab.report import Evidence, Plot, Report, Table
from steerlab.store import made_on
from steerlab.tokens import TokenChoice

ROWS, RIDGE = 20_000, 1e-2  # activations of each model in memory at most; of the map between outputs


@dataclass(frozen=True)
class Translation(Analyzer):
    """Give two models one index of concepts, and ask whether the same concept does the same in both.

    Dictionaries are trained together (`steerlab.fitting.fit_coupled`; arXiv 2502.03714 and 2606.09653) on
    activations of the same inputs and scored on inputs that were held out: how well one model's codes decode
    into the other, whether paired codes agree, and where a concept that is added in one model moves the
    other. Then the same concept is added to both models themselves: the change of the first's output, carried
    over by a ridge regression between the two outputs of unedited inputs, is compared with the change of the
    second's. All scores are our own definitions; random pairings of concepts are the control.

    Parameters
    ----------
    other : Model or str
        The second model, or what `steerlab.load` takes.
    at, there : str
        A site of the model that is asked, and one of the other.
    tokens, there_tokens : optional
        Tokens of each, equally many an input: ``"cls"``, ``"patches"``.
    readout, there_readout : str
        Activations that stand for the outputs, on the same tokens where they have any.
    dictionaries : pair of Dictionary, optional
        With a shared index; trained without them.
    kind : str
        ``"universal"`` or ``"coupled"``.
    atoms, k, steps, seed : int
        Of the training.
    held : float
        Share of the inputs that scores are taken on, the last ones.
    concepts, controls : int
        Concepts that are edited, those with the most energy; random pairings of them.
    strength : float
        Of the edit, in mean active codes.
    batch : int
        Inputs of a forward.
    """

    other: Any
    at: str
    there: str
    tokens: TokenChoice | None = None
    there_tokens: TokenChoice | None = None
    readout: str = "final"
    there_readout: str = "final"
    dictionaries: Sequence[Dictionary] | None = None
    kind: str = "universal"
    atoms: int = 128
    k: int = 8
    steps: int = 600
    seed: int = 0
    held: float = 0.25
    concepts: int = 12
    controls: int = 8
    strength: float = 1.0
    batch: int = 16

    def __post_init__(self) -> None:
        check_whole(self, "atoms", "k", "steps", "concepts", "controls", "batch")
        if not is_number(self.held) or not 0 < self.held < 1:
            raise SteerlabError(f"Translation: held={self.held!r} is not a share between 0 and 1")
        if not isinstance(self.other, (Model, str)):
            raise SteerlabError(
                f"Translation: other={self.other!r} is no model; write sl.load(...) or a name"
            )

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables: ``translation``, a row a pair of models; ``concepts``, a row an edited concept."""
        other = load(self.other) if isinstance(self.other, str) else self.other
        places = (
            Place(model, model.site(self.at), model.site(self.readout), self.tokens, self.batch),
            Place(
                other, other.site(self.there), other.site(self.there_readout), self.there_tokens, self.batch
            ),
        )
        x, owners = zip(*(self._rows(place, data) for place in places), strict=True)
        if not torch.equal(*owners):
            raise SteerlabError(
                f"Translation: {self.at} gives {len(x[0])} entries and {self.there} {len(x[1])}; choose "
                "tokens of which both have equally many"
            )
        first_held = round(len(data) * (1 - self.held))
        held = owners[0] >= first_held
        made = self.dictionaries or self._trained([part[~held] for part in x])
        codes = [one.encode(part[held]) for one, part in zip(made, x, strict=True)]
        energy = torch.stack([z.double().square().mean(0) for z in codes])
        chosen = (energy / energy.sum(1, keepdim=True)).amin(0).argsort(descending=True)[: self.concepts]
        chosen = chosen[energy[:, chosen].amin(0) > 0]
        if len(chosen) < 2:
            raise SteerlabError("Translation: fewer than two concepts are active in both models")
        scores = translation(made, [[part[held] for part in x]], concepts=chosen, seed=self.seed)
        amounts = [self.strength * _active_mean(z, chosen) for z in codes]
        bases = [place.read(data) for place in places]
        outputs = [
            self._changes(place, one, (chosen, amount), data[first_held:], base[first_held:])
            for place, one, amount, base in zip(places, made, amounts, bases, strict=True)
        ]
        carried = outputs[0] @ _ridge(bases[0][:first_held], bases[1][:first_held])
        alike = torch.nn.functional.cosine_similarity(carried[:, None], outputs[1][None], dim=-1)
        chance = [float(alike.roll(-shift, 1).diagonal().mean()) for shift in self._shifts(len(chosen))]
        interventions = {}
        for number, concept in enumerate(chosen.tolist()):
            for name, place, one, amount in zip(("here", "there"), places, made, amounts, strict=True):
                edit = Add(one.decoder[concept], float(amount[number]))
                interventions[f"concept {concept} {name}"] = made_on(
                    place.model, place.changes(edit), f"concept {concept} of the shared index added"
                )
        return Report(
            title=f"Concepts that {self.at} shares with {self.there} of another model",
            about=f"{int(held.sum())} held-out rows; {len(made[0])} concepts, of which {len(chosen)} are "
            "edited in both models.",
            tables={
                "translation": _pairs_table(scores, self.at, self.there),
                "concepts": _concepts_table(scores, codes, alike),
            },
            plots=_plots(),
            interventions=interventions,
            evidence=(
                *_evidence(scores),
                Evidence(
                    "the same concept added in both models changes both outputs alike (controls: others)",
                    "intervened",
                    float(alike.diagonal().mean()),
                    tuple(chance),
                    unit="cosine",
                ),
            ),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Both models once for activations and outputs, and every concept on what is held out."""
        return len(data) * (4 + 2 * self.held * self.concepts)

    def _rows(self, place: Place, data: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return gathered(place.model, data, place.site, tokens=place.tokens, batch=self.batch, most=ROWS)

    def _trained(self, rows: Sequence[torch.Tensor]) -> tuple[Dictionary, ...]:
        mine = keeper()
        folder = None if mine is None else mine.folder / "translation-dictionaries"
        settings = Fitting(k=self.k, steps=self.steps, batch=256, seed=self.seed)
        return fit_coupled(tuple(rows), self.atoms, kind=self.kind, settings=settings, folder=folder)

    def _changes(
        self,
        place: Place,
        dictionary: Dictionary,
        what: tuple[torch.Tensor, torch.Tensor],
        data: Any,
        base: torch.Tensor,
    ) -> torch.Tensor:
        """Mean change of the output when each concept is added, ``[concept, dim]``."""
        found = []
        for concept, amount in zip(*what, strict=True):
            edit = Add(dictionary.decoder[concept], float(amount))
            found.append((place.read(data, edit) - base).mean(0))
        return torch.stack(found)

    def _shifts(self, count: int) -> list[int]:
        """Wrong pairings: concept k beside the one that many places on."""
        generator = torch.Generator().manual_seed(self.seed)
        return (1 + torch.randperm(count - 1, generator=generator))[: self.controls].tolist()


def _active_mean(codes: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    some = codes[:, chosen].double()
    return some.sum(0) / (some > 0).sum(0).clamp_min(1)


def _ridge(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The linear map from centred `x` to centred `y`, ``[dim x, dim y]``."""
    a, b = x - x.mean(0), y - y.mean(0)
    gram = a.T @ a
    return torch.linalg.solve(gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).to(gram), a.T @ b)


def _pairs_table(scores: TranslationReport, here: str, there: str) -> Table:
    """A row an ordered pair of models."""
    names = [f"{here} (here)", f"{there} (there)"]
    pairs = [(i, j) for i in range(2) for j in range(2)]
    return {
        "codes of": [names[i] for i, _ in pairs],
        "decoded in": [names[j] for _, j in pairs],
        "pair": [f"{('here', 'there')[i]} to {('here', 'there')[j]}" for i, j in pairs],
        "R2": torch.stack([scores.r2[i, j] for i, j in pairs]),
        "R2 random 0": torch.stack([scores.permuted[i, j] for i, j in pairs]),
        "edit cosine": torch.stack([scores.cosine[i, j].mean() for i, j in pairs]),
        "edit cosine random 0": torch.stack([scores.elsewhere[i, j].mean() for i, j in pairs]),
        "off-target energy": torch.stack([scores.off_target[i, j].mean() for i, j in pairs]),
    }


def _concepts_table(scores: TranslationReport, codes: Sequence[torch.Tensor], alike: torch.Tensor) -> Table:
    """A row an edited concept; firing is that of arXiv 2502.03714."""
    chosen = scores.concepts
    fires = torch.stack([(z[:, chosen] > 0).double().sum(0) for z in codes])
    together = cofire_proportion([z[:, chosen] for z in codes], above=0.0)
    return {
        "concept": [str(one) for one in chosen.tolist()],
        "consistency": scores.consistency[0, 1, chosen],
        "edit cosine here to there": scores.cosine[0, 1],
        "edit cosine there to here": scores.cosine[1, 0],
        "outputs alike": alike.diagonal().clone(),
        "outputs alike random 0": (alike.sum(1) - alike.diagonal()) / (len(alike) - 1),
        "firing entropy": firing_entropy(fires),
        "fires together here": together[0],
        "fires together there": together[1],
    }


def _evidence(scores: TranslationReport) -> list[Evidence]:
    """Translation, consistency and the edit in the codes, each beside a wrong index."""
    cross = [(0, 1), (1, 0)]
    return [
        Evidence(
            "codes of one model decode into the other (controls: concepts in a random order)",
            "observed",
            float(torch.stack([scores.r2[pair] for pair in cross]).mean()),
            tuple(float(scores.permuted[pair]) for pair in cross),
            unit="R2",
        ),
        Evidence(
            "paired codes of a concept agree",
            "observed",
            float(scores.consistency[0, 1, scores.concepts].nanmean()),
            unit="correlation",
        ),
        Evidence(
            "a concept added in one model moves the other's decoded activation along its own atom "
            "(controls: along another)",
            "intervened",
            float(torch.stack([scores.cosine[pair] for pair in cross]).mean()),
            tuple(float(scores.elsewhere[pair].mean()) for pair in cross),
            unit="cosine",
        ),
    ]


def _plots() -> dict[str, Plot]:
    return {
        "translation": Plot(
            "bars",
            "translation",
            "Codes of one model decoded in another",
            {"names": "pair", "y": "R2", "label": "explained variance", "names label": "codes"},
        ),
        "concepts": Plot(
            "bars",
            "concepts",
            "The same concept added in both models",
            {
                "names": "concept",
                "y": "outputs alike",
                "label": "cosine of the outputs' changes",
                "names label": "concept",
            },
        ),
    }
