"""What an encoder misses: its codes against a search for codes, sample by sample, on the same atoms."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.bases import Dictionary, Fista
from steerlab.errors import SteerlabError
from steerlab.numerics.fidelity import r2
from steerlab.numerics.geometry import unit
from steerlab.numerics.pursuit import refit

ROUNDS, FEW = 7, 32  # bisections of the penalty, and rows they run on


@dataclass(frozen=True)
class Amortisation:
    """An encoder beside FISTA at the same atoms and, unless a penalty was given, the same number of codes.

    Attributes
    ----------
    encoder_r2, search_r2 : float
        R2 of the reconstructions from either's codes.
    refit_r2 : float
        The same with the search's codes fitted again by least squares where they are not 0: the penalty
        makes all codes too small, and this undoes it.
    agreement : float
        Mean cosine of a sample's two code vectors.
    overlap : float
        Mean share of the atoms that either uses which both use (Jaccard).
    encoder_l0, search_l0 : float
        Codes a sample.
    penalty : float
        Of the search.
    samples : int
        Activations compared.
    """

    encoder_r2: float
    search_r2: float
    refit_r2: float
    agreement: float
    overlap: float
    encoder_l0: float
    search_l0: float
    penalty: float
    samples: int

    @property
    def gap(self) -> float:
        """R2 that a search on the same atoms gains over the encoder (its codes fitted again)."""
        return self.refit_r2 - self.encoder_r2

    def __str__(self) -> str:
        return (
            f"amortisation gap {self.gap:+.3f}: encoder R2 {self.encoder_r2:.3f} with "
            f"{self.encoder_l0:.3g} codes, search {self.refit_r2:.3f} with {self.search_l0:.3g} "
            f"({self.search_r2:.3f} before refitting; penalty {self.penalty:.3g}); "
            f"codes agree at cosine {self.agreement:.3f}, {self.overlap:.0%} of atoms in common "
            f"({self.samples} activations)"
        )


def amortisation(
    dictionary: Dictionary, x: torch.Tensor, *, penalty: float | None = None, steps: int = 100
) -> Amortisation:
    """Compare a dictionary's encoder with FISTA on its atoms (arXiv 2603.28744).

    The gap is ``metric(FISTA codes) - metric(encoder codes)``, as in the paper. The paper's penalty of 0.1
    suits unit atoms and codes near 1; activations of models have any scale, so by default the penalty is
    found by bisection such that the search uses as many codes as the encoder (our own choice).

    Parameters
    ----------
    dictionary : Dictionary
        Which writes where it reads.
    x : Tensor
        Activations ``[..., dim]``.
    penalty : float, optional
        Price of a unit of code, in the units of the normalised activations.
    steps : int
        Iterations of the search.
    """
    if dictionary.is_transcoder:
        raise SteerlabError("a transcoder explains another site than it reads: it has no gap of this kind")
    rows = dictionary.flattened(x.detach())
    rows = rows.reshape(-1, rows.shape[-1])
    encoder = dictionary.encode(rows)
    counted = _l0(encoder)
    if penalty is None:
        penalty = _matching(dictionary, rows[:FEW], _l0(encoder[:FEW]))
    search = dictionary.inferring(Fista(penalty, steps))
    codes = search.encode(rows)
    both, either = (encoder != 0) & (codes != 0), (encoder != 0) | (codes != 0)
    near = search.near(rows)
    again = refit(near.inner(rows)[0], near.decoder, codes)
    return Amortisation(
        encoder_r2=r2(rows, dictionary.decode(encoder, rows)),
        search_r2=r2(rows, search.decode(codes, rows)),
        refit_r2=r2(rows, search.decode(again, rows)),
        agreement=float((unit(encoder) * unit(codes)).sum(-1).mean()),
        overlap=float((both.sum(-1) / either.sum(-1).clamp_min(1)).double().mean()),
        encoder_l0=counted,
        search_l0=_l0(codes),
        penalty=float(penalty),
        samples=len(rows),
    )


def _l0(codes: torch.Tensor) -> float:
    return float((codes != 0).double().sum(-1).mean())


def _matching(dictionary: Dictionary, rows: torch.Tensor, wanted: float) -> float:
    """The penalty at which the search uses `wanted` codes a row; more of it means fewer of them."""
    near = dictionary.inferring(Fista(0.0)).near(rows)
    most = float((near.inner(rows)[0] @ near.decoder.T).amax().clamp_min(torch.finfo(rows.dtype).tiny))
    low, high = most * 1e-5, most
    for _ in range(ROUNDS):
        middle = (low * high) ** 0.5
        many = _l0(dictionary.inferring(Fista(middle, 50)).encode(rows)) > wanted
        low, high = (middle, high) if many else (low, middle)
    return (low * high) ** 0.5
