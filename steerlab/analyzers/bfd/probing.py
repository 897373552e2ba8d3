"""Whether content is free of position: probes on the stream, fitted in one pass and scored in another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from steerlab.analyzers.bfd.design import count_of, part_of
from steerlab.analyzers.bfd.gathering import Gathered
from steerlab.analyzers.heads import block_of
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.anova import FactorModel

RIDGE = 1e-6  # of the mean variance of a feature
FEATURES = ("activation", "position factor", "content", "content squared")


@dataclass(eq=False)
class Probe:
    """A linear classifier of the position, by ridge regression to one-hot targets; sums alone are kept."""

    places: int
    gram: torch.Tensor | None = None
    sums: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    right: list[float] = field(default_factory=list)

    def learn(self, x: torch.Tensor) -> None:
        """Add inputs ``[input, position, dim]``."""
        x = _with_one(x)
        flat = x.flatten(0, 1)
        gram, sums = flat.T @ flat, x.sum(0)
        self.gram = gram if self.gram is None else self.gram + gram
        self.sums = sums if self.sums is None else self.sums + sums

    def judge(self, x: torch.Tensor) -> None:
        """Score inputs that it has not seen."""
        if self.weight is None:
            eye = torch.eye(len(self.gram), dtype=self.gram.dtype)
            penalty = RIDGE * self.gram.diagonal()[:-1].mean() * eye
            self.weight = torch.linalg.solve(self.gram + penalty, self.sums.T)
        best = (_with_one(x) @ self.weight).argmax(-1)
        self.right += (best == torch.arange(self.places)).double().mean(1).tolist()

    @property
    def accuracy(self) -> float:
        """The share of positions told rightly."""
        return sum(self.right) / len(self.right)


def _with_one(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)


def probes(model: Model, data: Any, found: Gathered, *, images: int, batch: int) -> dict[str, Any]:
    """A row a block: how well the position is read from parts of the stream, and which input it is.

    Probes are fitted and scored on inputs of the second half, two thirds and one third of `images`. What they
    are fitted on is split by the factors of one quarter of the inputs, what they are scored on by those of
    another: the sampling error of one estimate, shared by both, would itself tell the position. From content
    the position should then be read hardly better than by chance; what is left are differences of variance
    between positions, which ``content squared``, a probe that is not linear, uses openly. ``same input`` is
    how often the mean content over the even positions is nearest, by the cosine, to that over the odd ones of
    the same input. The protocol is our own.
    """
    count = count_of(data)
    images = min(images, count - count // 2)
    first = count - images
    cut = first + max(1, round(images * 2 / 3))
    factors = {place: found.quarters(f"{place}.resid") for place in found.places}
    places = found.layout.design.positions

    def measure() -> torch.Tensor:
        every = {(place, name): Probe(places) for place in found.places for name in FEATURES}
        scale: dict[str, torch.Tensor] = {}
        pooled: dict[str, list[torch.Tensor]] = {place: [] for place in found.places}
        for start, stop, learning in ((first, cut, True), (cut, count, False)):
            for place, x in _streams(model, data, found, (start, stop, batch)):
                parts = _parts(x, factors[place][0 if learning else 1], scale, place)
                parts["position factor"] = factors[place][0].pos.expand_as(x)
                for name, value in parts.items():
                    probe = every[place, name]
                    probe.learn(value) if learning else probe.judge(value)
                content = parts["content"]
                pooled[place].append(torch.stack([content[:, ::2].mean(1), content[:, 1::2].mean(1)]))
        return torch.tensor(
            [
                [every[place, name].accuracy for name in FEATURES] + [_same(torch.cat(pooled[place], 1))]
                for place in found.places
            ]
        )

    scores = kept(f"probes {list(found.places)} {images} {batch}", measure)
    columns = {name: scores[:, i] for i, name in enumerate((*FEATURES, "same input"))}
    chance = torch.full((len(scores),), 1 / places)
    return {
        "site": list(found.places),
        "block": torch.tensor([block_of(place) for place in found.places]),
        **columns,
        "chance": chance,
        "chance, same input": torch.full((len(scores),), 1 / images),
    }


def _streams(
    model: Model, data: Any, found: Gathered, span: Sequence[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    start, stop, batch = span
    design = found.layout.design
    for low in range(start, stop, batch):
        sites = [f"{place}.resid" for place in found.places]
        acts = model.capture(part_of(data, low, min(low + batch, stop)), sites)
        for place, site in zip(found.places, sites, strict=True):
            yield place, acts[site][:, design.start : design.stop].double().cpu()


def _parts(
    x: torch.Tensor, model: FactorModel, scale: dict[str, torch.Tensor], place: str
) -> dict[str, torch.Tensor]:
    content = x - model.mu - model.pos
    size = scale.setdefault(place, content.square().mean((0, 1)).clamp_min(1e-12))
    return {
        "activation": x - model.mu,
        "content": content,
        "content squared": content.square() / size,
    }


def _same(pooled: torch.Tensor) -> float:
    """How often one half of an input is nearest to its other half, ``[half, input, dim]``."""
    unit = torch.nn.functional.normalize(pooled, dim=-1)
    best = (unit[0] @ unit[1].T).argmax(1)
    return float((best == torch.arange(len(best))).double().mean())
