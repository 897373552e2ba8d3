"""How far apart two groups of embeddings lie, and whether matched pairs still find each other."""

from __future__ import annotations

import torch

from steerlab.numerics.geometry import BLOCK, unit


def modality_gap(first: torch.Tensor, second: torch.Tensor) -> float:
    """Distance between the means of two groups ``[sample, dim]`` (arXiv 2602.06218)."""
    return float((first.double().mean(0) - second.double().mean(0)).norm())


def transport_gap(first: torch.Tensor, second: torch.Tensor) -> float:
    """Exact optimal-transport cost between two clouds, with the cost ``1 - cos`` (arXiv 2602.06218).

    Parameters
    ----------
    first, second : Tensor
        ``[sample, dim]``, equally many: transport is then a one-to-one assignment. Subsample to 10000.
    """
    from scipy.optimize import linear_sum_assignment

    if len(first) != len(second):
        raise ValueError(f"clouds of {len(first)} and {len(second)} points: subsample them to one size")
    cost = 1 - unit(first) @ unit(second).T
    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return float(cost[torch.as_tensor(rows), torch.as_tensor(columns)].mean())


def recall(
    first: torch.Tensor, second: torch.Tensor, *, k: int = 1, batch: int = 256, seed: int = 0
) -> float:
    """Recall at k inside batches of shuffled pairs, by cosine, averaged over both directions.

    The protocol of arXiv 2602.06218. Ties count against the partner, so embeddings that an edit has sent
    to zero retrieve nothing (our own choice); a last batch that is not full is left out unless it is the
    only one.

    Parameters
    ----------
    first, second : Tensor
        ``[sample, dim]``, matched by row.
    k : int
        The partner counts as found among the k nearest.
    batch : int
        Pairs compared at once; chance is ``k / batch``.
    seed : int
        Of the shuffle.
    """
    if len(first) != len(second):
        raise ValueError(f"recall needs pairs: {len(first)} samples meet {len(second)}")
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed)).to(first.device)
    a, b = unit(first[order]), unit(second[order])
    batch = min(batch, len(a))
    found = []
    for start in range(0, len(a) - batch + 1, batch):
        cosines = a[start : start + batch] @ b[start : start + batch].T
        for scores in (cosines, cosines.T):
            # the partner itself is one of those that are at least as near
            found.append((scores >= scores.diagonal()[:, None]).sum(1) <= k)
    return float(torch.cat(found).double().mean())


def neighbour_distance(
    queries: torch.Tensor, gallery: torch.Tensor | None = None, *, k: int = 5
) -> torch.Tensor:
    """How far each query is from the data: ``1 - cos`` to its k-th nearest point (arXiv 2602.06218).

    Parameters
    ----------
    queries : Tensor
        ``[query, dim]``.
    gallery : Tensor or None
        Real points ``[sample, dim]``. None compares the queries with each other, and a point is then not
        counted as its own neighbour.
    k : int
        Which neighbour.

    Returns
    -------
    Tensor
        ``[query]``; compare it with that of real points among themselves.
    """
    others = len(queries) - 1 if gallery is None else len(gallery)
    if not 1 <= k <= others:
        raise ValueError(f"the {k}-th nearest of {others} points does not exist")
    a = unit(queries)
    b = a if gallery is None else unit(gallery)
    distances = []
    for start in range(0, len(a), BLOCK):
        cosines = a[start : start + BLOCK] @ b.T
        if gallery is None:
            cosines.diagonal(start).fill_(-torch.inf)
        distances.append(1 - cosines.topk(k, dim=1).values[:, -1])
    return torch.cat(distances)


def mean_difference_probe(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Linear probe along the difference of means of two groups ``[sample, dim]``.

    Returns
    -------
    direction : Tensor
        ``[dim]``, from the second mean to the first.
    threshold : float
        Half way: a sample with ``<x, direction>`` above it is taken for one of the first group.
    """
    a, b = first.double().mean(0), second.double().mean(0)
    direction = a - b
    return direction, float(direction @ (a + b) / 2)


def probe_accuracy(probe: tuple[torch.Tensor, float], first: torch.Tensor, *, second: torch.Tensor) -> float:
    """Balanced accuracy of a probe (direction, threshold) on two groups ``[sample, dim]``; chance is .5."""
    direction, threshold = probe
    hits = (first.double() @ direction > threshold).double().mean()
    rejections = (second.double() @ direction <= threshold).double().mean()
    return float((hits + rejections) / 2)
