"""Attention sinks: the column that nearly every query looks at, counted from tiles of rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

EPSILONS = (0.5, 0.3, 0.2, 0.1)  # of the sensitivity table
LEAST_QUERIES = 16  # a causal column that fewer queries can see is no candidate; our own number


@dataclass(frozen=True, eq=False)
class ColumnSums:
    """Sums over the rows of an attention pattern, gathered a few rows at a time.

    Parameters
    ----------
    total : Tensor
        ``sum_i w_i A_ij`` over the queries that count, ``[batch, head, key]``; its own row is left out of a
        causal column.
    own : Tensor
        ``w_j A_jj``, what was left out, ``[batch, head, key]``; zeros where nothing was.
    row_mass : Tensor
        ``sum_i w_i sum_j A_ij``, ``[batch, head]``: less than the number of queries where a sink logit takes
        part in the softmax.
    causal : bool
        Whether query ``i`` sees keys up to ``i`` only.
    """

    total: torch.Tensor
    own: torch.Tensor
    row_mass: torch.Tensor
    causal: bool

    def added(
        self, tile: torch.Tensor, first: int, real: torch.Tensor | None = None, *, key: int = 0
    ) -> ColumnSums:
        """The sums with some more rows.

        Parameters
        ----------
        tile : Tensor
            Rows of the pattern, ``[batch, head, row, key]``, or of some neighbouring keys of it.
        first : int
            Number of the first of them.
        real : Tensor, optional
            Boolean ``[batch, query]``: the queries that count.
        key : int
            Number of the tile's first key.
        """
        rows = tile.shape[2]
        if real is None:
            sums = tile.sum(2)
        else:
            weights = real[:, None, None, first : first + rows].to(tile)
            sums = (weights @ tile)[:, :, 0]
        row_mass = self.row_mass + sums.sum(-1)
        total, own = self.total.clone(), self.own
        total[..., key : key + tile.shape[3]] += sums
        if self.causal and first < key + tile.shape[3]:
            diagonal = tile.diagonal(first - key, dim1=2, dim2=3)
            if real is not None:
                diagonal = diagonal * real[:, None, first : first + rows].to(tile)
            own = own.clone()
            own[..., first : first + diagonal.shape[-1]] = diagonal
            total[..., first : first + diagonal.shape[-1]] -= diagonal
        return ColumnSums(total, own, row_mass, self.causal)


def no_sums(like: torch.Tensor, causal: bool) -> ColumnSums:
    """The sums over no rows of a pattern whose tiles are ``[batch, head, row, key]``."""
    zeros = like.new_zeros(like.shape[0], like.shape[1], like.shape[3])
    return ColumnSums(zeros, zeros, zeros[..., 0], causal)


def looks_causal(tile: torch.Tensor, real: torch.Tensor | None = None, *, first: int = 0) -> bool:
    """Whether no query of some rows ``[batch, head, row, key]``, from number `first`, sees a later key."""
    later = tile.triu(1 + first)
    if real is not None:  # padding may look anywhere
        later = later * real[:, None, first : first + tile.shape[2], None].to(tile)
    return not bool(later.any())


def queries_of(real: torch.Tensor, causal: bool) -> torch.Tensor:
    """How many queries count for each key, ``[batch, key]``.

    All real ones; in a causal pattern those after the key, as in arXiv 2410.10781 but for the key's own row,
    which sees itself whatever the head does; leaving it out is our own definition.

    Parameters
    ----------
    real : Tensor
        Boolean ``[batch, query]``.
    causal : bool
        As in `ColumnSums`.
    """
    count = real.long()
    after = count.sum(-1, keepdim=True) - count.cumsum(-1) if causal else count.sum(-1, keepdim=True)
    return torch.where(real, after, torch.zeros_like(count))


def dominant(sums: ColumnSums, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The dominant column ``s = argmax_j mean_i A_ij`` and its mass ``mean_i A_is``.

    Parameters
    ----------
    sums : ColumnSums
        Over all rows.
    queries : Tensor
        ``[batch, key]``, see `queries_of`. In a causal pattern a key that fewer than 16 queries see is no
        candidate (our own rule).

    Returns
    -------
    place, mass : Tensor
        ``[batch, head]``; -1 and NaN where no key is a candidate.
    """
    allowed = queries >= (LEAST_QUERIES if sums.causal else 1)
    mean = sums.total / queries.clamp_min(1)[:, None].to(sums.total)
    mean = mean.masked_fill(~allowed[:, None], -torch.inf)
    mass, place = mean.max(-1)
    nothing = ~allowed.any(-1)[:, None].expand_as(place)
    return place.masked_fill(nothing, -1), mass.masked_fill(nothing, torch.nan)


