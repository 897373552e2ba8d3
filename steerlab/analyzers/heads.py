"""HeadGrid: what every attention head does to the output, each silenced alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.base import Analyzer
from steerlab.edits import Zero
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.report import Plot, Report, effect_of
from steerlab.store import made_on


@dataclass(frozen=True)
class HeadGrid(Analyzer):
    """Zero each head by itself and measure the output; the strongest stands beside random steps of its size.

    Parameters
    ----------
    at : str
        Heads to try, as sites.
    strongest : int
        How many heads the intervention silences together.
    controls : int
        Random directions in the strongest head's place, each step as long as the one that silences it.
    batch : int
        Heads that share a forward.
    """

    at: str = "**.heads"
    strongest: int = 3
    controls: int = 4
    batch: int = 16

    def __post_init__(self) -> None:
        for name in ("strongest", "controls", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SteerlabError(f"HeadGrid: {name}={value!r} is not a whole number of 1 or more")

    def __call__(self, model: Model, data: Any) -> Report:
        """One row of the table a head; effects are means over the inputs."""
        heads = model.heads(self.at)
        effects = model.sweep(data, [{head: Zero()} for head in heads], batch=self.batch).mean(1)
        order = effects.argsort(descending=True).tolist()
        best = heads[order[0]]
        found = model.compare(data, {best: Zero()}, controls=self.controls)
        places = [block_of(head.place) for head in heads]
        strongest = {str(heads[i]): Zero() for i in order[: self.strongest]}
        return Report(
            title=f"What each of {len(heads)} heads does",
            about="Each head is silenced alone; the effect is the mean over the inputs.",
            tables={
                "heads": {
                    "site": [str(head) for head in heads],
                    "block": torch.tensor(places),
                    "head": torch.tensor([int(head.heads) for head in heads]),
                    "effect": effects.float().cpu(),
                }
            },
            plots={
                "heads": Plot(
                    "head grid",
                    "heads",
                    f"effect of silencing each head: {found.metric}",
                    {"value": "effect", "label": found.metric, "scale": "log"},
                )
            },
            interventions={
                "silence the strongest": made_on(
                    model, strongest, f"the {len(strongest)} heads with the largest effect set to zero"
                )
            },
            evidence=(effect_of(f"silencing {best}, the strongest on these inputs", found),),
            receipts=(str(found.receipt),),
        )

    def passes(self, model: Model, data: Any) -> float:
        """Each head, the base beside every batch of them, and the comparison."""
        heads = len(model.heads(self.at))
        return len(data) * (heads + heads / self.batch + 2 + self.controls)


def block_of(place: str) -> int:
    """The number of the block in a place; for towers of stages the last number."""
    return next(int(part) for part in reversed(place.split(".")) if part.isdigit())
