"""How a dictionary holds one manifold: curves, the atoms that carry it, its regime, groups found blindly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.atoms import AtomGroup, Grouping, atom_groups
from steerlab.atoms.groups import LINKINGS
from steerlab.bases import Dictionary
from steerlab.numerics.capture import (
    Curve,
    affine_capture,
    code_capture,
    pca_capture,
    random_capture,
    span_capture,
)
from steerlab.numerics.communities import signed_cohesion
from steerlab.numerics.similarity import Moments
from steerlab.numerics.tiling import Regime, receptive_spread, regime, tuning
from steerlab.report import Table

SEEDS, DRAWN = 5, 6  # random dictionaries; atoms whose tuning is drawn
REACHED = 0.95  # of what the codes reach, where they do not reach the share that is asked for
ACTIVE = 0.5  # share of a value's samples on which an atom that answers to the value fires
WIDEST = 2048  # atoms whose joint moments are taken, those with the most energy


@dataclass(frozen=True, eq=False)
class Held:
    """A concept's activations and what a dictionary makes of them.

    Attributes
    ----------
    means : Tensor
        Mean activation of each value, ``[value, dim]``.
    tuned : Tensor
        Mean code of each atom at each value, ``[value, atom]``.
    fires : Tensor
        Share of the samples of a value on which each atom fires, ``[value, atom]``.
    span, codes, refitted, pca : Curve
        Capture curves.
    random, frames : tuple of Curve
        Those of random overcomplete dictionaries and of random orthonormal frames.
    share : float
        The explained share at which atoms are counted.
    verdict : Regime
        Global, tiling, dilution or undecided.
    """

    means: torch.Tensor
    tuned: torch.Tensor
    fires: torch.Tensor
    span: Curve
    codes: Curve
    refitted: Curve
    pca: Curve
    random: tuple[Curve, ...]
    frames: tuple[Curve, ...]
    share: float
    verdict: Regime

    @property
    def carriers(self) -> torch.Tensor:
        """The atoms that the codes need for the share, ``[m]``."""
        return self.codes.chosen[: self.codes.needed(self.share)]


def held(
    x: torch.Tensor, labels: torch.Tensor, dictionary: Dictionary, *, of: str, share: float, most: int
) -> Held:
    """Measure how the atoms of a dictionary hold what tells values apart.

    Parameters
    ----------
    x : Tensor
        Activations ``[sample, dim]``.
    labels : Tensor
        The number of each sample's value, ``[sample]``.
    dictionary : Dictionary
        Of the site.
    of : str
        ``"means"``: the variance between the values' means is to be explained, by the mean codes; or
        ``"samples"``: that of all samples. The two are different questions.
    share, most
        Explained share at which atoms are counted; atoms of a curve.
    """
    codes = torch.cat([dictionary.encode(some) for some in x.split(4096)])
    means, tuned = tuning(x, labels), tuning(codes, labels)
    fires = tuning((codes != 0).float(), labels)
    live = codes.double().square().mean(0).argsort(descending=True)[:WIDEST]
    live = live[(codes[:, live] != 0).any(0)].sort().values
    atoms = dictionary.decoder.double()
    pair = (means, tuned[:, live]) if of == "means" else (x, codes[:, live])
    moments = Moments.of(pair)
    covariance = moments.covariance(0, 0)
    span = span_capture(covariance, atoms, most=most, enough=1.0)
    own = code_capture(moments, atoms[live], most=most, enough=1.0)
    refitted = affine_capture(moments, own.chosen)
    own, refitted = (Curve(live[own.chosen], one.explained) for one in (own, refitted))
    reached = share if own.total >= share else REACHED * own.total
    needed = own.needed(reached)
    carriers = own.chosen[:needed]
    spread = math.nan
    if needed:
        spreads = receptive_spread(means, fires[:, carriers] > ACTIVE)
        gains = own.explained.diff(prepend=torch.zeros(1, dtype=torch.float64))[:needed]
        known = ~spreads.isnan()
        spread = float((gains * spreads)[known].sum() / gains[known].sum())
    positive = math.nan
    if needed and needed > 1:
        pairs = LINKINGS["ising"].pairs(codes[:, carriers])
        sizeable = torch.where(pairs.abs() >= LINKINGS["ising"].threshold, pairs, 0.0)
        positive = signed_cohesion(sizeable, torch.arange(needed))[1]
    count = len(dictionary)
    return Held(
        means,
        tuned,
        fires,
        span,
        own,
        refitted,
        pca_capture(covariance, most=most),
        tuple(random_capture(covariance, count, seed=s, most=most) for s in range(SEEDS)),
        tuple(random_capture(covariance, count, seed=s, most=most, orthogonal=True) for s in range(SEEDS)),
        reached,
        regime(span.needed(reached), needed, spread=spread, positive=positive),
    )


def blind_groups(
    found: Held, codes: torch.Tensor, dictionary: Dictionary, grouping: Grouping
) -> tuple[list[AtomGroup], Table]:
    """Groups of atoms found without labels, and what each holds of the concept; table ``groups``.

    ``holds`` is the share of the variance between values' means that the group's mean contributions explain
    as they are, ``1 - sum |X - M|^2 / sum |X|^2`` with both centred (our own definition); ``carriers`` counts
    the members that the labelled curve needed as well.
    """
    groups = atom_groups(dictionary, codes, grouping=grouping)
    centred = found.means - found.means.mean(0)
    carriers = set(found.carriers.tolist())

    def holds(group: AtomGroup) -> float:
        own = found.tuned[:, group.atoms] @ dictionary.decoder[group.atoms].double()
        return float(1 - (centred - own + own.mean(0)).square().sum() / centred.square().sum())

    table = {
        "members": [" ".join(str(atom) for atom in group.atoms.tolist()) for group in groups],
        "size": torch.tensor([len(group) for group in groups]),
        "cohesion": torch.tensor([group.cohesion for group in groups]),
        "positive": torch.tensor([group.positive for group in groups]),
        "persistence": torch.tensor([group.persistence for group in groups]),
        "gap": torch.tensor([group.gap for group in groups]),
        "holds": torch.tensor([holds(group) for group in groups]),
        "carriers": torch.tensor([len(carriers & set(group.atoms.tolist())) for group in groups]),
    }
    return groups, table


def tables_of(found: Held, names: Sequence[str]) -> dict[str, Table]:
    """Tables ``capture``, ``atoms`` and ``tuning``."""
    curves = {
        "by span": found.span,
        "by codes": found.codes,
        "codes refitted": found.refitted,
        "principal components": found.pca,
    }
    curves |= {f"by span random {seed}": one for seed, one in enumerate(found.random)}
    curves |= {f"principal components random {seed}": one for seed, one in enumerate(found.frames)}
    length = max(len(one.explained) for one in (found.span, found.codes, found.pca))
    length = min(length, 2 * max(8, len(found.carriers)))  # flat beyond
    carriers = found.carriers
    spreads = receptive_spread(found.means, found.fires[:, carriers] > ACTIVE) if len(carriers) else None
    gains = found.codes.explained.diff(prepend=torch.zeros(1, dtype=torch.float64))[: len(carriers)]
    return {
        "capture": {"atoms": torch.arange(1, length + 1)}
        | {name: _padded(one.explained, length) for name, one in curves.items()},
        "atoms": {
            "atom": carriers,
            "gain": gains,
            "spread": torch.zeros(0) if spreads is None else spreads,
            "values": (found.fires[:, carriers] > ACTIVE).sum(0),
            "prefers": [names[int(i)] for i in found.tuned[:, carriers].argmax(0)],
        },
        "tuning": {"value": list(names), "number": torch.arange(len(names))}
        | {f"atom {int(atom)}": found.tuned[:, atom] for atom in carriers[:DRAWN]},
    }


def _padded(explained: torch.Tensor, length: int) -> torch.Tensor:
    """A curve that ended goes on as nan."""
    out = torch.full((length,), math.nan, dtype=torch.float64)
    out[: len(explained)] = explained[:length]
    return out
