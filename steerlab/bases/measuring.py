"""The usual size of a dictionary's codes on reference data, from a stream that is seen once."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.facts import Stats
from steerlab.errors import SteerlabError
from steerlab.numerics.tallies import tally


def stats_of(dictionary: Dictionary, batches: torch.Tensor | Iterable[torch.Tensor]) -> Stats:
    """Mean, deviation, largest size and frequency of every code, in float64, and the mean length of ``x``.

    Parameters
    ----------
    dictionary : Dictionary
        Whose codes.
    batches : Tensor or iterable of Tensor
        Activations ``[..., dim]``.
    """
    seen, length = None, 0.0
    for batch in [batches] if isinstance(batches, torch.Tensor) else batches:
        x = dictionary.flattened(batch.detach())
        rows = x.reshape(-1, x.shape[-1])
        if not len(rows):
            continue
        part = tally(dictionary.encode(rows))
        seen = part if seen is None else seen.merge(part)
        length += float(rows.double().norm(dim=-1).sum())
    if seen is None:
        raise SteerlabError("no activations to measure the codes on")
    figures = (seen.mean, seen.deviation, seen.peak, seen.fired / seen.samples)
    return Stats(*(one.float() for one in figures), norm=length / seen.samples, count=seen.samples)
