"""Groups in a weighted graph: modularity, Louvain communities, how stable they are, their signed cohesion."""

from __future__ import annotations

import torch

GAIN = 1e-10  # of modularity below which nothing moves


def modularity(weights: torch.Tensor, labels: torch.Tensor, *, resolution: float = 1.0) -> float:
    """``sum_{ij in one group} (w_ij - resolution * k_i k_j / 2m) / 2m`` with ``k`` the rows' sums.

    Parameters
    ----------
    weights : Tensor
        Symmetric and not negative, ``[node, node]``.
    labels : Tensor
        Group of each node, ``[node]``.
    resolution : float
        More makes more and smaller groups.
    """
    w = weights.double()
    strengths, total = w.sum(1), w.sum()
    same = labels[:, None] == labels
    return float(((w - resolution * torch.outer(strengths, strengths) / total) * same).sum() / total)


def communities(weights: torch.Tensor, *, resolution: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Groups of high modularity by the Louvain method (arXiv 0803.0476), numbered from the largest.

    Nodes move one by one, in a random order, to the neighbouring group that gains most; groups become nodes,
    and again, until nothing gains. A node without edges is a group of its own.

    Parameters
    ----------
    weights : Tensor
        Symmetric and not negative, ``[node, node]``; the diagonal is not looked at.
    resolution : float
        As in `modularity`.
    seed : int
        Of the order: other orders may give other groups; see `agreement`.

    Returns
    -------
    Tensor
        ``[node]``.
    """
    w = weights.double().clone().fill_diagonal_(0.0)
    if bool((w < 0).any()) or not torch.allclose(w, w.T):
        raise ValueError("communities take symmetric weights of 0 or more; of signed ones take the size")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(w))
    if not bool(w.any()):
        return labels
    while True:
        own = _moved(w, resolution, generator)
        labels = own[labels]
        count = int(own.max()) + 1
        if count == len(w):
            break
        marks = torch.nn.functional.one_hot(own, count).double()
        w = marks.T @ w @ marks
    sizes = torch.bincount(labels)
    return sizes.argsort(descending=True, stable=True).argsort()[labels]


def _moved(w: torch.Tensor, resolution: float, generator: torch.Generator) -> torch.Tensor:
    """One level: groups from 0 on with none left out, ``[node]``."""
    strengths, total = w.sum(1), w.sum()
    groups, inside = torch.arange(len(w)), strengths.clone()
    moving = True
    while moving:
        moving = False
        for node in torch.randperm(len(w), generator=generator).tolist():
            old, own = int(groups[node]), strengths[node]
            inside[old] -= own
            ties = torch.zeros_like(inside).index_add(0, groups, w[node])
            ties[old] -= w[node, node]  # within itself a node is wherever it goes
            gains = ties - resolution * own * inside / total
            best = int(gains.argmax())
            best = best if gains[best] > gains[old] + GAIN * total else old
            inside[best] += own
            groups[node] = best
            moving |= best != old
    return groups.unique(return_inverse=True)[1]


def agreement(first: torch.Tensor, second: torch.Tensor) -> float:
    """Adjusted Rand index of two groupings ``[node]``: 1 for the same groups, 0 on average by chance."""
    table = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.float64)
    table.index_put_((first, second), table.new_ones(()), accumulate=True)
    both, one, other = (_pairs(t).sum() for t in (table, table.sum(1), table.sum(0)))
    expected = one * other / _pairs(table.sum())
    most = (one + other) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def persistence(group: torch.Tensor, groupings: torch.Tensor) -> float:
    """How well a group is found again: its best Jaccard overlap with a group of each grouping, on average.

    Our own definition.

    Parameters
    ----------
    group : Tensor
        Whose nodes they are, boolean ``[node]``.
    groupings : Tensor
        Labels ``[grouping, node]`` from other seeds.
    """
    found = []
    for labels in groupings:
        common = torch.bincount(labels, group.double())
        either = torch.bincount(labels) + group.sum() - common
        found.append(float((common / either).max()))
    return sum(found) / len(found)


def signed_cohesion(couplings: torch.Tensor, members: torch.Tensor) -> tuple[float, float]:
    """Mean sign of the couplings in a group, and the share of pairs that are positive.

    ``rho = mean_{a < b} sign(J_ab)``, 1 where atoms fire together, -1 where they exclude each other (a port
    of arXiv 2604.28119); pairs whose coupling is exactly 0 say nothing, and are left out of both (our own).

    Parameters
    ----------
    couplings : Tensor
        ``[node, node]``.
    members : Tensor
        Node numbers ``[m]``.

    Returns
    -------
    rho, positive : float
        nan where no pair is coupled.
    """
    inner = couplings[members][:, members]
    one, other = torch.triu_indices(len(members), len(members), 1)
    signs = inner[one, other].sign()
    signs = signs[signs != 0]
    return float(signs.mean()), float((signs > 0).double().mean())


def _pairs(counts: torch.Tensor) -> torch.Tensor:
    return counts * (counts - 1) / 2
