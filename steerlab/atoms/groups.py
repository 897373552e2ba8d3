"""Groups of atoms that carry a concept together: how they are found, and edits of a whole group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.linear import Subspace
from steerlab.bases.manifold import Manifold
from steerlab.bases.manifold_fitting import Shape, fit_manifold
from steerlab.bases.part import Part
from steerlab.edits import Remove, ToPrototype
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.numerics.communities import communities, persistence, signed_cohesion
from steerlab.numerics.couplings import (
    STRENGTH,
    cofiring,
    ising,
    magnitude_correlation,
    mutual_information,
)
from steerlab.numerics.geometry import unit

ABLATIONS = ("codes", "span")


@dataclass(frozen=True, eq=False, repr=False)
class AtomGroup:
    """Some atoms of a dictionary as one featurizer, as a block of a block-sparse one is.

    Parameters
    ----------
    dictionary : Dictionary
        The whole.
    atoms : Tensor
        Numbers of the members, ``[m]``.
    cohesion, positive : float
        Mean sign of the couplings inside and the share of positive ones; see
        `steerlab.numerics.communities.signed_cohesion`.
    persistence : float
        How well the group is found again from other seeds, 0 to 1.
    gap : float
        Largest ratio of successive variances of its contribution, at a rank below its size; above 1.5 a port
        of arXiv 2604.28119 takes it for a manifold.
    """

    dictionary: Dictionary
    atoms: torch.Tensor
    cohesion: float = math.nan
    positive: float = math.nan
    persistence: float = math.nan
    gap: float = math.nan

    def __post_init__(self) -> None:
        object.__setattr__(self, "atoms", self.dictionary.numbers(self.atoms))

    @property
    def part(self) -> Part:
        """The members' codes as a basis, for every edit: ``Scale(2.0, basis=group.part)``."""
        return Part(self.dictionary, self.atoms)

    @property
    def span(self) -> Subspace:
        """The subspace of the members' directions; its coordinates are 0 where all codes are."""
        return Subspace(self.dictionary.decoder[self.atoms], self.dictionary.bias)

    def contribution(self, x: torch.Tensor) -> torch.Tensor:
        """``m = sum_{j in group} z_j d_j``, ``[..., dim]``: no bias, no error."""
        return self.part.part(x)

    def ablation(self, how: str = "codes") -> Remove:
        """The group taken out of an activation.

        Parameters
        ----------
        how : str
            ``"codes"`` takes off the group's contribution, ``x - m``; ``"span"`` projects its directions out.
            For a manifold that the group holds whole the two are the same; of a tiled one the codes leave
            behind what the tiles do not explain, and the span takes along what other atoms have there (our
            own pair of ablations).
        """
        if how not in ABLATIONS:
            raise SteerlabError(f"how={how!r}{nearest(how, ABLATIONS)} (known: {listing(ABLATIONS)})")
        return Remove(self.part if how == "codes" else self.span)

    def clamp(self, codes: torch.Tensor, amount: float = 1.0) -> ToPrototype:
        """Codes ``[m]`` put in place of the group's, or part of the way; all other codes stay."""
        return ToPrototype(self.part, codes, amount)

    def fit_manifold(
        self,
        x: torch.Tensor,
        labels: Sequence[int] | torch.Tensor,
        *,
        shape: Shape | None = None,
        within: str = "span",
    ) -> Manifold:
        """The concept's manifold inside the group, usable in `Move`, `Toward` and `Replace`.

        Parameters
        ----------
        x : Tensor
            Activations ``[sample, dim]``.
        labels, shape
            As for `steerlab.fit_manifold`.
        within : str
            ``"span"`` fits the activations' projection on the group's directions, ``"codes"`` what its codes
            contribute (with the dictionary's bias, so that both lie where activations do).
        """
        if within not in ABLATIONS:
            known = listing(ABLATIONS)
            raise SteerlabError(f"within={within!r}{nearest(within, ABLATIONS)} (known: {known})")
        if within == "span":
            inside = self.span.explained(x)
        else:
            bias = self.dictionary.bias
            inside = self.contribution(x) + (0.0 if bias is None else bias.to(x))
        return fit_manifold(inside, labels, shape=shape, pca=len(self.span))

    def __len__(self) -> int:
        return len(self.atoms)

    def __repr__(self) -> str:
        few = ", ".join(str(int(i)) for i in self.atoms[:6])
        return f"AtomGroup([{few}{', …' if len(self) > 6 else ''}], cohesion={self.cohesion:.2f})"


@dataclass(frozen=True)
class Linking:
    """When two atoms hang together.

    Parameters
    ----------
    pairs : callable
        ``codes [sample, atom] -> [atom, atom]``, signed; nan where there is nothing to say.
    threshold : float
        Links of a smaller size are left out.
    """

    pairs: Callable[[torch.Tensor], torch.Tensor]
    threshold: float


