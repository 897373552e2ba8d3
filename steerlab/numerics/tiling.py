"""Whether atoms hold a manifold whole, tile it patch by patch, or neither: receptive fields and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

REGIMES = ("global", "tiling", "dilution", "undecided")
EVERYWHERE, PATCH = 0.75, 0.5  # spreads above the one and below the other; our own
FEW_MORE = 1.5  # so many times the atoms of the span is still the span; our own
CAPTURED, TILED = 0.85, 0.15  # shares of positive couplings in a group, of a port of arXiv 2604.28119


@dataclass(frozen=True)
class Regime:
    """A verdict on how atoms hold one manifold, with what it rests on.

    Attributes
    ----------
    label : str
        One of `REGIMES`.
    ratio : float or None
        Atoms needed by codes for each atom needed by span; None where the codes never get there.
    spread : float
        Mean receptive-field spread of the atoms that carry it; nan where none fires.
    positive : float
        Share of positive couplings among them; nan where there are no couplings.
    """

    label: str
    ratio: float | None
    spread: float
    positive: float


def tuning(codes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Tuning curves: the mean code at each value, ``[value, atom]``.

    Parameters
    ----------
    codes : Tensor
        ``[sample, atom]``.
    labels : Tensor
        The number of each sample's value, ``[sample]``, from 0 on with none left out.
    """
    count = torch.bincount(labels)
    if not bool(count.all()):
        raise ValueError(f"no sample has the value {int((count == 0).nonzero()[0])}")
    sums = codes.new_zeros(len(count), codes.shape[1], dtype=torch.float64)
    return sums.index_add(0, labels, codes.double()) / count[:, None]


def support(fires: torch.Tensor, *, share: float = 0.0) -> torch.Tensor:
    """How many atoms fire on more than a share of each atom's own manifold: a number, ``[]``.

    Parameters
    ----------
    fires : Tensor
        Which atoms fire at which points, boolean or shares of samples, ``[point, atom]``.
    share : float
        Of the points.
    """
    return (fires.double().mean(0) > share).sum()


def receptive_spread(points: torch.Tensor, fires: torch.Tensor) -> torch.Tensor:
    """How much of the manifold an atom answers to: 1 everywhere, towards 0 for a patch.

    Median distance between the points that fire the atom, over the mean distance between all points (the
    definition of a replication of arXiv 2604.28119). An atom that fires at one point alone has a spread of 0
    (our own).

    Parameters
    ----------
    points : Tensor
        Places on the manifold, ``[point, dim]``: means of values rather than samples, whose noise counts.
    fires : Tensor
        Boolean ``[point, atom]``.

    Returns
    -------
    Tensor
        ``[atom]``; nan where an atom never fires.
    """
    places = points.double()
    distances = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
    one, other = torch.triu_indices(len(places), len(places), 1)
    apart = distances[one, other]
    spreads = []
    for own in fires.T:
        pairs = apart[own[one] & own[other]]
        alone = apart.new_tensor(0.0 if bool(own.any()) else torch.nan)
        spreads.append(pairs.quantile(0.5) / apart.mean() if len(pairs) else alone)
    return torch.stack(spreads)


def tau(k: float, l0: float, widths: Sequence[float]) -> float:
    """``k / (L0 * mean k_i)``: below 1 a dictionary shatters, near 1 it can capture, above 1 it dilutes.

    The regime parameter of a replication of arXiv 2604.28119: `k` active atoms a sample for `l0` active
    manifolds, which need ``k_i`` dimensions each.
    """
    return k / (l0 * (sum(widths) / len(widths)))


def regime(spans: int | None, codes: int | None, *, spread: float, positive: float = torch.nan) -> Regime:
    """Global, tiling or dilution; the three regimes are those of arXiv 2604.28119, the rule is our own.

    *Global*: the codes need at most 1.5 times the atoms that the span needs, and these atoms answer to three
    quarters of the manifold or more. *Tiling*: they answer to patches (a spread below a half), and where
    couplings are known at most .15 of them are positive; of few values, patches can be as few as the
    directions that the span needs. *Dilution*: what is neither. *Undecided*: where not even the span explains
    the share.

    Parameters
    ----------
    spans, codes : int or None
        Atoms needed for the same share of the variance by `span_capture` and by `code_capture`.
    spread : float
        Mean `receptive_spread` of the atoms that the codes needed.
    positive : float
        Share of positive couplings among them; nan where it is not known.
    """
    ratio = None if spans is None or codes is None else codes / spans
    if spans is None:
        label = "undecided"
    elif ratio is not None and ratio <= FEW_MORE and spread >= EVERYWHERE and not positive < TILED:
        label = "global"
    elif spread < PATCH and not positive > TILED:
        label = "tiling"
    else:
        label = "dilution"
    return Regime(label, ratio, spread, positive)
