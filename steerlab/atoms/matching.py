"""Whether two dictionaries hold the same atoms, atom by atom."""

from __future__ import annotations

from dataclasses import dataclass

from steerlab.atoms.tables import table
from steerlab.bases import Dictionary
from steerlab.errors import SteerlabError
from steerlab.numerics import stability as measures


@dataclass(frozen=True, eq=False)
class StabilityReport:
    """Atoms of two dictionaries matched one to one, beside random dictionaries of the same shapes.

    Attributes
    ----------
    centred : Stability
        With each dictionary's mean atom taken off: the number to quote.
    plain : Stability
        As papers report it; a direction that all atoms share raises it.
    weighted : float, optional
        The centred score weighted by the first dictionary's energies, where its `stats` tell them.
    """

    centred: measures.Stability
    plain: measures.Stability
    weighted: float | None

    @property
    def score(self) -> float:
        """Mean matched cosine, centred."""
        return self.centred.score

    def partner(self, atom: int) -> tuple[int, float]:
        """The second dictionary's atom that an atom of the first was matched with, and their cosine."""
        pairs = self.centred.matching
        for row, column, value in zip(pairs.rows, pairs.columns, pairs.values, strict=True):
            if int(row) == atom:
                return int(column), float(value)
        raise SteerlabError(f"atom {atom} of the first dictionary has no partner in the second")

    def __str__(self) -> str:
        rows = [
            [name, one.score, one.baseline, one.above_chance]
            for name, one in (("centred", self.centred), ("plain", self.plain))
        ]
        lines = [table(["", "matched cosine", "random atoms", "above chance"], rows)]
        if self.weighted is not None:
            lines.append(f"weighted by energy: {self.weighted:.3f}")
        return "\n".join(lines)


def stability(first: Dictionary, second: Dictionary, *, signed: bool = True) -> StabilityReport:
    """Match the atoms of two dictionaries, ``max_P (1/c) Tr(D^T P D')`` (arXiv 2504.11695).

    Parameters
    ----------
    first, second : Dictionary
        Of one width; trained with different seeds, on different data or by different methods.
    signed : bool
        With False an atom and its mirror image count as the same.
    """
    if first.dim != second.dim:
        raise SteerlabError(f"{first!r} and {second!r} live in different spaces")
    centred, plain = (
        measures.stability(first.atoms, second.atoms, centred=one, signed=signed) for one in (True, False)
    )
    known = first.stats is not None and first.stats.std is not None
    energy = first.stats.mean.square() + first.stats.std.square() if known else None
    return StabilityReport(centred, plain, None if energy is None else centred.matching.weighted(energy))
