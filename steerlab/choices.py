"""What a user may write to choose entries of an axis: an index, a slice, a list of indices, a mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch

from steerlab.errors import SteerlabError


def as_mask(choice: Any) -> torch.Tensor | None:
    """A boolean mask, from a tensor or a list of truth values; None for anything else."""
    if isinstance(choice, (list, tuple)) and choice and all(isinstance(one, bool) for one in choice):
        return torch.tensor(choice)
    return choice if isinstance(choice, torch.Tensor) and choice.dtype == torch.bool else None


def as_indices(choice: Any) -> list[int] | None:
    """Whole numbers, from one of them, a list, a range or a tensor; None for anything else."""
    if isinstance(choice, torch.Tensor):
        whole = not (choice.is_floating_point() or choice.is_complex()) and choice.ndim <= 1
        return choice.reshape(-1).tolist() if whole else None
    many = list(choice) if isinstance(choice, (Sequence, range)) and not isinstance(choice, str) else [choice]
    whole = all(isinstance(one, Integral) and not isinstance(one, bool) for one in many)
    return [int(one) for one in many] if whole else None


def index_mask(choice: Any, count: int, kind: str) -> torch.Tensor:
    """Boolean ``[count]`` of what `choice` names: an index, a slice, a list of indices or a mask."""
    mask, on = as_mask(choice), torch.zeros(count, dtype=torch.bool)
    if mask is not None:
        if mask.shape != (count,):
            raise SteerlabError(f"a {kind} mask of shape {list(mask.shape)} does not fit {count} {kind}s")
        return mask
    if isinstance(choice, slice):
        on[choice] = True
        return on
    indices = as_indices(choice)
    if indices is None:
        raise SteerlabError(
            f"{kind}s={choice!r}: give an index, a slice, a list of indices or a boolean mask"
        )
    for index in indices:
        if not -count <= index < count:
            raise SteerlabError(f"{kind} {index} does not exist: there are {count} (0 to {count - 1})")
        on[index] = True
    return on


def patch_mask(choice: Any, grid: tuple[int, ...]) -> torch.Tensor:
    """Boolean ``[height, width]`` from ``"2:5,3:7"``, one ``(row, column)`` or a list of them."""
    on = torch.zeros(grid, dtype=torch.bool)
    if isinstance(choice, str):
        if not re.fullmatch(r"-?\d*:-?\d*,-?\d*:-?\d*", choice.replace(" ", "")):
            raise SteerlabError(f"patches={choice!r}: write rows and columns as 'top:bottom,left:right'")
        rows, columns = [
            slice(*(int(edge) if edge.strip() else None for edge in part.split(":")))
            for part in choice.split(",")
        ]
        on[rows, columns] = True
        return on
    pairs = [choice] if as_indices(choice) else choice
    numbers = [as_indices(pair) for pair in pairs] if isinstance(pairs, (Sequence, torch.Tensor)) else [None]
    if any(pair is None or len(pair) != 2 for pair in numbers):
        raise SteerlabError(
            f"patches={choice!r}: give (row, column), a list of them or 'top:bottom,left:right'"
        )
    for row, column in numbers:
        if not (0 <= row < grid[0] and 0 <= column < grid[1]):
            raise SteerlabError(f"patch ({row}, {column}) is outside the grid of {grid[0]} x {grid[1]}")
        on[row, column] = True
    return on


def window_of(word: str) -> tuple[int, int | None]:
    """First and last-but-one of ``generated``, ``generated[a:b]`` or ``generated[a]``."""
    found = re.fullmatch(r"generated(?:\[(?:(\d*):(\d*)|(\d+))\])?", word.replace(" ", ""))
    if found is None:
        raise SteerlabError(
            f"tokens={word!r}: write generated, generated[0:8], generated[4:] or generated[3], counted from "
            "the first generated token; how many will come is not known"
        )
    low, high, one = found.groups()
    if one is not None:
        return int(one), int(one) + 1
    return int(low or 0), int(high) if high else None
