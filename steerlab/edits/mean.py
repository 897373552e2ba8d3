"""Mean: put the average of reference activations in place of an activation."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from steerlab.edits.base import Edit, constant, fitted
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Mean(Edit):
    """``x -> mean(reference)``: mean ablation over given activations.

    Parameters
    ----------
    reference : Tensor
        Activations of the same site, ``[batch, token, ...]``; any number of samples.
    by_token : bool
        Keep one mean a token place, ``[token, ...]``; only for inputs of equal length.
    """

    reference: torch.Tensor
    by_token: bool = False
    value: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        reference = constant(self.reference, "Mean: the reference")
        if reference.ndim < 2 or not reference.shape[0]:
            raise SteerlabError(f"Mean takes activations [batch, ...], not {list(reference.shape)}")
        axes = (0,) if self.by_token or reference.ndim == 2 else (0, 1)
        object.__setattr__(self, "value", reference.detach().mean(dim=axes))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean at every entry of ``[batch, token, ...]``."""
        return fitted(self.value, x, "Mean: the mean").expand(x.shape).clone()
