"""What is done with the values of a trace, as functions that travel with a request: they hold no module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from steerlab.layouts import Layout, first_tensor, with_first
from steerlab.receipts import Entry

# from what a module is given or gives, the reads and the remembered anchors, to what goes on in its place
Act = Callable[[Any, dict[int, list[torch.Tensor]], dict[str, torch.Tensor]], Any]
Change = Callable[[torch.Tensor], torch.Tensor]


def acted(acts: Iterable[Act], whole: Any, reads: dict, stash: dict) -> Any:
    """Do all acts of one side of a module, in order."""
    for act in acts:
        whole = act(whole, reads, stash)
    return whole


def changing(side: str, layout: Layout, anchor: str | None, change: Change) -> Act:
    """Change the activation; unchanged, the value itself goes on."""

    def act(whole: Any, reads: dict, stash: dict) -> Any:
        raw, base = stream(side, whole), stash.get(anchor)
        x = layout.unpack(raw, base)
        y = change(x)
        return whole if y is x else with_stream(side, whole, layout.pack(raw, base, x, y))

    return act


def keeping(index: int, side: str, layout: Layout, anchor: str | None, choice: tuple[int, Any, bool]) -> Act:
    """Read the activation; `choice` is the axis of the heads, the heads and whether to copy."""

    def act(whole: Any, reads: dict, stash: dict) -> Any:
        x = layout.unpack(stream(side, whole), stash.get(anchor))
        reads.setdefault(index, []).append(kept(x, *choice))
        return whole

    return act


def remembering(anchor: str) -> Act:
    """Keep what a module is given, for the layouts that need it further on."""

    def act(whole: Any, reads: dict, stash: dict) -> Any:
        stash[anchor] = stream("input", whole)
        return whole

    return act


def given_only(names: frozenset[str]) -> Act:
    """Take off the keyword arguments that a wrapper added on its way to the model."""

    def act(whole: Any, reads: dict, stash: dict) -> Any:
        args, kwargs = whole
        ours = {name: value for name, value in kwargs.items() if name in names}
        return whole if len(ours) == len(kwargs) else (args, ours)

    return act


def stream(side: str, whole: Any) -> torch.Tensor:
    """The tensor in a module's output, or in the first of its ``(args, kwargs)``."""
    return first_tensor(whole if side == "output" else whole[0] or whole[1])


def with_stream(side: str, whole: Any, new: torch.Tensor) -> Any:
    """The same value with that tensor replaced."""
    if side == "output":
        return with_first(whole, new)
    args, kwargs = whole
    return (with_first(args, new), kwargs) if args else (args, with_first(kwargs, new))


def kept(x: torch.Tensor, axis: int, heads: int | list[int] | None, copied: bool) -> torch.Tensor:
    """The activation, or some of its heads, that nobody writes into and that keeps no other alive."""
    if heads is not None:
        x = x.select(axis, heads) if isinstance(heads, int) else x[(slice(None),) * axis + (heads,)]
    if copied or x.untyped_storage().nbytes() > x.numel() * x.element_size():
        x = x.clone()
    return x.detach()


def tally(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The numbers of a receipt as plain values, to be sent back."""
    return [
        {name: value for name, value in vars(entry).items() if name not in ("site", "edit")}
        for entry in entries
    ]
