"""The usual size of a dictionary's codes on reference data, from a stream that is seen once."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.facts import Stats
from steerlab.errors import SteerlabError


def stats_of(dictionary: Dictionary, batches: torch.Tensor | Iterable[torch.Tensor]) -> Stats:
    """Mean, deviation, maximum and frequency of every code, in float64, and the mean length of ``x``.

    Parameters
    ----------
    dictionary : Dictionary
        Whose codes.
    batches : Tensor or iterable of Tensor
        Activations ``[..., dim]``.
    """
    total = squares = most = active = None
    length, count = 0.0, 0
    for batch in [batches] if isinstance(batches, torch.Tensor) else batches:
        x = dictionary.flattened(batch.detach())
        z = dictionary.encode(x).reshape(-1, len(dictionary)).double()
        figures = z.sum(0), z.square().sum(0), z.amax(0), (z != 0).sum(0)
        if total is None:
            total, squares, most, active = figures
        else:
            total, squares, active = total + figures[0], squares + figures[1], active + figures[3]
            most = torch.maximum(most, figures[2])
        length += float(x.reshape(-1, x.shape[-1]).double().norm(dim=-1).sum())
        count += len(z)
    if not count:
        raise SteerlabError("no activations to measure the codes on")
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    figures = mean.float(), std.float(), most.float(), (active / count).float()
    return Stats(*figures, norm=length / count, count=count)
