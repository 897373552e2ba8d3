"""Which site a dictionary really fits: every site of its width, measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from steerlab.atoms.stream import captured, heard, reads_of
from steerlab.atoms.tables import table
from steerlab.bases import Dictionary
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.numerics.fidelity import Fidelity, measure
from steerlab.numerics.tallies import CodeTally, tally
from steerlab.sites import Site
from steerlab.tokens import TokenChoice

AS_GOOD = 0.02  # R2 by which the declared site may trail the best one
FAR = 2.0  # factor between measured and advertised L0, or of length, that deserves a word


@dataclass(frozen=True, eq=False)
class SiteRow:
    """One site.

    Attributes
    ----------
    site : Site
        Which.
    fidelity : Fidelity
        Reconstructions against activations.
    l0 : float
        Mean number of codes.
    """

    site: Site
    fidelity: Fidelity
    l0: float

    @property
    def r2(self) -> float:
        """Explained variance."""
        return self.fidelity.r2

    @property
    def length_ratio(self) -> float:
        """Mean length of a reconstruction over that of its activation."""
        return self.fidelity.norm_ratio


@dataclass(frozen=True, eq=False)
class SiteCheck:
    """A dictionary at every site where it could belong.

    Attributes
    ----------
    rows : list of SiteRow
        In the model's order.
    declared : Site, optional
        Where its file says that it belongs.
    advertised_l0 : float, optional
        Codes an entry that its source names.
    reference_l0 : float, optional
        The same by its `stats`.
    """

    rows: list[SiteRow]
    declared: Site | None
    advertised_l0: float | None
    reference_l0: float | None

    @property
    def best(self) -> SiteRow:
        """Where R2 is largest."""
        return max(self.rows, key=lambda row: row.r2)

    @property
    def at_declared(self) -> SiteRow | None:
        """The row of the declared site."""
        return next((row for row in self.rows if row.site == self.declared), None)

    @property
    def fits(self) -> bool:
        """Whether the declared site is the best one, or as good up to an R2 of 0.02."""
        own = self.at_declared
        return own is not None and own.r2 >= self.best.r2 - AS_GOOD

    @property
    def verdict(self) -> str:
        """A sentence on where it fits, and what looks wrong."""
        best, own = self.best, self.at_declared
        if own is None:
            lines = [f"fits {best.site} best (R2 {best.r2:.2f}); it declares no site"]
        elif self.fits:
            lines = [f"fits its declared site {own.site} (R2 {own.r2:.2f})"]
            if best is not own:
                lines[0] += f", as well as the best, {best.site} ({best.r2:.2f})"
        else:
            lines = [f"fits {best.site} best (R2 {best.r2:.2f}), declared {own.site} (R2 {own.r2:.2f})"]
        return "; ".join([*lines, *self._doubts(own if self.fits else best)])

    def _doubts(self, row: SiteRow) -> list[str]:
        doubts = []
        for said, who in ((self.advertised_l0, "its source says"), (self.reference_l0, "its stats say")):
            if said and not said / FAR <= row.l0 <= said * FAR:
                doubts.append(f"L0 is {row.l0:.3g} where {who} {said:.3g}")
        if not 1 / FAR <= row.length_ratio <= FAR:
            doubts.append(
                f"reconstructions are {row.length_ratio:.3g} times as long as activations: "
                "a scale may be missing"
            )
        if row.r2 <= 0:
            doubts.append("no better than the mean: another model, or another normalisation?")
        return doubts

    def __str__(self) -> str:
        rows = [
            [
                str(row.site),
                row.r2,
                row.l0,
                row.length_ratio,
                " ".join(
                    word
                    for word, holds in (("best", row is self.best), ("declared", row.site == self.declared))
                    if holds
                ),
            ]
            for row in self.rows
        ]
        return "\n".join([self.verdict, table(["site", "R2", "L0", "length ratio", ""], rows)])


def check_site(
    model: Model,
    dictionary: Dictionary,
    batches: Iterable[Any],
    sites: str | Iterable[str] | None = None,
    *,
    tokens: TokenChoice | None = None,
) -> SiteCheck:
    """Measure a dictionary at many sites, to see whether it belongs where its file says.

    Parameters
    ----------
    model : Model
        Whose activations.
    dictionary : Dictionary
        A transcoder is asked about each block that it could write to, reading that block's own stream.
    batches : iterable
        Inputs of the model; padding is not counted.
    sites : str or list of str, optional
        Candidates; those of another width are left out. By default every site of the declared stream
        (``**.resid`` where none is declared). The declared site is always among them.
    tokens : optional
        Tokens to look at. By default all; in texts all but the first, whose activation is many times as long
        as any other, hardly differs between blocks and would make all sites look alike.

    Returns
    -------
    SiteCheck
        Its `verdict` is a sentence, its ``print`` a table.
    """
    declared = _known(model, dictionary)
    if sites is None:
        sites = f"**.{dictionary.site.stream if dictionary.site is not None else 'resid'}"
    found = dict.fromkeys([*model.sites(sites), *([declared] if declared else [])])
    pairs = {site: reads_of(model, dictionary, site) for site in found}
    sums: dict[Site, tuple[Fidelity, CodeTally]] = {}
    asked = list(dict.fromkeys(one for pair in pairs.items() for one in pair))
    for batch, acts in captured(model, batches, asked):
        for site, reads in pairs.items():
            if not fits_width(acts[reads].shape, dictionary.reads) or not fits_width(
                acts[site].shape, dictionary.dim
            ):
                continue
            source, target = heard(batch, acts, dictionary, (site, reads), tokens).entries()
            z = dictionary.encode(source)
            new = measure(target, dictionary.decode(z, source)), tally(z)
            old = sums.get(site)
            sums[site] = new if old is None else (old[0].merge(new[0]), old[1].merge(new[1]))
    if not sums:
        raise SteerlabError(
            f"no site of {sites!r} has {dictionary.reads} dimensions, as {dictionary!r} needs"
        )
    stats = dictionary.stats
    reference = None if stats is None or stats.frequency is None else float(stats.frequency.double().sum())
    rows = [SiteRow(site, sums[site][0], sums[site][1].l0) for site in found if site in sums]
    return SiteCheck(rows, declared, dictionary.facts.l0, reference)


def fits_width(shape: tuple[int, ...], width: int) -> bool:
    """Whether activations of a shape have this width, perhaps as concatenated heads."""
    return shape[-1] == width or (len(shape) > 3 and shape[-2] * shape[-1] == width)


def _known(model: Model, dictionary: Dictionary) -> Site | None:
    """The declared site, if this model has it."""
    if dictionary.site is None:
        return None
    try:
        return model.site(str(dictionary.site))
    except SteerlabError:  # declared in another model's words, or for a deeper model
        return None
