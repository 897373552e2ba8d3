"""Gate: close attention where a query only looks at the sink."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import torch

from steerlab.edits.base import Edit
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Gate(Edit):
    """``A_i -> g_i A_i``: what a head writes at query ``i`` is multiplied by a gate that its pattern decides.

    With ``s`` the sink, ``g_i = closed`` where ``A_is >= above`` and 1 elsewhere; soft,
    ``g_i = 1 - (1 - closed) A_is``. It stands in, without training, for the learned gate of arXiv 2505.06708,
    ``sigma(W x + b)`` at the head's output; the rule is our own. A constant gate is `Scale` at ``heads``.

    Parameters
    ----------
    above : float or None
        Attention on the sink from which the gate is closed, in (0, 1]; None for the soft rule.
    closed : float
        The gate where it is closed, in [0, 1).
    key : int, optional
        The sink; by default the key that gets most attention, for each head and input.
    """

    streams: ClassVar[tuple[str, ...]] = ("pattern",)

    above: float | None = 0.5
    closed: float = 0.0
    key: int | None = None

    def __post_init__(self) -> None:
        if self.above is not None and not (isinstance(self.above, Real) and 0 < self.above <= 1):
            raise SteerlabError(f"Gate: above={self.above!r} is not in (0, 1]; None is the soft rule")
        if not (isinstance(self.closed, Real) and 0 <= self.closed < 1):
            raise SteerlabError(f"Gate: closed={self.closed!r} is not in [0, 1)")
        if self.key is not None and (not isinstance(self.key, int) or isinstance(self.key, bool)):
            raise SteerlabError(f"Gate: key={self.key!r} is not the number of a key")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return patterns ``[..., query, key]`` whose rows sum to the gates."""
        if self.key is None:
            on = x.gather(-1, x.sum(-2, keepdim=True).argmax(-1, keepdim=True).expand(*x.shape[:-1], 1))
        elif -x.shape[-1] <= self.key < x.shape[-1]:
            on = x.select(-1, self.key).unsqueeze(-1)
        else:
            raise SteerlabError(f"Gate: key {self.key} of a pattern {list(x.shape)}")
        if self.above is None:
            return x * (1 - (1 - self.closed) * on.detach())
        return x * torch.where(on >= self.above, self.closed, 1.0).to(x.dtype)
