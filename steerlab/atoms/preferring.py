"""Which atoms tell chosen from rejected answers, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.atoms.pooling import Samples, placed_at, pooled
from steerlab.atoms.tables import table
from steerlab.bases import Dictionary
from steerlab.edits import Scale, Zero
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes
from steerlab.numerics import preference as measures

SHUFFLES = 20


@dataclass(frozen=True, eq=False)
class PreferenceReport:
    """Atoms against preferences.

    Attributes
    ----------
    dictionary : Dictionary
        Whose atoms.
    scores : Preference
        Effect of every atom (chosen minus rejected), its tests.
    chosen, rejected : Tensor
        Pooled codes ``[pair, atom]``.
    rate : float
        Share of findings that may be false.
    shuffled : float
        The control: atoms found on average when chosen and rejected are exchanged at random.
    """

    dictionary: Dictionary
    scores: measures.Preference
    chosen: torch.Tensor
    rejected: torch.Tensor
    rate: float
    shuffled: float

    @property
    def preferred(self) -> list[int]:
        """Atoms that are stronger in chosen answers, the surest first."""
        return self._found(1)

    @property
    def avoided(self) -> list[int]:
        """Atoms that are stronger in rejected answers, the surest first."""
        return self._found(-1)

    @property
    def interventions(self) -> dict[str, Changes]:
        """Plain ``{site: edit}`` to apply: avoided atoms ablated or halved, preferred ones doubled."""
        edits = {
            "ablate rejected": (self.avoided, lambda d: Zero(d.only(self.avoided))),
            "halve rejected": (self.avoided, lambda d: Scale(0.5, d.only(self.avoided))),
            "double chosen": (self.preferred, lambda d: Scale(2.0, d.only(self.preferred))),
        }
        return {name: placed_at(self.dictionary, make) for name, (atoms, make) in edits.items() if atoms}

    def keep(self, atoms: int | Sequence[int], share: float) -> torch.Tensor:
        """The intervention on data: a mask ``[pair]`` without the `share` of pairs that push `atoms` most."""
        if not 0 <= share < 1:
            raise SteerlabError(f"share={share}: the part of the pairs to drop is at least 0 and below 1")
        return measures.keep_pairs(
            self.chosen, self.rejected, features=self.dictionary.numbers(atoms), share=share
        )

    def _found(self, sign: int) -> list[int]:
        on = self.scores.significant(self.rate) & (self.scores.effect.sign() == sign)
        return [k for k in self.scores.p.argsort(stable=True).tolist() if bool(on[k])]

    def __str__(self) -> str:
        atoms = [("chosen", k) for k in self.preferred] + [("rejected", k) for k in self.avoided]
        rows = [
            [k, word, float(self.scores.effect[k]), float(self.scores.t[k]), float(self.scores.sign_p[k])]
            for word, k in atoms[:20]
        ]
        head = (
            f"{len(self.preferred)} atoms stronger in chosen and {len(self.avoided)} in rejected answers of "
            f"{len(self.chosen)} pairs (false discoveries {self.rate:.0%}); {self.shuffled:.2g} with "
            "labels exchanged at random"
        )
        if not rows:
            return head
        return "\n".join([head, table(["atom", "stronger in", "effect", "t", "p (signs)"], rows)])


def preferences(
    dictionary: Dictionary, chosen: Samples, rejected: Samples, *, how: str = "max", rate: float = 0.05
) -> PreferenceReport:
    """Test every atom for a difference between paired answers, with control of false discoveries.

    Our own statistics for the pipeline of arXiv 2606.12360: pooled codes, Student's paired test and the
    sign test, Benjamini and Hochberg's rule.

    Parameters
    ----------
    dictionary : Dictionary
        Whose atoms are the hypotheses.
    chosen, rejected : Tensor or iterable of Tensor
        Activations or codes of the answers, paired in order; see `steerlab.atoms.pooled`.
    how : str
        How codes are pooled over an answer's tokens: ``"max"`` or ``"mean"``.
    rate : float
        Share of findings that may be false.
    """
    a, b = pooled(dictionary, chosen, how=how), pooled(dictionary, rejected, how=how)
    if a.shape != b.shape or len(a) < 2:
        raise SteerlabError(f"two pairs or more are needed; here are {len(a)} chosen and {len(b)} rejected")
    scores, generator, chance = measures.preference_effects(a, b), torch.Generator().manual_seed(0), 0
    for _ in range(SHUFFLES):
        kept = torch.rand(len(a), 1, generator=generator) < 0.5
        mixed = measures.preference_effects(torch.where(kept, a, b), torch.where(kept, b, a))
        chance += int(mixed.significant(rate).sum())
    return PreferenceReport(dictionary, scores, a, b, rate, chance / SHUFFLES)
