"""Recombine: an activation put together anew from its mean, its position factor and its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.edits.base import Edit, constant, wide
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Recombine(Edit):
    r"""``x_p = mu + pos_p + c_p  ->  mu + position * pos_order(p) + content * c'_p``.

    ``position=0`` drops the position factor, ``content=0`` leaves it alone, others scale; `order` moves
    it, and `rows` takes the content from another row of the batch. Computed as a difference, so that what is
    not asked for changes no bit. At queries or keys a logit, being bilinear, loses exactly the parts that
    are dropped.

    Parameters
    ----------
    mean : Tensor
        ``mu``, ``[dim]`` or ``[head, dim]``.
    table : Tensor
        ``pos``, ``[position, dim]`` or ``[position, head, dim]``.
    start : int
        The token of the first position; other tokens, such as a class token before it, stay as they are.
    position, content : float
        Factors of the two parts.
    order : sequence of int, optional
        The position whose part each position gets.
    rows : sequence of int, optional
        The row whose content each row of the batch gets, as in `Swap`.
    """

    mean: torch.Tensor
    table: torch.Tensor
    start: int = 0
    position: float = 1.0
    content: float = 1.0
    order: Sequence[int] | None = None
    rows: Sequence[int] | None = None

    def __post_init__(self) -> None:
        mean, table = (
            constant(v, f"Recombine: the {n}") for n, v in (("mean", self.mean), ("table", self.table))
        )
        if table.ndim not in (2, 3) or table.shape[1:] != mean.shape:
            raise SteerlabError(
                f"Recombine takes a mean [dim] and a table [position, dim], not {list(mean.shape)} "
                f"and {list(table.shape)}"
            )
        if not isinstance(self.start, int) or isinstance(self.start, bool) or self.start < 0:
            raise SteerlabError(f"Recombine: start={self.start!r} is not the number of a token")
        for name in ("position", "content"):
            if not isinstance(getattr(self, name), Real):
                raise SteerlabError(f"Recombine: {name}={getattr(self, name)!r} is not a number")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "order", _numbers("order", self.order, len(table)))
        object.__setattr__(self, "rows", _numbers("rows", self.rows, None))
        if self.order is not None and len(self.order) != len(table):
            raise SteerlabError(f"Recombine: order names {len(self.order)} of {len(table)} positions")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[batch, token, ..., dim]``."""
        stop = self.start + len(self.table)
        if x.ndim != self.table.ndim + 1 or x.shape[2:] != self.table.shape[1:] or x.shape[1] < stop:
            raise SteerlabError(
                f"a table of positions {list(self.table.shape)} from token {self.start} on does not fit the "
                f"activation {list(x.shape)}"
            )
        if self.rows is not None and len(self.rows) != len(x):
            raise SteerlabError(f"Recombine orders {len(self.rows)} rows, the activation has {len(x)}")
        x_wide = wide(x)
        mean, table = self.mean.to(x_wide), self.table.to(x_wide)
        placed = x_wide[:, self.start : stop]
        change = torch.zeros_like(placed)
        if self.order is not None or self.position != 1:
            moved = table if self.order is None else table[self.order]
            change = change + (self.position * moved - table)
        if self.rows is not None or self.content != 1:
            own = placed - mean - table
            given = own if self.rows is None else own[self.rows]
            change = change + (self.content * given - own)
        padding = [0, 0] * (x.ndim - 2) + [self.start, x.shape[1] - stop]
        return (x_wide + torch.nn.functional.pad(change, padding)).to(x.dtype)


def _numbers(name: str, given: Sequence[int] | None, count: int | None) -> list[int] | None:
    if given is None:
        return None
    numbers = given.tolist() if isinstance(given, torch.Tensor) else list(given)
    count = len(numbers) if count is None else count
    if not numbers or not all(type(n) is int and 0 <= n < count for n in numbers):
        raise SteerlabError(f"Recombine: {name}={given!r}; give a list of numbers from 0 to {count - 1}")
    return numbers
