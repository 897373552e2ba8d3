"""Ways along which pictures are steered, and what was seen at each of their waypoints."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from steerlab.analyzers.picture_manifold.drawing import chroma
from steerlab.analyzers.picture_manifold.fitting import Fitted
from steerlab.analyzers.picture_manifold.measuring import Reader, sureness
from steerlab.numerics.naturalness import energy
from steerlab.zoo.checker import judge


@dataclass(frozen=True, eq=False)
class Walk:
    """One way: for each waypoint what was seen in every picture, and the first picture itself.

    Attributes
    ----------
    name : str
        ``curve``, ``line`` or ``random 0``.
    before, where : Tensor
        The answer to the second question for the unsteered pictures, ``[picture]``; and where the pictures
        of the end's prompts differ from those of the start's, ``[picture, row, column]``.
    questions : tuple of str
        What is asked of pictures, and what should stay.
    seen, sure, colourful, same, shown : list of Tensor
        One a waypoint: ``[picture, value]``, and ``[picture]``; ``same`` is whether the answer to the second
        question is that of the unsteered picture; ``shown`` is one picture.
    """

    name: str
    before: torch.Tensor
    where: torch.Tensor
    questions: tuple[str, str]
    seen: list[torch.Tensor] = field(default_factory=list)
    sure: list[torch.Tensor] = field(default_factory=list)
    colourful: list[torch.Tensor] = field(default_factory=list)
    same: list[torch.Tensor] = field(default_factory=list)
    shown: list[torch.Tensor] = field(default_factory=list)

    def add(self, pixels: torch.Tensor, reader: Reader) -> None:
        """Read the pictures of the next waypoint, bytes ``[picture, 3, row, column]``."""
        values = pixels.float() / 255
        self.seen.append(reader.seen(values).double())
        self.sure.append(sureness(values, self.questions).double())
        self.colourful.append(chroma(values, self.where).double())
        self.same.append((answers(values, self.questions[1]) == self.before).double())
        self.shown.append(pixels[0])

    def rows(self, quantity: str) -> torch.Tensor:
        """``[picture, waypoint, ...]`` of one of the lists."""
        return torch.stack(getattr(self, quantity), 1)


def answers(pixels: torch.Tensor, question: str) -> torch.Tensor:
    """Numbers of the judge's likeliest options for pictures in [0, 1], ``[picture]``."""
    return judge(pixels).probabilities[question].argmax(1)


def commanded(fitted: Fitted, ends: tuple[str, str], count: int) -> torch.Tensor:
    """The coordinates that waypoints ask for, ``[waypoint]``; past the period where the way crosses it."""
    man = fitted.manifold
    begin, way = man.place(ends[0]), man.shift(*ends)
    return (begin + torch.linspace(0, 1, count, dtype=torch.float64)[:, None] * way)[:, 0]


def energies(walk: Walk, fitted: Fitted) -> torch.Tensor:
    """Bhattacharyya distance of what is seen to the behaviour manifold, ``[picture, waypoint]``."""
    return energy(walk.rows("seen")[..., None, :], fitted.behaviour)


def between(fitted: Fitted, ends: tuple[str, str]) -> list[int]:
    """Numbers of the values on the way from one end to the other, both ends included, in their order."""
    man = fitted.manifold
    begin, way, period = man.place(ends[0]), float(man.shift(*ends)[0]), man.periods[0]
    along = (man.knots - begin)[:, 0] * (1 if way >= 0 else -1)
    if period is not None:
        along = torch.remainder(along + 1e-9, period) - 1e-9
    chosen = ((along >= -1e-6) & (along <= abs(way) + 1e-6)).nonzero()[:, 0]
    return chosen[along[chosen].argsort()].tolist()
