"""How much of a target a prediction explains: the standard R2, and the form that Raptor's authors report."""

from __future__ import annotations

from dataclasses import dataclass

import torch


def r2(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """``1 - sum (y - p)^2 / sum (y - mean_f y)^2`` of ``[..., feature]``: the mean is the target's."""
    p, y = prediction.flatten(0, -2).double(), target.flatten(0, -2).double()
    return float(1 - (y - p).square().sum() / (y - y.mean(0)).square().sum())


def r2_of_authors(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """``1 - sum (y - p)^2 / sum (p - mean p)^2``: the total is the prediction's, around one scalar mean.

    The form in the code of arXiv 2512.19941, which averages it over batches. It flatters a prediction that
    is too large; report `r2` beside it.
    """
    p, y = prediction.double(), target.double()
    return float(1 - (y - p).square().sum() / (p - p.mean()).square().sum())


@dataclass
class RunningR2:
    """The standard R2 over batches of ``[..., feature]``, in one pass and without keeping them."""

    rows: int = 0
    missed: float = 0.0
    mean: torch.Tensor | None = None
    spread: float = 0.0

    def add(self, prediction: torch.Tensor, target: torch.Tensor) -> None:
        """Take in one batch."""
        p, y = prediction.flatten(0, -2).double(), target.flatten(0, -2).double()
        self.missed += float((y - p).square().sum())
        own = y.mean(0)
        spread = float((y - own).square().sum())
        if self.mean is None:
            self.mean, self.spread, self.rows = own, spread, len(y)
            return
        both = self.rows + len(y)
        shift = own - self.mean
        self.spread += spread + float(shift.square().sum()) * self.rows * len(y) / both
        self.mean = self.mean + shift * (len(y) / both)
        self.rows = both

    @property
    def value(self) -> float:
        """The R2 so far; nan where the target never varies."""
        return 1 - self.missed / self.spread if self.spread else float("nan")
