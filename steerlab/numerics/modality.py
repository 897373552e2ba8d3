"""Which atoms two groups of samples share: energies, modality score, classes and their shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch

DEAD_ENERGY = 1e-9  # below this mean energy an atom belongs to no class
SPLIT_SHARE = 0.1  # our own: below this share of shared energy, concepts are probably split in two atoms


@dataclass(frozen=True)
class ModalityClasses:
    """Masks over atoms, ``[atom]`` each: of the first group alone, of both, of the second alone, dead."""

    first: torch.Tensor
    shared: torch.Tensor
    second: torch.Tensor
    dead: torch.Tensor


@dataclass(frozen=True)
class EnergyShares:
    """Part of all energy that each class holds; dead atoms hold next to none."""

    first: float
    shared: float
    second: float

    @property
    def split_suspected(self) -> bool:
        """Whether shared atoms hold so little that keeping them alone closes a gap by removing content.

        Our own rule (under 10 %). A dictionary that gives each modality its own copy of a concept has no
        shared atoms: removing the others then yields a gap of zero and no retrieval.
        """
        return self.shared < SPLIT_SHARE


def energy(codes: torch.Tensor) -> torch.Tensor:
    """Mean square ``E[z_k^2]`` over samples, ``[..., atom]`` to ``[atom]`` (arXiv 2602.06218)."""
    return codes.reshape(-1, codes.shape[-1]).double().square().mean(0)


def modality_score(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Share of the first group in an atom's energy, ``mu_k = E1_k / (E1_k + E2_k)`` (arXiv 2602.06218).

    Parameters
    ----------
    first, second : Tensor
        Energies ``[atom]`` of the two groups (images first, by convention): means over each group's own
        samples (`energy`), never sums, or groups of different size would move a shared atom off one half.

    Returns
    -------
    Tensor
        ``[atom]`` in [0, 1], and -1 for dead atoms (mean of the two energies below 1e-9).
    """
    total = first.double() + second.double()
    dead = total / 2 < DEAD_ENERGY
    return torch.where(dead, -1.0, first.double() / total.masked_fill(dead, 1.0))


def mean_code_score(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The same share with mean codes, ``E1[z_k] / (E1[z_k] + E2[z_k])`` (arXiv 2504.11695).

    Codes that are strong and rare score lower here than by energy, and codes of both signs cancel.

    Parameters
    ----------
    first, second : Tensor
        Codes ``[sample, atom]`` of the two groups.

    Returns
    -------
    Tensor
        ``[atom]``; -1 where the two means cancel or are both 0.
    """
    a, b = first.double().mean(0), second.double().mean(0)
    total = a + b
    return torch.where(total == 0, -1.0, a / total.masked_fill(total == 0, 1.0))


def modality_classes(score: torch.Tensor, *, eps: float = 0.05) -> ModalityClasses:
    """Sort atoms by their `modality_score` (arXiv 2602.06218).

    Parameters
    ----------
    score : Tensor
        ``[atom]``, -1 for dead atoms.
    eps : float
        Second alone below ``eps``, first alone above ``1 - eps``, shared between; .05 admits a ratio of
        amplitudes up to ``sqrt(19)``, 4.36.
    """
    dead = score < 0
    return ModalityClasses(
        first=score > 1 - eps,
        shared=(score >= eps) & (score <= 1 - eps),
        second=~dead & (score < eps),
        dead=dead,
    )


def energy_shares(classes: ModalityClasses, first: torch.Tensor, *, second: torch.Tensor) -> EnergyShares:
    """``sum_{k in class} E_k / sum_k E_k`` with ``E_k`` the mean of both groups' energies ``[atom]``."""
    both = first.double() + second.double()
    total = both.sum()
    parts = [float(both[mask].sum() / total) for mask in (classes.first, classes.shared, classes.second)]
    return EnergyShares(*parts)


def modality_spread(first: torch.Tensor, second: torch.Tensor) -> float:
    """``sqrt( sum_k E_k (mu_k - 1/2)^2 / sum_k E_k )`` of energies ``[atom]``: 0 shared, 1/2 apart."""
    score = modality_score(first, second)
    weight = torch.where(score < 0, 0.0, first.double() + second.double())
    return float(((weight * (score - 0.5).square()).sum() / weight.sum()).sqrt())


def subtract_means(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The plainest way to close a gap: each group ``[sample, dim]`` less its own mean."""
    return first - first.mean(0), second - second.mean(0)


def shift_together(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move groups ``[sample, dim]`` half way: ``x1 - gap/2``, ``x2 + gap/2``, gap the difference of means."""
    half = (first.mean(0) - second.mean(0)) / 2
    return first - half, second + half
