"""Fn: any function of the activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from steerlab.edits.base import Edit
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Fn(Edit):
    """``x -> function(x)``. The function gets a copy, so writing in place is harmless.

    Parameters
    ----------
    function : callable
        From a tensor to a tensor of the same shape.
    """

    function: Callable[[torch.Tensor], torch.Tensor]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise SteerlabError(f"Fn takes a function, not {type(self.function).__name__}")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the function returns."""
        y = self.function(x.clone())
        if not isinstance(y, torch.Tensor):
            raise SteerlabError(
                f"Fn: the function returned {type(y).__name__}, not a tensor; does it return?"
            )
        return y
