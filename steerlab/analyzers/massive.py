"""Massive: activations a thousand times the median, where they are, and what taking them away does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.perplexity import losses
from steerlab.analyzers.settings import check_whole, is_number
from steerlab.bases import Subspace
from steerlab.edits import Replace, Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.model import Model
from steerlab.numerics.massive import ABOVE, RATIO, MassiveTally, tally_massive
from steerlab.report import Evidence, Plot, Report
from steerlab.store import made_on


@dataclass(frozen=True)
class Massive(Analyzer):
    """Find the massive activations of a language model (arXiv 2402.17762) and take them away.

    An entry is massive where its magnitude exceeds `above` and `ratio` times the median of its text's hidden
    state. At the first site that has some, the massive coordinates of the token that holds most of them are
    set to zero and to their mean over the texts, beside as many random coordinates of that token and the same
    coordinates of a random one; the losses of later tokens say what that is worth.

    Parameters
    ----------
    at : str
        Sites of the stream.
    above, ratio : float
        What counts as massive.
    begin : int
        The first token whose loss counts.
    controls : int
        Random choices of each kind.
    """

    at: str = "blocks.*.resid"
    above: float = ABOVE
    ratio: float = RATIO
    begin: int = 32
    controls: int = 2

    def __post_init__(self) -> None:
        check_whole(self, "begin", "controls")
        for name in ("above", "ratio"):
            if not is_number(getattr(self, name)) or getattr(self, name) <= 0:
                raise SteerlabError(f"Massive: {name}={getattr(self, name)!r} is not a number above 0")

    def __call__(self, model: Model, data: Any) -> Report:
        """Tables ``sites``, ``massive`` (a row a coordinate of a site) and ``ablations``."""
        tallies = self._tallies(model, data)
        names = list(tallies)
        some = [name for name in names if bool(tallies[name].dims.any())]
        tables: dict[str, Any] = {
            "sites": {
                "site": names,
                "place in depth": torch.arange(len(names)),
                "median": torch.tensor([tallies[name].median for name in names]),
                "largest": torch.stack([tallies[name].largest.max() for name in names]).cpu(),
                "massive coordinates": torch.tensor([int((tallies[n].dims > 0).sum()) for n in names]),
            },
        }
        plot = Plot(
            "lines",
            "sites",
            "Largest and median magnitude of the stream",
            {
                "x": "place in depth",
                "y": "largest,median",
                "y scale": "log",
                "x ticks": "whole",
                "y label": "magnitude",
            },
        )
        title = f"Massive activations at {len(some)} of {len(names)} sites"
        if not some:
            return Report(title, "Nothing exceeds both bounds.", tables, {"sites": plot})
        rows = [(name, int(dim)) for name in some for dim in tallies[name].dims.nonzero()[:, 0]]
        tables["massive"] = {
            "site": [name for name, _ in rows],
            "coordinate": torch.tensor([dim for _, dim in rows]),
            "texts": torch.tensor([int(tallies[name].dims[dim]) for name, dim in rows]),
            "mean": torch.tensor([float(tallies[name].means[dim]) for name, dim in rows]),
            "token": torch.tensor([int(tallies[name].places.argmax()) for name, _ in rows]),
        }
        site, place = some[0], int(tallies[some[0]].places.argmax())
        dims = tallies[site].dims.nonzero()[:, 0].tolist()
        if place >= self.begin:
            raise SteerlabError(f"Massive: token {place} is massive; begin={self.begin} must lie behind it")
        arms = self._arms(model, data, site, place, dims)
        found = {name: float(one.mean()) for name, one in losses(model, data, arms, begin=self.begin).items()}
        tables["ablations"] = {
            "what": list(found),
            "loss": torch.tensor(list(found.values())),
            "perplexity": torch.tensor(list(found.values())).exp(),
        }
        base = found["nothing"]
        others = tuple(found[name] - base for name in found if name.startswith("random"))
        where = f"coordinates {', '.join(map(str, dims))} of token {place} at {site}"
        return Report(
            title=title,
            about=f"They are in {where} first, and at {len(some)} sites from there.",
            tables=tables,
            plots={
                "sites": plot,
                "ablations": Plot(
                    "bars",
                    "ablations",
                    f"Loss without massive activations at {site}",
                    {
                        "names": "what",
                        "y": "loss",
                        "label": "loss of a token (nats)",
                        "names label": "changed",
                    },
                ),
            },
            interventions={
                name: made_on(model, arms[name], f"{where}: {name}")
                for name in ("massive zero", "massive mean")
            },
            evidence=(
                Evidence(
                    f"{where} set to zero (controls: random coordinates, random tokens)",
                    "intervened",
                    found["massive zero"] - base,
                    others,
                    unit="nats a token",
                ),
                Evidence(
                    f"{where} set to their mean over the texts (controls: as above, to zero)",
                    "intervened",
                    found["massive mean"] - base,
                    others,
                    unit="nats a token",
                ),
            ),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The tallies, the means, and each ablation with the tokens of its text."""
        return len(data) * (2 + 2 * (3 + 2 * self.controls))

    def _tallies(self, model: Model, data: Any) -> dict[str, MassiveTally]:
        """One tally a site over all texts, each text by itself."""
        from tqdm.auto import tqdm

        tallies: dict[str, MassiveTally] = {}
        for text in tqdm(data, desc="texts", disable=None, leave=False):
            acts = model.capture([text], self.at)
            for site in acts:
                one = tally_massive(acts[site], above=self.above, ratio=self.ratio)
                tallies[site] = tallies[site].merge(one) if site in tallies else one
        return tallies

    def _arms(
        self, model: Model, data: Any, site: str, place: int, dims: list[int]
    ) -> dict[str, Changes | None]:
        """What is changed, by name; a control's name begins with ``random``."""
        mean = torch.stack([model.capture([text], site)[site][0, place].float() for text in data]).mean(0)
        eye = torch.eye(len(mean), device=mean.device)
        arms: dict[str, Changes | None] = {
            "nothing": None,
            "massive zero": {site: Zero(Subspace(eye[dims])).on(tokens=[place])},
            "massive mean": {site: Replace(mean, Subspace(eye[dims])).on(tokens=[place])},
        }
        others = [dim for dim in range(len(mean)) if dim not in dims]
        generator = torch.Generator().manual_seed(0)
        for i in range(self.controls):
            order = torch.randperm(len(others), generator=generator)[: len(dims)].tolist()
            some = Subspace(eye[[others[j] for j in order]])
            arms[f"random coordinates {i}"] = {site: Zero(some).on(tokens=[place])}
            token = int(torch.randint(self.begin - 1, (1,), generator=generator))
            token += token >= place
            arms[f"random token {i}"] = {site: Zero(Subspace(eye[dims])).on(tokens=[token])}
        return arms
