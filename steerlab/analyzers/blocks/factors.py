"""A known quantity that varies over inputs or patches: its values, its period, and how to bin it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.errors import SteerlabError, listing
from steerlab.numerics.tuning import circular_correlation

BINS = 12


@dataclass(frozen=True, eq=False)
class Factor:
    """One quantity.

    Parameters
    ----------
    name : str
        What it is.
    values : Tensor
        ``[input]``, or a value for every patch ``[input, row, column]``; nan where it is not known.
    period : float, optional
        Of an angle; None for a line.
    """

    name: str
    values: torch.Tensor
    period: float | None

    def tokens(self, count: int) -> torch.Tensor:
        """One value for each token that is looked at, ``[input, token]``."""
        flat = self.values.flatten(1) if self.values.ndim > 1 else self.values[:, None].expand(-1, count)
        if flat.shape[1] != count:
            raise SteerlabError(
                f"{self.name}: {flat.shape[1]} values an input, where {count} tokens are looked at"
            )
        return flat

    def at(self, inputs: list[int]) -> Factor:
        """The factor of some inputs."""
        return Factor(self.name, self.values[inputs], self.period)

    def bins(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The bin of each value ``[row]``, and the coordinate of each bin ``[bin]``.

        An angle's are equally wide; those of a line hold equally many values.
        """
        if self.period is not None:
            turned = torch.remainder(values, self.period) * (BINS / self.period)
            return turned.long().clamp_max(BINS - 1), (torch.arange(BINS) + 0.5) * self.period / BINS
        edges = values.double().quantile(torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1])
        labels = torch.bucketize(values.double(), edges.unique())
        _, labels = labels.unique(return_inverse=True)
        means = torch.stack([values[labels == one].double().mean() for one in range(int(labels.max()) + 1)])
        return labels, means

    def distance(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        """How far apart values are, the short way round."""
        return self.way(one, two).abs()

    def way(self, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        """From one value to another, signed, the short way round."""
        if self.period is None:
            return end - start
        return torch.remainder(end - start + self.period / 2, self.period) - self.period / 2

    def middle(self, ways: torch.Tensor) -> float:
        """Mean of some ways, circular where the factor is."""
        if self.period is None:
            return float(ways.mean())
        turn = ways.double() * (2 * math.pi / self.period)
        return float(torch.atan2(turn.sin().mean(), turn.cos().mean()) * self.period / (2 * math.pi))

    @property
    def score_name(self) -> str:
        """What is reported: see `steerlab.numerics.tuning.Readout.score`."""
        return "R2" if self.period is None else "circular correlation"

    def agreement(self, read: torch.Tensor, true: torch.Tensor) -> float:
        """Circular correlation of angles, correlation of lines."""
        if self.period is not None:
            return float(circular_correlation(read, true, self.period))
        return float(torch.corrcoef(torch.stack([read.double(), true.double()]))[0, 1])


def factor_of(known: Any, grid: tuple[int, int] | None, name: str | None = None) -> Factor:
    """The factor that is meant by the setting `known`.

    Parameters
    ----------
    known : object
        Inputs that know something of themselves (``Curves``), by a method ``known(rows, columns)``; or a
        table of names with ``values`` and perhaps ``period``.
    grid : tuple of int, optional
        Rows and columns of patches.
    name : str, optional
        Which one; the first by default.
    """
    if isinstance(known, Mapping):
        table = known
    else:
        rows, columns = grid or (1, 1)
        table = {n: {"values": v, "period": p} for n, (v, p) in known.known(rows, columns).items()}
    chosen = next(iter(table), None) if name is None else name
    if chosen not in table:
        raise SteerlabError(f"nothing is known of {chosen!r} (known: {listing(list(table))})")
    values = torch.as_tensor(table[chosen]["values"]).double()
    period = table[chosen].get("period")
    return Factor(chosen, values, None if period is None else float(period))
