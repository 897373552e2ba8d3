"""Shorten: tokens whose stream is too long are cut to a length, or get a value."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.edits.base import Edit, constant, fitted, wide
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Shorten(Edit):
    """Where ``|x_i| > above``: ``x_i -> above x_i / |x_i|``, or `value`. Other tokens keep their bits.

    Which tokens are long is decided anew for every input. With `value` the mean of long tokens over a data
    set it is mean ablation of what high-norm tokens (arXiv 2309.16588) hold; with 0, their zero ablation,
    which arXiv 2604.14433 finds to overstate what they are worth.

    Parameters
    ----------
    above : float
        The greatest length that is left alone.
    value : float or Tensor, optional
        What long tokens become: a number or ``[dim]``.
    """

    above: float
    value: float | torch.Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.above, Real) or isinstance(self.above, bool) or not self.above > 0:
            raise SteerlabError(f"Shorten: above={self.above!r} is not a length above 0")
        if isinstance(self.value, torch.Tensor):
            constant(self.value, "Shorten: the value")
        elif self.value is not None and (not isinstance(self.value, Real) or self.value != self.value):
            raise SteerlabError(f"Shorten: value={self.value!r}; give a number, a tensor [dim] or nothing")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        length = wide(x).norm(dim=-1, keepdim=True)
        if self.value is None:
            new = (wide(x) * (self.above / length.clamp_min(1e-30))).to(x.dtype)
        else:
            value = torch.as_tensor(self.value, dtype=torch.float32)
            new = fitted(value, x, "Shorten: the value")
        return torch.where(length > self.above, new, x)
