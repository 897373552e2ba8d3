"""Whether two dictionaries hold the same atoms: one-to-one matching beside its random baseline."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.numerics.geometry import unit


@dataclass(frozen=True)
class Matching:
    """A one-to-one pairing of rows with columns, in the order of the rows.

    Attributes
    ----------
    rows, columns : Tensor
        Indices of the pairs, ``[pair]`` each.
    values : Tensor
        The similarity of each pair, ``[pair]``.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor

    @property
    def mean(self) -> float:
        """Mean similarity over the pairs."""
        return float(self.values.mean())

    def weighted(self, weights: torch.Tensor) -> float:
        """Mean similarity weighted by ``[row]`` weights, such as the energies of the first's atoms."""
        chosen = weights.double()[self.rows]
        return float((chosen * self.values).sum() / chosen.sum())


@dataclass(frozen=True)
class Stability:
    """How well the atoms of two dictionaries match, and how well random atoms would.

    Attributes
    ----------
    matching : Matching
        Pairs and their cosines.
    baseline : float
        Mean matched cosine of Gaussian dictionaries of the same two shapes, treated alike.
    """

    matching: Matching
    baseline: float

    @property
    def score(self) -> float:
        """Mean matched cosine."""
        return self.matching.mean

    @property
    def above_chance(self) -> float:
        """``(score - baseline) / (1 - baseline)``: 0 at the random level, 1 for equal atoms; our own."""
        return (self.score - self.baseline) / (1 - self.baseline)


def assign(similarity: torch.Tensor) -> Matching:
    """Pair rows with columns so that the summed similarity is largest (Hungarian assignment).

    Parameters
    ----------
    similarity : Tensor
        ``[row, column]``; the shorter side is matched in full. It is held whole: 16384 atoms take 2 GiB.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(similarity.detach().double().cpu().numpy(), maximize=True)
    i = torch.as_tensor(rows, device=similarity.device)
    j = torch.as_tensor(columns, device=similarity.device)
    return Matching(i, j, similarity[i, j])


def match_atoms(
    first: torch.Tensor, second: torch.Tensor, *, centred: bool = True, signed: bool = True
) -> Matching:
    """Best one-to-one matching of two dictionaries by the cosine of their atoms.

    ``max_P (1/c) Tr(D^T P D')`` over permutations, with unit atoms (arXiv 2504.11695).

    Parameters
    ----------
    first, second : Tensor
        ``[atom, dim]`` each; the numbers of atoms may differ.
    centred : bool
        Subtract from each dictionary its mean atom first (our own default). Without it a direction that
        all atoms share makes unrelated dictionaries look stable.
    signed : bool
        With False, ``|cos|`` is matched, so a flipped atom counts as the same line.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"atoms of {first.shape[1]} and of {second.shape[1]} dimensions cannot be compared")
    a, b = first.double(), second.double()
    if centred:
        a, b = a - a.mean(0), b - b.mean(0)
    cosines = unit(a) @ unit(b).T
    return assign(cosines if signed else cosines.abs())


def stability(
    first: torch.Tensor, second: torch.Tensor, *, centred: bool = True, signed: bool = True, seed: int = 0
) -> Stability:
    """Match two dictionaries (`match_atoms`) and, beside it, two random ones of the same shapes.

    Parameters
    ----------
    first, second : Tensor
        ``[atom, dim]`` each.
    centred, signed : bool
        As in `match_atoms`; the baseline is treated in the same way.
    seed : int
        Of the random atoms.
    """
    matching = match_atoms(first, second, centred=centred, signed=signed)
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(first.shape, generator=generator, dtype=torch.float64)
    b = torch.randn(second.shape, generator=generator, dtype=torch.float64)
    return Stability(matching, match_atoms(a, b, centred=centred, signed=signed).mean)


def code_correlation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Pearson correlations between the codes of two dictionaries on the same samples.

    ``assign(code_correlation(z1, z2).abs())`` has as mean the mean correlation coefficient (MCC) of
    arXiv 2603.28744; signed, it is the matching after training that arXiv 2606.29888 advises.

    Parameters
    ----------
    first, second : Tensor
        ``[sample, atom]`` and ``[sample, other]``, paired by sample.

    Returns
    -------
    Tensor
        ``[atom, other]``; 0 where one of the two never varies.
    """
    if len(first) != len(second):
        raise ValueError(f"codes of {len(first)} and of {len(second)} samples are not paired")
    a, b = first.double(), second.double()
    return unit((a - a.mean(0)).T) @ unit((b - b.mean(0)).T).T
