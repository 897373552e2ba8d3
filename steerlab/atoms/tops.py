"""The inputs on which atoms fire most, from a stream of any length."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from steerlab.atoms.maps import CodeMap, coded
from steerlab.atoms.stream import listened, site_of
from steerlab.bases import Dictionary, Part
from steerlab.errors import SteerlabError, listing
from steerlab.model import Model
from steerlab.sites import Site
from steerlab.tokens import TokenChoice


@dataclass(frozen=True, eq=False)
class TopInputs:
    """For some atoms, the inputs with the largest code.

    Attributes
    ----------
    site : Site
        Where the codes were read.
    examples : dict
        Atom number -> maps, the strongest first; fewer than asked where the atom fired on fewer inputs.
    seen : int
        Inputs looked at.
    """

    site: Site
    examples: dict[int, list[CodeMap]]
    seen: int

    def __getitem__(self, atom: int) -> list[CodeMap]:
        if atom not in self.examples:
            raise SteerlabError(f"atom {atom} was not asked for (asked: {listing(self.examples)})")
        return self.examples[atom]

    def __str__(self) -> str:
        lines = [f"{self.site}, {self.seen} inputs"]
        for atom, found in self.examples.items():
            lines += [f"  {one}" for one in found] or [f"  atom {atom}: never fired"]
        return "\n".join(lines)


def top_inputs(
    model: Model,
    dictionary: Dictionary,
    atoms: int | Sequence[int],
    batches: Iterable[Any],
    *,
    k: int = 8,
    tokens: TokenChoice | None = None,
) -> TopInputs:
    """The `k` inputs on which each atom has its largest code; only these are kept in memory.

    Parameters
    ----------
    model : Model
        Whose activations.
    dictionary : Dictionary
        At its own site; see `steerlab.atoms.at_site`.
    atoms : int or list of int
        Which.
    batches : iterable
        Inputs of the model, read once.
    k : int
        How many for each atom.
    tokens : optional
        Tokens to look at; by default the patches of pictures, and in texts all but the first
        and the special ones.

    Returns
    -------
    TopInputs
        Figures: `steerlab.figures.atom_texts`, `atom_pictures`, `atom_frames`.
    """
    if k < 1:
        raise SteerlabError(f"k={k}: keep one input or more")
    part, site = Part(dictionary, dictionary.numbers(atoms)), site_of(model, dictionary)
    numbers = part.index.tolist()
    best: dict[int, list[CodeMap]] = {atom: [] for atom in numbers}
    seen = 0
    for heard in listened(model, dictionary, batches, site=site, tokens=tokens):
        found = coded(heard, part, tokens)
        peaks = found.peaks()
        for column, atom in enumerate(numbers):
            values, rows = peaks[:, column].topk(min(k, len(peaks)))
            for value, row in zip(values.tolist(), rows.tolist(), strict=True):
                if value <= 0 or (len(best[atom]) == k and value <= best[atom][-1].peak):
                    break
                # insertion keeps the earlier of two equal inputs first
                bisect.insort(best[atom], found.cut(row, column, atom, seen + row), key=lambda one: -one.peak)
                del best[atom][k:]
        seen += len(peaks)
    return TopInputs(site, best, seen)