def _both_ways(codes: torch.Tensor) -> torch.Tensor:
    together = cofiring(codes != 0)
    return (together + together.T) / 2


# thresholds are our own: beneath them lies what a few thousand samples give by chance
LINKINGS = {
    "ising": Linking(lambda codes: ising(codes != 0, strength=STRENGTH).pairs, 0.05),
    "cofiring": Linking(_both_ways, 0.2),
    "correlation": Linking(magnitude_correlation, 0.3),
    "information": Linking(mutual_information, 0.05),
    "cosine": Linking(lambda codes: codes.new_full((codes.shape[1],) * 2, math.nan), 0.3),
}


@dataclass(frozen=True)
class Grouping:
    """How groups are looked for.

    Parameters
    ----------
    method : str
        ``"ising"`` couplings, ``"cosine"`` of the atoms, ``"cofiring"`` (the mean of both conditional
        chances), ``"correlation"`` of magnitudes where both fire, ``"information"``.
    threshold : float, optional
        Links of a smaller size are left out; by default one that suits the method.
    rare, common : float
        Atoms that fire on a smaller or larger share of the samples are left out.
    most : int
        Atoms at most, those with the most energy.
    least : int
        Members of the smallest group.
    resolution : float
        Of the communities.
    seeds : int
        How many runs tell whether groups persist.
    """

    method: str = "ising"
    threshold: float | None = None
    rare: float = 0.005
    common: float = 0.9
    most: int = 128
    least: int = 2
    resolution: float = 1.0
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.method not in LINKINGS:
            known = listing(LINKINGS)
            raise SteerlabError(f"method={self.method!r}{nearest(self.method, LINKINGS)} (known: {known})")


def atom_groups(
    dictionary: Dictionary, codes: torch.Tensor, *, grouping: Grouping | None = None
) -> list[AtomGroup]:
    """Groups of atoms found without labels, the largest first (arXiv 2604.28119 and its ports).

    Links between atoms make a graph, and its Louvain communities are the groups. Their signed cohesion is
    that of Ising couplings, whatever made the links.

    Parameters
    ----------
    dictionary : Dictionary
        Whose atoms they are.
    codes : Tensor
        On a bounded number of samples, ``[sample, atom]``.
    grouping : Grouping, optional
        How they are looked for.
    """
    how = grouping or Grouping()
    if codes.ndim != 2 or codes.shape[1] != len(dictionary):
        raise SteerlabError(f"codes {list(codes.shape)} are not [sample, atom] of {len(dictionary)} atoms")
    rates = (codes != 0).double().mean(0)
    energy = codes.double().square().mean(0) * ((rates >= how.rare) & (rates <= how.common))
    kept = energy.argsort(descending=True, stable=True)[: min(how.most, int((energy > 0).sum()))]
    if len(kept) < how.least:
        return []
    kept, wide = kept.sort().values, codes[:, kept.sort().values].double()
    if how.method == "cosine":
        atoms = unit(dictionary.decoder[kept])
        links = atoms @ atoms.T
    else:
        links = LINKINGS[how.method].pairs(wide)
    couplings = links if how.method == "ising" else LINKINGS["ising"].pairs(wide)
    couplings = torch.where(couplings.abs() >= LINKINGS["ising"].threshold, couplings, 0.0)
    least = LINKINGS[how.method].threshold if how.threshold is None else how.threshold
    sizes = links.nan_to_num().abs().fill_diagonal_(0.0)
    sizes = torch.where(sizes >= least, sizes, 0.0)
    runs = torch.stack([communities(sizes, resolution=how.resolution, seed=s) for s in range(how.seeds)])
    found = []
    for label in range(int(runs[0].max()) + 1):
        inside = runs[0] == label
        members = inside.nonzero()[:, 0]
        if len(members) < how.least:
            continue
        rho, positive = signed_cohesion(couplings, members)
        again = persistence(inside, runs[1:]) if how.seeds > 1 else math.nan
        gap = spectral_gap(wide[:, members], dictionary.decoder[kept[members]])
        found.append(AtomGroup(dictionary, kept[members], rho, positive, again, gap))
    return found


def spectral_gap(codes: torch.Tensor, atoms: torch.Tensor) -> float:
    """Largest ratio of successive variances of ``sum_j z_j d_j`` at a rank below the number of atoms.

    Parameters
    ----------
    codes, atoms : Tensor
        ``[sample, m]`` and ``[m, dim]``.
    """
    centred = codes.double() - codes.double().mean(0)
    spread = torch.linalg.svdvals(centred @ torch.linalg.qr(atoms.double().T).R.T).square()
    spread = spread[spread > spread[0] * 1e-9]
    ratios = spread[:-1] / spread[1:]
    return float(ratios.max()) if len(ratios) else math.nan
