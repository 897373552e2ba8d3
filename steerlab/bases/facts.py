"""What is known about a dictionary beside its numbers: origin, site, and the usual size of its codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.errors import SteerlabError, listing, nearest


@dataclass(frozen=True)
class Facts:
    """Where a dictionary comes from and where it belongs.

    Parameters
    ----------
    site : str, optional
        The activation it explains (and edits), as its source or its owner names it.
    reads : str, optional
        Another site that its codes are computed from; for transcoders.
    model : str, optional
        The model it was trained on.
    source : str, optional
        The format it was read from, or the method that made it.
    l0 : float, optional
        Codes a token that its source advertises.
    fingerprint : str, optional
        SHA-256 of its file.
    assumptions : tuple of str
        What the file does not say and the loader assumed.
    """

    site: str | None = None
    reads: str | None = None
    model: str | None = None
    source: str | None = None
    l0: float | None = None
    fingerprint: str | None = None
    assumptions: tuple[str, ...] = ()


# What one unit of strength is, for an atom.
UNITS = {
    "raw": "the code itself",
    "max": "the size of the largest code on the reference data",
    "mean": "the mean code over all entries",
    "active_mean": "the mean code where the atom is active",
    "std": "the standard deviation of the code",
    "norm": "the mean length of an activation, along the atom's unit direction",
}


@dataclass(frozen=True, eq=False)
class Stats:
    """What the codes do on reference data; a file may bring some of these figures only.

    Parameters
    ----------
    mean, std, max, frequency : Tensor
        Of every atom's code over all entries, ``[atom]``; frequency is the share where it is not 0.
    norm : float
        Mean length of the activations.
    count : int
        How many entries were seen.
    """

    mean: torch.Tensor
    std: torch.Tensor | None = None
    max: torch.Tensor | None = None
    frequency: torch.Tensor | None = None
    norm: float | None = None
    count: int | None = None

    @property
    def active_mean(self) -> torch.Tensor:
        """Mean code where the atom is active, ``[atom]``; 0 for atoms that never were."""
        frequency = self.known("frequency")
        return torch.where(frequency > 0, self.mean / frequency.clamp_min(1e-30), 0)

    @property
    def dead(self) -> torch.Tensor:
        """Atoms that were never active, boolean ``[atom]``."""
        return self.known("frequency") == 0

    def known(self, name: str) -> torch.Tensor | float:
        """A figure, refused where the file that brought these figures has none."""
        value = getattr(self, name)
        if value is None:
            raise SteerlabError(f"the file gives no {name} of its codes; measure it: sae.measured(x)")
        return value

    def of(self, index: torch.Tensor) -> Stats:
        """The figures of some atoms."""
        figures = (self.mean, self.std, self.max, self.frequency)
        mean, std, most, frequency = (None if v is None else v[index] for v in figures)
        return Stats(mean, std, most, frequency, self.norm, self.count)

    def factor(self, decoder: torch.Tensor, atom: int, amount: float, unit: str) -> float:
        """The factor of an atom's direction for an amount in a unit."""
        if unit not in UNITS:
            raise SteerlabError(f"unit={unit!r}{nearest(unit, UNITS)} (known: {listing(UNITS)})")
        if unit == "raw":
            return float(amount)
        if unit == "norm":
            return float(amount) * self.known("norm") / float(decoder[atom].norm())
        one = float(self.known(unit)[atom])
        if one == 0:
            raise SteerlabError(
                f"atom {atom} was never active on the {self.count or 'unnumbered'} reference entries: "
                f"no unit {unit!r}"
            )
        return float(amount) * one
