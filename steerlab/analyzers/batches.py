"""Inputs a few rows at a time, so that what an analyzer holds does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from steerlab.errors import SteerlabError


def in_batches(data: Any, size: int) -> Iterator[Any]:
    """Some rows after the other, as the model takes them, under a progress bar.

    Parameters
    ----------
    data : object
        A tensor ``[row, ...]``, keyword arguments that hold such tensors, a list of pictures or texts, one
        text, or anything else that can be gone over again and again: then each item is a batch as it is.
    size : int
        Rows of a batch.
    """
    from tqdm.auto import tqdm

    parts = _parts(data, size)
    if isinstance(parts, Iterator):
        raise SteerlabError(
            f"the inputs are gone over more than once, and {type(data).__name__} gives them once only; "
            "pass a list, or an object whose __iter__ begins anew"
        )
    none = True
    for part in tqdm(parts, desc="inputs", disable=None, leave=False):
        none = False
        yield part
    if none:
        raise SteerlabError("no inputs: there is not one row to look at")


def first_rows(data: Any, count: int) -> Any:
    """The first rows of the inputs, at most `count` of them; of batches the first one."""
    return next(in_batches(data, count))


def _parts(data: Any, size: int) -> Any:
    if isinstance(data, str):
        return [data]
    if isinstance(data, (torch.Tensor, Sequence)):
        return [data[start : start + size] for start in range(0, len(data), size)]
    if isinstance(data, Mapping):
        rows = max((len(v) for v in data.values() if isinstance(v, torch.Tensor) and v.ndim), default=0)
        return [
            {
                name: value[start : start + size] if isinstance(value, torch.Tensor) and value.ndim else value
                for name, value in data.items()
            }
            for start in range(0, rows, size)
        ]
    return data
