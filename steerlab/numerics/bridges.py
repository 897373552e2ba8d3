"""Bridges between paired groups: pairs of atoms that fire together across a pair and point the same way."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from steerlab.numerics.geometry import unit
from steerlab.numerics.modality import ModalityClasses

BLOCK = 512  # rows of the bridge held at once
NOTHING = 1e-12  # relative mass that rounding leaves where there is none


@dataclass(frozen=True)
class BridgePairs:
    """The strongest entries of a bridge, strongest first: atoms of the first and second group, values."""

    first: torch.Tensor
    second: torch.Tensor
    values: torch.Tensor


def _prepared(first: torch.Tensor, second: torch.Tensor, centred: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if len(first) != len(second):
        raise ValueError(f"a bridge needs pairs: {len(first)} samples meet {len(second)}")
    a, b = first.double(), second.double()
    # centring one side centres the product, but both are cheap and the numbers stay small
    return (a - a.mean(0), b - b.mean(0)) if centred else (a, b)


def bridge(
    first: torch.Tensor, second: torch.Tensor, *, atoms: torch.Tensor, centred: bool = False
) -> torch.Tensor:
    """Bridge matrix ``B = E[z1 z2^T] * (D D^T)``, elementwise product (arXiv 2504.11695).

    For reconstructions ``z D`` its entries sum to the mean inner product of matched pairs.

    Parameters
    ----------
    first, second : Tensor
        Codes ``[sample, atom]``, row i of one matched with row i of the other.
    atoms : Tensor
        ``[atom, dim]``.
    centred : bool
        Covariances in place of raw second moments (the instance-level bridge of arXiv 2602.06218).

    Returns
    -------
    Tensor
        ``[atom, atom]``: rows are atoms of the first group, columns of the second.
    """
    a, b = _prepared(first, second, centred)
    d = atoms.double()
    return (a.T @ b / len(a)) * (d @ d.T)


def top_bridges(
    first: torch.Tensor, second: torch.Tensor, *, atoms: torch.Tensor, count: int, centred: bool = False
) -> BridgePairs:
    """The `count` largest entries of `bridge`, found in blocks of rows for dictionaries of any size.

    Parameters
    ----------
    first, second : Tensor
        Codes ``[sample, atom]``, matched by row.
    atoms : Tensor
        ``[atom, dim]``.
    count : int
        How many pairs of atoms to return.
    centred : bool
        As in `bridge`.
    """
    a, b = _prepared(first, second, centred)
    d = atoms.double()
    values, places = a.new_empty(0), torch.empty(0, dtype=torch.long, device=a.device)
    for start in range(0, len(d), BLOCK):
        rows = slice(start, start + BLOCK)
        block = ((a[:, rows].T @ b / len(a)) * (d[rows] @ d.T)).flatten()
        best, at = block.topk(min(count, len(block)))
        values, places = torch.cat([values, best]), torch.cat([places, at + start * len(d)])
        values, order = values.topk(min(count, len(values)))
        places = places[order]
    return BridgePairs(places // len(d), places % len(d), values)


def population_plan(first: torch.Tensor, second: torch.Tensor, *, atoms: torch.Tensor) -> torch.Tensor:
    """Exact transport of the first group's energy over atoms to the second's, at the cost ``1 - cos``.

    It needs no pairs: ``Gamma = argmin sum_kl G_kl (1 - cos(d_k, d_l))`` with rows that sum to
    ``E1 / sum E1`` and columns that sum to ``E2 / sum E2`` (arXiv 2602.06218). ``Gamma * (D D^T)``
    is the population bridge.

    Parameters
    ----------
    first, second : Tensor
        Energies ``[atom]``; a few hundred atoms at most, since the plan has a number for each pair.
    atoms : Tensor
        ``[atom, dim]``.

    Returns
    -------
    Tensor
        ``[atom, atom]``, which sums to 1.
    """
    from scipy.optimize import linprog
    from scipy.sparse import identity, kron, vstack

    unit_atoms = unit(atoms)
    cost = (1 - unit_atoms @ unit_atoms.T).clamp_min(0).flatten()
    sides = [side.double() / side.double().sum() for side in (first, second)]
    count = len(atoms)
    ones = torch.ones(1, count, dtype=torch.float64).numpy()
    sums = vstack([kron(identity(count), ones), kron(ones, identity(count))])
    # the last sum follows from the others, and rounding would let it contradict them
    wanted = torch.cat(sides).cpu().numpy()[:-1]
    found = linprog(cost.cpu().numpy(), A_eq=sums.tocsr()[:-1], b_eq=wanted, method="highs")
    if not found.success:
        raise ValueError(f"the energies cannot be carried over: {found.message}")
    return torch.as_tensor(found.x, device=first.device).view(count, count)


def bridge_energy(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the bridge ``[atom, atom]`` each atom carries, and the first group's share of it.

    Absolute row sums (the atom in the first group) and column sums (in the second), averaged; the share
    is that of the rows (arXiv 2602.06218).

    Returns
    -------
    energy, share : Tensor
        ``[atom]`` each; the share is -1 where an atom carries nothing.
    """
    rows, columns = matrix.abs().sum(1), matrix.abs().sum(0)
    both = rows + columns
    return both / 2, torch.where(both == 0, -1.0, rows / both.masked_fill(both == 0, 1.0))


def bridge_ratio(matrix: torch.Tensor, classes: ModalityClasses, *, share: float) -> float:
    """Whether shared atoms carry more of the bridge than their energy explains.

    ``rho = [mass of pairs with a shared atom / e] * [(1 - e) / mass of pairs without]`` (arXiv
    2602.06218), with mass the sum of ``|B|``. Pairs with a dead atom are left out.

    Parameters
    ----------
    matrix : Tensor
        A `bridge` ``[atom, atom]``.
    classes : ModalityClasses
        Masks of the atoms.
    share : float
        ``e``, the shared atoms' part of the energy.

    Returns
    -------
    float
        Infinite where pairs without a shared atom carry nothing, which is what a perfect dictionary
        gives; nan where ``e`` is 0 or 1 and there is no second side to compare with.
    """
    if not 0 < share < 1:
        return float("nan")
    alone = classes.first | classes.second
    alive = (classes.shared | alone).to(matrix.dtype)
    weight, single = matrix.abs(), alone.to(matrix.dtype)
    without = float(single @ weight @ single)
    total = float(alive @ weight @ alive)
    if without <= NOTHING * total:
        return float("inf") if total else float("nan")
    return (total - without) / share * (1 - share) / without