def counted(place: torch.Tensor, real: torch.Tensor, causal: bool) -> torch.Tensor:
    """Which queries count for each head's dominant column, boolean ``[batch, head, query]``."""
    on = real[:, None, :].expand(-1, place.shape[1], -1)
    if causal:
        on = on & (torch.arange(real.shape[1], device=place.device) > place[..., None])
    return on & (place >= 0)[..., None]


@dataclass(frozen=True, eq=False)
class Column:
    """What one column of a pattern says, ``[batch, head]`` each.

    Attributes
    ----------
    routed : Tensor
        Share of the counting queries with ``A_is >= 1 - eps``, ``[eps, batch, head]``.
    least : Tensor
        ``min_i A_is``, of the literal rule (Definition 1 of arXiv 2606.08105).
    subset_mass : Tensor
        ``sink(s; I)`` over ``I``, the queries with ``A_is >= 0.5`` (equation 2 of that paper; the choice of
        ``I`` is our own); NaN where there is none.
    """

    routed: torch.Tensor
    least: torch.Tensor
    subset_mass: torch.Tensor


def column_facts(column: torch.Tensor, on: torch.Tensor, epsilons: Sequence[float] = EPSILONS) -> Column:
    """Shares, least attention and the mass over the routed queries of one column.

    Parameters
    ----------
    column : Tensor
        Attention to the sink, ``[batch, head, query]``.
    on : Tensor
        Boolean, the same shape: the queries that count, see `counted`.
    epsilons : sequence of float
        Each at most 0.5.
    """
    check_epsilons(epsilons)
    count = on.sum(-1)
    none = count == 0
    held = column.masked_fill(~on, -torch.inf)
    routed = torch.stack([(held >= 1 - eps).sum(-1) for eps in epsilons]) / count.clamp_min(1).double()
    chosen = held >= 0.5
    sums = column.masked_fill(~chosen, 0.0).sum(-1) / chosen.sum(-1).clamp_min(1)
    return Column(
        routed.to(column.dtype).masked_fill(none, torch.nan),
        column.masked_fill(~on, torch.inf).amin(-1).masked_fill(none, torch.nan),
        sums.masked_fill(~chosen.any(-1), torch.nan),
    )


def check_epsilons(epsilons: Sequence[float]) -> None:
    """Refuse what a dominant column cannot settle: two columns may both have half of a row or more."""
    for eps in epsilons:
        if not 0 <= eps <= 0.5:
            raise ValueError(
                f"eps={eps}: testing the dominant column alone is exact for 0 to 0.5; above it another "
                "column could pass as well"
            )


def operational(routed: torch.Tensor, share: float = 0.9) -> torch.Tensor:
    """Sink events by the operational rule of arXiv 2606.08105's code: ``routed >= share``.

    Parameters
    ----------
    routed : Tensor
        Share of queries with ``A_is >= 1 - eps``, any shape; NaN is no event.
    share : float
        0.9 in the paper's code; a small one is the mode for heads that route some queries alone (our own).
    """
    return routed >= share


def literal(least: torch.Tensor, eps: float) -> torch.Tensor:
    """Sink events by Definition 1 of arXiv 2606.08105: ``min_i A_is >= 1 - eps``."""
    check_epsilons([eps])
    return least >= 1 - eps


def first_token_strength(sums: ColumnSums, queries: torch.Tensor) -> torch.Tensor:
    """``alpha_k = sum_{i >= k} A_ik / (T - k)`` of every key (counted from 0), ``[batch, head, key]``.

    The sink strength of arXiv 2410.10781: the mean over the queries that can see the key, its own among them.
    ``(alpha[..., k] > 0.3).double().mean()`` over layers, heads and sequences is that paper's ``Sink_k``.
    """
    seen = queries + (1 if sums.causal else 0)
    return (sums.total + sums.own) / seen.clamp_min(1)[:, None].to(sums.total)


def virtual_mass(sums: ColumnSums, real: torch.Tensor) -> torch.Tensor:
    """``mean_i (1 - sum_j A_ij)``, ``[batch, head]``: what an explicit sink logit takes.

    Such a sink has a value of exactly 0, so it is a no-op by construction (our own reading).
    """
    count = real.sum(-1)[:, None].to(sums.row_mass)
    return 1 - sums.row_mass / count.clamp_min(1)
