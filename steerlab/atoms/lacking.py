"""Concepts that generated images lack or overdo, and interventions against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from steerlab.atoms.pooling import Samples, placed_at, pooled
from steerlab.atoms.tables import table
from steerlab.bases import Dictionary
from steerlab.edits import Add, Chain, Scale, Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.numerics import blindspots as measures

SHUFFLES, RATE = 20, 0.05


@dataclass(frozen=True, eq=False)
class BlindspotReport:
    """Which atoms one set of images shows less, or more, than another.

    Attributes
    ----------
    dictionary : Dictionary
        Whose atoms.
    scores : Blindspots
        ``delta`` of every atom, its scale, and its chance.
    real, generated : Tensor
        Mean pooled codes, ``[atom]``.
    shuffled : float
        The control: blindspots found on average when the labels of the images are shuffled.
    images : tuple of int
        How many real and generated ones.
    """

    dictionary: Dictionary
    scores: measures.Blindspots
    real: torch.Tensor
    generated: torch.Tensor
    shuffled: float
    images: tuple[int, int]

    @property
    def suppressed(self) -> list[int]:
        """Atoms with ``delta < .1`` whose difference stands, at most 5 % of them falsely; worst first."""
        return _ordered(self.scores.suppressed & self.scores.significant(RATE), self.scores.delta)

    @property
    def exaggerated(self) -> list[int]:
        """The same with ``delta > .9``."""
        return _ordered(self.scores.exaggerated & self.scores.significant(RATE), -self.scores.delta)

    @property
    def interventions(self) -> dict[str, Changes]:
        """Plain ``{site: edit}`` to apply to the model that the dictionary belongs to.

        ``"ablate exaggerated"`` zeroes their codes. ``"scale exaggerated back"`` and ``"scale suppressed
        up"`` multiply each code by real mean over generated mean, where the generated one is not 0.
        ``"add suppressed"`` adds the difference of mean pooled codes along the atoms at every entry, the way
        for atoms that never fire; with codes pooled by the maximum it is strong. Whether they help is told by
        scoring images made under them.
        """
        found: dict[str, Changes] = {}
        if self.exaggerated:
            found["ablate exaggerated"] = placed_at(self.dictionary, lambda d: Zero(d.only(self.exaggerated)))
        for name, atoms in (("exaggerated back", self.exaggerated), ("suppressed up", self.suppressed)):
            factors = {k: float(self.real[k] / self.generated[k]) for k in atoms if self.generated[k] > 0}
            if factors:
                found[f"scale {name}"] = placed_at(self.dictionary, _scaling(factors))
        if self.suppressed:
            short = (self.real - self.generated)[self.suppressed]
            step = short.to(self.dictionary.decoder) @ self.dictionary.decoder[self.suppressed]
            found["add suppressed"] = placed_at(self.dictionary, lambda d: Add(step))
        return found

    def __str__(self) -> str:
        atoms = [("suppressed", k) for k in self.suppressed] + [("exaggerated", k) for k in self.exaggerated]
        rows = [
            [k, word, float(self.scores.delta[k]), float(self.real[k]), float(self.generated[k])]
            for word, k in atoms
        ]
        lines = [
            f"{len(self.suppressed)} suppressed and {len(self.exaggerated)} exaggerated of "
            f"{len(self.real)} atoms, {self.images[0]} real and {self.images[1]} generated images; "
            f"{self.shuffled:.2g} with shuffled labels"
        ]
        return "\n".join([*lines, table(["atom", "", "delta", "real", "generated"], rows)] if rows else lines)


def blindspots(
    dictionary: Dictionary,
    real: Samples,
    generated: Samples,
    *,
    how: str = "max",
    scale: float | torch.Tensor | None = None,
) -> BlindspotReport:
    """Score every atom by ``sigmoid((E_generated[xi] - E_real[xi]) / scale)``.

    The score of "Conceptual blindspots in generative image models" (ICLR 2026).

    Parameters
    ----------
    dictionary : Dictionary
        Whose atoms are the concepts.
    real, generated : Tensor or iterable of Tensor
        Activations or codes, one sample an image; see `steerlab.atoms.pooled`. They need no pairing.
    how : str
        How the energy ``xi`` of an image is pooled from its tokens (the paper's way is not known here).
    scale : float or Tensor, optional
        Units of the difference. The paper's scores have 1; by default each atom's deviation over images, so
        that a blindspot is a shift of ``ln 9 = 2.2`` of them (our own choice).
    """
    a, b = pooled(dictionary, real, how=how), pooled(dictionary, generated, how=how)
    if min(len(a), len(b)) < 2:
        raise SteerlabError(f"two images or more of each kind are needed, not {len(a)} and {len(b)}")
    units = measures.pooled_deviation(b, a) if scale is None else scale
    scores = measures.blindspots(b, a, scale=units)
    both, generator = torch.cat([a, b]), torch.Generator().manual_seed(0)
    chance = 0
    for _ in range(SHUFFLES):
        mixed = both[torch.randperm(len(both), generator=generator)]
        once = measures.blindspots(mixed[len(a) :], mixed[: len(a)], scale=units)
        chance += int(((once.suppressed | once.exaggerated) & once.significant(RATE)).sum())
    return BlindspotReport(dictionary, scores, a.mean(0), b.mean(0), chance / SHUFFLES, (len(a), len(b)))


def _ordered(mask: torch.Tensor, by: torch.Tensor) -> list[int]:
    return [k for k in by.argsort().tolist() if bool(mask[k])]


def _scaling(factors: dict[int, float]) -> Callable[[Dictionary], Scale | Chain]:
    """The edit that multiplies some codes, each by its own factor."""

    def make(dictionary: Dictionary) -> Scale | Chain:
        edits = [Scale(factor, dictionary.only([k])) for k, factor in factors.items()]
        return edits[0] if len(edits) == 1 else Chain(edits)

    return make
