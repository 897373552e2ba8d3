"""How well a dictionary fits a model's activations, and what the model loses to its reconstructions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.atoms.amortising import Amortisation, amortisation
from steerlab.atoms.splicing import Splice, splice
from steerlab.atoms.stream import Heard, Reservoir, listened, reads_of, site_of, twice, usual_tokens
from steerlab.atoms.tables import table
from steerlab.bases import Dictionary
from steerlab.errors import SteerlabError
from steerlab.model import Model
from steerlab.numerics.fidelity import Fidelity, measure
from steerlab.numerics.geometry import coherence, distance_from_data
from steerlab.numerics.tallies import CodeTally, tally
from steerlab.sites import Site
from steerlab.tokens import TokenChoice

POINTS, SEARCHED = 2048, 128  # activations kept for the distance to data and for the search
WIDEST = 4096  # atoms of a dictionary for which the search is cheap enough to be run unasked


@dataclass(frozen=True, eq=False)
class Fit:
    """A dictionary on a model's activations.

    Attributes
    ----------
    site : Site
        Where.
    fidelity : Fidelity
        Reconstructions against activations.
    codes : CodeTally
        Statistics of every atom's code.
    ood : float
        Mean over atoms of ``1 - max_j cos(d_k, a_j)`` over sampled activations (arXiv 2502.12892).
        Activations are taken as the decoder sees them, normalised and without its bias (our reading).
    coherence : float
        Largest cosine of two atoms.
    amortisation : Amortisation, optional
        The encoder against a search; None for transcoders, and for dictionaries of more than 4096 atoms,
        where `steerlab.atoms.amortisation` measures it.
    splice : Splice, optional
        What the model loses; None where it has no logits.
    """

    site: Site
    fidelity: Fidelity
    codes: CodeTally
    ood: float
    coherence: float
    amortisation: Amortisation | None
    splice: Splice | None

    @property
    def r2(self) -> float:
        """Explained variance, with the mean taken per dimension."""
        return self.fidelity.r2

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, ``1 - r2``."""
        return self.fidelity.fvu

    @property
    def l0(self) -> float:
        """Mean number of codes that are not 0."""
        return self.codes.l0

    @property
    def dead(self) -> float:
        """Share of atoms that never fired on `entries` activations; a verdict on these alone."""
        return float(self.codes.dead.double().mean())

    @property
    def cosine(self) -> float:
        """Mean cosine of an activation and its reconstruction."""
        return self.fidelity.cosine

    @property
    def length_ratio(self) -> float:
        """Mean length of a reconstruction over that of its activation."""
        return self.fidelity.norm_ratio

    @property
    def entries(self) -> int:
        """Activations seen."""
        return self.fidelity.samples

    def __str__(self) -> str:
        rows = [
            ["R2", self.r2],
            ["FVU", self.fvu],
            ["L0", self.l0],
            ["dead atoms", self.dead],
            ["cosine", self.cosine],
            ["length ratio", self.length_ratio],
            ["distance of atoms from data", self.ood],
            ["coherence", self.coherence],
        ]
        parts = [f"{self.site}, {self.entries} activations", table(["", "value"], rows)]
        unmeasured = "amortisation gap: not measured here, see steerlab.atoms.amortisation"
        parts.append(unmeasured if self.amortisation is None else str(self.amortisation))
        parts += [] if self.splice is None else [str(self.splice)]
        return "\n".join(parts)


def fit(
    model: Model,
    dictionary: Dictionary,
    batches: Iterable[Any],
    *,
    at: str | Site | None = None,
    tokens: TokenChoice | None = None,
) -> Fit:
    """Measure a dictionary on the activations it is for, and splice its reconstructions into the model.

    Padding is never counted.

    Parameters
    ----------
    model : Model
        Whose activations.
    dictionary : Dictionary
        What should explain them.
    batches : iterable
        Inputs of the model, gone over twice where it has logits: a list, not a generator.
    at : site, optional
        Where; the dictionary's own site by default.
    tokens : optional
        Tokens to look at and to splice, as in a scope. By default all; in texts all but the first, whose
        activation is many times as long as any other and would decide R2 alone: ``tokens="all"`` takes it in.

    Returns
    -------
    Fit
        Its ``print`` is a table.
    """
    batches, site = twice(batches, "fit"), site_of(model, dictionary, at)
    fidelity: Fidelity | None = None
    codes: CodeTally | None = None
    points, searched = Reservoir(POINTS), Reservoir(SEARCHED)
    where = tokens
    for heard in listened(model, dictionary, batches, site=site, tokens=tokens):
        where = usual_tokens(heard.tokens) if tokens is None else tokens
        source, target = heard.entries()
        if not len(source):
            continue
        z = dictionary.encode(source)
        quality, counts = measure(target, dictionary.decode(z, source)), tally(z)
        fidelity = quality if fidelity is None else fidelity.merge(quality)
        codes = counts if codes is None else codes.merge(counts)
        points.add(as_decoded(dictionary, heard))
        searched.add(source)
    if fidelity is None or codes is None:
        raise SteerlabError(f"{site}: tokens={tokens!r} chose nothing in these inputs")
    near = dictionary.near(points.rows)
    searches = not dictionary.is_transcoder and len(dictionary) <= WIDEST
    return Fit(
        site=site,
        fidelity=fidelity,
        codes=codes,
        ood=float(distance_from_data(near.atoms, points.rows).mean()),
        coherence=coherence(dictionary.atoms) if len(dictionary) > 1 else float("nan"),
        amortisation=amortisation(dictionary, searched.rows) if searches else None,
        splice=splice(
            model,
            dictionary,
            batches,
            where=(site, reads_of(model, dictionary, site), where),
            mean=fidelity.mean,
        ),
    )


def as_decoded(dictionary: Dictionary, heard: Heard) -> torch.Tensor:
    """Kept activations ``[entry, dim]`` in the space where ``z D`` lives."""
    source, target = heard.entries()
    near = dictionary.near(target)
    # the norm of a transcoder belongs to what it reads, not to what it explains
    points = target if dictionary.is_transcoder else near.norm.apply(source)[0]
    return points if near.bias is None else points - near.bias
