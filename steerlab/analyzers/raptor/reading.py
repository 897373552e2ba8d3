"""Inputs in parts, the vectors that stand for an input at each layer, and sums over all parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from steerlab.errors import SteerlabError
from steerlab.keeping import kept
from steerlab.surrogates.teacher import Path

TOKENS = ("cls+meanpatch", "all", "last")


def parts_of(data: Any, size: int) -> list[Any]:
    """Inputs in parts of at most `size`; texts one by one, so that none is padded."""
    if isinstance(data, torch.Tensor):
        return list(data.split(min(size, -(-len(data) // 2))))
    if isinstance(data, Mapping):
        count = next(len(value) for value in data.values() if isinstance(value, torch.Tensor))
        size = min(size, -(-count // 2))
        cuts = [slice(start, start + size) for start in range(0, count, size)]
        return [{k: v[c] if isinstance(v, torch.Tensor) else v for k, v in data.items()} for c in cuts]
    if isinstance(data, Sequence) and not isinstance(data, str) and len(data):
        size = 1 if isinstance(data[0], str) else min(size, -(-len(data) // 2))
        return [data[start : start + size] for start in range(0, len(data), size)]
    raise SteerlabError("Phases: give a list of inputs, a tensor of pictures, or tensors by name")


def pooled(path: Path, tokens: str) -> torch.Tensor:
    """The vectors that stand for an input at each state: ``[state, batch, vector, dim]``.

    ``"cls+meanpatch"`` are the class token and the mean patch (arXiv 2512.19941; registers are left out),
    ``"last"`` the last token, ``"all"`` every token.
    """
    if tokens == "all":
        return path.states
    if tokens == "last":
        return path.states[:, :, -1:]
    if "patches" not in path.groups:
        raise SteerlabError("Phases: these inputs have no patches; write tokens='last' or tokens='all'")
    mean = path.states[:, :, path.groups["patches"]].mean(2, keepdim=True)
    return torch.cat([path.states[:, :, path.groups["cls"]], mean], 2) if "cls" in path.groups else mean


def summed(
    parts: Sequence[Any], read: Callable[[Any], Path], what: str, *, of: Callable[[Path], torch.Tensor]
) -> torch.Tensor:
    """The sum over parts of a float64 vector of each; a run that was killed goes on from the parts it did."""
    total = 0
    for part in tqdm(parts, desc=what, disable=None, leave=False):
        total = total + kept(what, lambda p=part: of(read(p)).double().flatten())
    return total
