"""Measuring pictures along a path: which value is seen where, in which order, and how sure the judge is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.numerics.tuning import circular_correlation
from steerlab.zoo.checker import QUESTIONS, judge

STEP_BACK = 0.1  # of the mean way between neighbouring values: less is no step backwards


@dataclass(frozen=True, eq=False)
class Reader:
    """A judge's answers as coordinates: its options are the prototypes.

    Parameters
    ----------
    values : tuple of str
        Options of the question, in the order of the concept.
    places : Tensor
        Coordinates of the values, ``[value]``.
    period : float or None
        After which they begin again.
    question : str
        What the judge is asked.
    """

    values: tuple[str, ...]
    places: torch.Tensor
    period: float | None
    question: str

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """Probabilities ``[picture, value]`` of pictures ``[picture, 3, row, column]``.

        Over the values alone: where they are not all of the judge's options, they are made to sum to 1.
        """
        options = list(QUESTIONS[self.question])
        chosen = judge(pixels).probabilities[self.question][:, [options.index(one) for one in self.values]]
        return chosen / chosen.sum(-1, keepdim=True).clamp_min(1e-8)

    def read(self, seen: torch.Tensor) -> torch.Tensor:
        """Coordinates ``[...]`` of probabilities ``[..., value]``: the mean, on a circle the circular one."""
        places = self.places.to(seen.dtype)
        if self.period is None:
            return seen @ places
        turns = places * (2 * math.pi / self.period)
        angle = torch.atan2(seen @ turns.sin(), seen @ turns.cos())
        return torch.remainder(angle * (self.period / (2 * math.pi)), self.period)

    def follow(self, commanded: torch.Tensor, read: torch.Tensor) -> float:
        """Correlation of ``[picture]`` coordinates: on a circle that of Fisher and Lee, else Pearson's.

        What does not vary at all follows nothing: 0.
        """
        if float(self.ways(torch.stack([read[:1].expand(read.shape), read], -1)).abs().max()) < 1e-6:
            return 0.0
        if self.period is not None:
            return float(circular_correlation(commanded, read, self.period))
        both = torch.stack([commanded.double(), read.double()])
        return float(torch.corrcoef(both)[0, 1])

    def ways(self, read: torch.Tensor) -> torch.Tensor:
        """Steps ``[..., waypoint - 1]`` of coordinates ``[..., waypoint]``, the short way if they close."""
        steps = read.diff(dim=-1)
        if self.period is None:
            return steps
        return torch.remainder(steps + self.period / 2, self.period) - self.period / 2

    def monotone(self, read: torch.Tensor, way: float) -> torch.Tensor:
        """Whether rows ``[row, waypoint]`` never step back and arrive, ``[row]``.

        Our own rule: no step against the way by more than a tenth of the mean distance of neighbours, and at
        least half of the way covered, so that a picture that does not change at all is not in order.
        """
        slack = STEP_BACK * abs(way) / max(1, self.between(way))
        steps = self.ways(read) * math.copysign(1.0, way)
        return (steps >= -slack).all(-1) & (steps.sum(-1) >= abs(way) / 2)

    def between(self, way: float) -> int:
        """How many neighbouring values apart a way is, at the mean distance of neighbours."""
        spread = self.period or float(self.places.max() - self.places.min())
        return max(1, round(abs(way) * len(self.values) / spread))

    def passes(self, seen: torch.Tensor, expected: Sequence[int]) -> torch.Tensor:
        """Whether the likeliest values of ``[row, waypoint, value]`` are the expected ones, in order."""
        rows = seen.argmax(-1)
        return torch.tensor([torch.unique_consecutive(row).tolist() == list(expected) for row in rows])


def sureness(pixels: torch.Tensor, questions: Sequence[str]) -> torch.Tensor:
    """The judge's confidence ``[picture]``: the product over questions of its largest probability."""
    judged = judge(pixels).probabilities
    return torch.stack([judged[question].amax(1) for question in questions]).prod(0)
