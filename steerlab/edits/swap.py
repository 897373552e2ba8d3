"""Swap: exchange the stream, or coordinates of it, between the inputs of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, in_coordinates
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Swap(Edit):
    """Row ``i`` gets the activation of row ``order[i]``, or in a basis its coordinates; place by place.

    Parameters
    ----------
    order : sequence of int
        One row number for each row of the batch: ``[1, 0]`` exchanges two inputs, ``[0, 0]`` gives the first
        input's to both.
    basis : Basis, optional
        Coordinates to exchange; without one the activation itself.
    """

    order: Sequence[int]
    basis: Basis | None = None

    def __post_init__(self) -> None:
        order = list(self.order) if isinstance(self.order, (list, tuple, range)) else None
        if not order or not all(isinstance(row, int) and 0 <= row < len(order) for row in order):
            raise SteerlabError(f"Swap: order={self.order!r}; give one row number for each row, as [1, 0]")
        object.__setattr__(self, "order", order)
        if self.basis is not None:
            check_basis(self.basis, "Swap")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[batch, ..., dim]``."""
        if len(x) != len(self.order):
            raise SteerlabError(
                f"Swap orders {len(self.order)} rows, the activation {list(x.shape)} has {len(x)}; "
                "a pipeline's batch holds each image once for every guidance branch"
            )
        rows = torch.tensor(self.order, device=x.device)
        return in_coordinates(x, self.basis, lambda z: z.index_select(0, rows))
