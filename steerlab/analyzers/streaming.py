"""Streaming: what a language model loses with the latest tokens alone, and what the first ones give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.analyzers.perplexity import losses
from steerlab.analyzers.settings import check_whole
from steerlab.edits import Window
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.model import Model
from steerlab.report import Evidence, Plot, Report
from steerlab.store import made_on


@dataclass(frozen=True)
class Streaming(Analyzer):
    """Perplexity with whole attention, with a window, and with a window and the first tokens in view.

    The question of StreamingLLM (arXiv 2309.17453), asked by masks: what tokens before the window wrote into
    later ones stays, as in its cache, and their places are those of the text. As many other early tokens kept
    in view are the control, our own addition. Losses count from the place where the window first leaves out
    every kept token.

    Parameters
    ----------
    recent : int
        Keys in view of a query, those of the first tokens included.
    first : int
        How many of them are of the first tokens.
    where : str
        Scores of the blocks.
    controls : int
        Choices of as many other tokens among the first `recent`.
    """

    recent: int = 64
    first: int = 4
    where: str = "blocks.*.scores"
    controls: int = 3

    def __post_init__(self) -> None:
        check_whole(self, "recent", "first", "controls")
        if self.recent < 3 * self.first:
            raise SteerlabError(f"Streaming: recent={self.recent} leaves no room for {self.first} others")

    def __call__(self, model: Model, data: Any) -> Report:
        """Table ``kept``: a row a choice of keys, with the perplexity and the mean loss."""
        near = self.recent - self.first
        arms: dict[str, Changes | None] = {
            "everything": None,
            f"the latest {self.recent}": {self.where: Window(self.recent)},
            f"the latest {near} and the first {self.first}": {self.where: Window(near, self.first)},
        }
        alone, sunk = list(arms)[1:]
        random = {}
        for seed in range(self.controls):
            chance = torch.randperm(near, generator=torch.Generator().manual_seed(seed))
            some = sorted((chance[: self.first] + self.first).tolist())
            random[f"the latest {near} and {', '.join(map(str, some))}"] = {self.where: Window(near, some)}
        found = losses(model, data, arms | random, begin=2 * self.recent)
        means = {name: float(one.mean()) for name, one in found.items()}
        gain = means[alone] - means[sunk]
        names = list(found)
        return Report(
            title=f"What a window of {self.recent} tokens loses, and what the first {self.first} give back",
            about=f"Perplexity over {len(found[alone])} tokens: {_ppl(means['everything'])} with all keys, "
            f"{_ppl(means[alone])} with a window, {_ppl(means[sunk])} with the first tokens as well.",
            tables={
                "kept": {
                    "keys": names,
                    "perplexity": torch.tensor(list(means.values())).exp(),
                    "loss": torch.tensor(list(means.values())),
                    "loss low": torch.tensor([means[n] - 2 * _error(found[n]) for n in names]),
                    "loss high": torch.tensor([means[n] + 2 * _error(found[n]) for n in names]),
                }
            },
            plots={
                "kept": Plot(
                    "bars",
                    "kept",
                    "Loss by the keys in view",
                    {"names": "keys", "y": "loss", "label": "loss of a token (nats)", "names label": "keys"},
                )
            },
            interventions={
                "window": made_on(model, arms[alone], f"attention to {alone} keys alone"),
                "window and first tokens": made_on(model, arms[sunk], f"attention to {sunk} keys"),
            },
            evidence=(
                Evidence(
                    f"loss that the first {self.first} tokens give back under a window of {self.recent} "
                    f"(controls: {self.first} other early tokens)",
                    "intervened",
                    gain,
                    tuple(means[alone] - means[name] for name in random),
                    unit="nats a token",
                ),
            ),
        )

    def passes(self, model: Model, data: Any) -> float:
        """The texts under every choice of keys."""
        return len(data) * (3 + self.controls) * 2


def _error(values: torch.Tensor) -> float:
    return float(values.std() / len(values) ** 0.5)


def _ppl(loss: float) -> str:
    return f"{torch.tensor(loss).exp().item():.4g}"
