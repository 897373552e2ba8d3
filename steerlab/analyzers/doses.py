"""Dose and response of a direction in a language model: a score and its cost, beside random directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.analyzers.likelihoods import Cost, Endings
from steerlab.budget import within_budget
from steerlab.edits import Add
from steerlab.intervention import Changes
from steerlab.keeping import kept_texts
from steerlab.report import Evidence, Plot

SCORE = "log-likelihood (nats a token),\nwanted less other endings"
COST = "KL(base || edited),\nnats a token"
STRENGTH = "strength (× the stream's norm)"


@dataclass(frozen=True, eq=False)
class Scale:
    """What is measured at each dose.

    Parameters
    ----------
    site : str
        Where directions are added.
    endings : Endings
        The score.
    cost : Cost
        What it costs.
    """

    site: str
    endings: Endings
    cost: Cost

    def step(self, direction: torch.Tensor, strength: float) -> Changes:
        """The edit of a dose, a share of each token's own length; the first token is too long to be moved."""
        return {self.site: Add(direction, float(strength), unit="norm").on(exclude="first")}

    def at(self, direction: torch.Tensor, strength: float) -> tuple[float, float]:
        """Score and cost."""
        edit = self.step(direction, strength) if strength else None
        return self.endings.score(edit), self.cost.divergence(edit)


@dataclass(frozen=True, eq=False)
class Doses:
    """A measured curve.

    Attributes
    ----------
    strengths : list of float
        In units of the stream's norm, ascending, 0 among them.
    chosen : int
        The place of the chosen strength.
    score, cost : Tensor
        Of the direction, ``[dose]``.
    random_score, random_cost : Tensor
        Of random directions, ``[control, dose]``.
    floor : tuple of float
        What score and cost differ by where nothing is edited and the rows of a batch stand in another order.
    """

    strengths: list[float]
    chosen: int
    score: torch.Tensor
    cost: torch.Tensor
    random_score: torch.Tensor
    random_cost: torch.Tensor
    floor: tuple[float, float]

    @property
    def strength(self) -> float:
        """The chosen strength."""
        return self.strengths[self.chosen]

    def table(self) -> dict[str, torch.Tensor]:
        """One row a dose."""
        columns = {"strength": torch.tensor(self.strengths), "score": self.score, "cost": self.cost}
        for i, (score, cost) in enumerate(zip(self.random_score, self.random_cost, strict=True)):
            columns |= {f"score random {i}": score, f"cost random {i}": cost}
        return columns

    def plots(self, what: str) -> dict[str, Plot]:
        """Score and cost against the strength."""
        labels = {"score": SCORE, "cost": COST}
        return {
            name: Plot(
                "dose response",
                "doses",
                f"{title} {what}",
                {"x": "strength", "y": name, "x label": STRENGTH, "y label": labels[name]},
            )
            for name, title in (("score", "Endings under"), ("cost", "Control texts under"))
        }

    def evidence(self, what: str) -> tuple[Evidence, Evidence]:
        """The shift of the score and its cost at the chosen strength."""
        base = self.strengths.index(0.0)
        random = (self.random_score[:, self.chosen] - self.random_score[:, base]).abs()
        at = f"{what} at {self.strength:.3g} of the stream's norm"
        return (
            Evidence(
                f"{at} moves the endings (random directions of that length: sizes of their shifts)",
                "intervened",
                float(self.score[self.chosen] - self.score[base]),
                tuple(random.tolist()),
                self.floor[0],
                "nats a token",
            ),
            Evidence(
                f"what {at} costs on the control texts (random directions of that length: what they cost)",
                "intervened",
                float(self.cost[self.chosen]),
                tuple(self.random_cost[:, self.chosen].tolist()),
                self.floor[1],
                "nats",
            ),
        )


def measured(
    scale: Scale,
    direction: torch.Tensor,
    strengths: Sequence[float],
    *,
    budget: float | None = None,
    controls: int = 3,
) -> Doses:
    """Measure a direction and random ones over strengths.

    Parameters
    ----------
    scale : Scale
        Score and cost.
    direction : Tensor
        ``[dim]``.
    strengths : sequence of float
        In units of the stream's norm; 0 is added.
    budget : float, optional
        The chosen strength is the largest that costs no more; without it the last of `strengths`.
    controls : int
        Random directions.
    """
    chosen = float(strengths[-1])
    if budget is not None:
        start = chosen / 8 or max(strengths, key=abs) / 8
        found = within_budget(
            scale.cost.model, scale.cost.texts, lambda s: scale.step(direction, s), bound=budget, start=start
        )
        chosen = found.strength
    doses = sorted({0.0, chosen, *map(float, strengths)})
    noise = [random_direction(direction, seed) for seed in range(controls)]
    base = scale.at(direction, 0.0)
    values = torch.tensor([[scale.at(one, s) if s else base for s in doses] for one in (direction, *noise)])
    floor = abs(scale.endings.score(backwards=True) - base[0]), scale.cost.divergence(backwards=True)
    score, cost = values.unbind(-1)
    return Doses(doses, doses.index(chosen), score[0], cost[0], score[1:], cost[1:], floor)


def dose_passes(asked: Any, control: Sequence[str]) -> float:
    """About how many texts go through the model for the doses of an analyzer and what it then writes.

    A search for the strength takes about 25 measurements, and a written token about half of a short text.
    """
    score = len(asked.contexts) * (len(asked.toward) + len(asked.away))
    doses = (1 + len(asked.strengths)) * (1 + asked.controls) + 1
    search = 25 * len(control) if asked.budget is not None else 0
    return doses * (score + len(control)) + search + 1.5 * len(asked.contexts) * asked.new_tokens


def random_direction(like: torch.Tensor, seed: int) -> torch.Tensor:
    """A direction drawn evenly from the sphere, ``[dim]``."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)


def written(
    scale: Scale, edits: dict[str, Changes | None], prompts: Sequence[str], new_tokens: int
) -> dict[str, list[str]]:
    """What the model goes on to write after some prompts under each edit, one row a prompt."""
    table = {"prompt": list(prompts)}
    for name, edit in edits.items():

        def texts(edit: Changes | None = edit) -> list[str]:
            return list(scale.cost.model.generate(list(prompts), edit=edit, max_new_tokens=new_tokens).texts)

        table[name] = kept_texts(f"written {name} {edit}", texts)
    return table
