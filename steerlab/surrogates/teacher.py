"""What a surrogate learns from: the states of a model along a span of blocks, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.errors import SteerlabError
from steerlab.model import Model

Source = torch.Tensor | Sequence[Any] | Callable[[int], Any]


@dataclass(frozen=True, eq=False)
class Path:
    """The states of one batch along depth.

    Parameters
    ----------
    states : Tensor
        ``[state, batch, token, dim]``: before the span, then after each of its blocks.
    groups : mapping
        Slices of tokens by name; one group ``all`` where the model names none.
    real : Tensor, optional
        Boolean ``[batch, token]``: True where a token is not padding.
    """

    states: torch.Tensor
    groups: Mapping[str, slice]
    real: torch.Tensor | None = None


def span_of(model: Model, at: str, span: tuple[int, int] | None) -> tuple[int, int]:
    """The span that is meant, checked against the model's blocks."""
    count = len(model.sites(f"{at}.*.resid"))
    start, stop = span or (0, count)
    if not 0 <= start < stop <= count:
        raise SteerlabError(f"span {start} to {stop}: {at} has {count} blocks, 0 to {count - 1}")
    return start, stop


def paths(model: Model, at: str, span: tuple[int, int]) -> Callable[[Any], Path]:
    """The function from inputs to the states along a span: one forward without gradients."""
    start, stop = span
    sites = [f"{at}.{start}.resid_pre", *(f"{at}.{block}.resid" for block in range(start, stop))]

    def path(inputs: Any) -> Path:
        acts = model.capture(inputs, at=sites)
        tokens = acts.maps.get(model.site(sites[0]))
        every = {"all": slice(None)}
        if tokens is None:
            return Path(acts.stack(), every)
        groups = {name: slice(*edges) for name, edges in tokens.groups.items()} or every
        return Path(acts.stack(), groups, tokens.real)

    return path


def batches(source: Source, size: int, seed: int) -> Callable[[int], Any]:
    """The function from the number of a step to its inputs, the same at every call.

    Inputs that are given one by one are taken in an order that is drawn anew for each pass through them; a
    function of the step is asked as it is.
    """
    if callable(source):
        return source
    count = len(source)
    if not count:
        raise SteerlabError("there are no inputs to learn from")
    size = min(size, count)

    def batch(step: int) -> Any:
        chosen = [
            _order(count, seed + at // count)[at % count] for at in range(step * size, (step + 1) * size)
        ]
        return (
            source[torch.tensor(chosen)] if isinstance(source, torch.Tensor) else [source[i] for i in chosen]
        )

    orders: dict[int, list[int]] = {}

    def _order(count: int, number: int) -> list[int]:
        if number not in orders:
            orders.clear()
            orders[number] = torch.randperm(count, generator=torch.Generator().manual_seed(number)).tolist()
        return orders[number]

    return batch
