"""Classes of sink events, how heads share them and where in depth they change, from recorded numbers."""

from __future__ import annotations

import torch

CLASSES = ("none", "no-op", "broadcast", "other")


def sink_classes(
    event: torch.Tensor,
    ratio: torch.Tensor,
    stable_rank: torch.Tensor,
    *,
    no_op: float = 0.2,
    broadcast: float = 0.5,
    rank: float = 1.5,
) -> torch.Tensor:
    """Places in `CLASSES`, any shape, from recorded numbers alone: no rerun is needed for other thresholds.

    An event is a *no-op* where the value at the sink is small (``ratio <= no_op``), a *broadcast* where it is
    not (``ratio >= broadcast``) and the update is nearly of rank one (``stable_rank <= rank``), else *other*;
    without an event it is *none*. Rules and thresholds of the code of arXiv 2606.08105.

    Parameters
    ----------
    event : Tensor
        Boolean.
    ratio : Tensor
        Norm of the sink's value over that of the others, projected or in head space.
    stable_rank : Tensor
        Of the update.
    no_op, broadcast, rank : float
        Thresholds; ``rank=inf`` is the laxer rule without a condition on the rank.
    """
    if not 0 <= no_op < broadcast:
        raise ValueError(f"no_op={no_op}, broadcast={broadcast}: the first is from 0 on and below the second")
    found = torch.full_like(ratio, 3, dtype=torch.long)
    low_rank = stable_rank <= rank if rank != torch.inf else torch.ones_like(event)
    found[(ratio >= broadcast) & low_rank] = 2
    found[ratio <= no_op] = 1
    return found.masked_fill(~event, 0)


def gini(rates: torch.Tensor) -> float:
    """Gini coefficient of the rates of heads ``[head]``: 0 where all are alike, near 1 where one has all.

    Using it for specialisation is our own choice.
    """
    rates = rates.double().flatten().sort().values
    total, count = float(rates.sum()), len(rates)
    if not total > 0:
        return float("nan")
    order = torch.arange(1, count + 1, dtype=torch.float64, device=rates.device)
    return float(2 * (order * rates).sum() / (count * total) - (count + 1) / count)


def heads_carrying(counts: torch.Tensor, share: float = 0.8) -> int:
    """The smallest number of heads that together have `share` of all events; 0 without any.

    Parameters
    ----------
    counts : Tensor
        Events of each head, ``[head]``.
    """
    counts = counts.double().flatten().sort(descending=True).values
    if not float(counts.sum()) > 0:
        return 0
    reached = counts.cumsum(0) >= share * counts.sum() * (1 - 1e-12)
    return int(reached.long().argmax()) + 1


def type_shares(events: torch.Tensor, types: torch.Tensor, count: int) -> torch.Tensor:
    """``tau_type(l)``: share of the events of a block whose sink has each type, ``[block, type]``.

    NaN in blocks without events. Our own definition of the depth profile.

    Parameters
    ----------
    events : Tensor
        Boolean ``[input, block, head]``.
    types : Tensor
        Number of the type of the sink's token, the same shape.
    count : int
        How many types there are.
    """
    of_type = torch.stack([(events & (types == kind)).sum((0, 2)) for kind in range(count)], 1).double()
    total = of_type.sum(1, keepdim=True)
    return torch.where(total > 0, of_type / total.clamp_min(1), torch.nan)


def transition(shares: torch.Tensor, before: int, after: int) -> int | None:
    """The first block where the second type has more of the events than the first; None if never.

    Parameters
    ----------
    shares : Tensor
        ``[block, type]``; blocks of NaN are passed over.
    before, after : int
        Types: class token and patches. Our own definition.
    """
    later = (shares[:, after] > shares[:, before]).nonzero()
    return int(later[0]) if len(later) else None
