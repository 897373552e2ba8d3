"""ToNumber: make an activation represent a given number in its Fourier planes."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.bases.fourier import FourierCode
from steerlab.edits.base import Edit, fitted, in_coordinates, wide
from steerlab.edits.rotate import check_code, counted
from steerlab.errors import SteerlabError
from steerlab.numerics.fourier import in_turn


@dataclass(frozen=True, eq=False, repr=False)
class ToNumber(Edit):
    """``z -> scale * r (cos, sin)(2 pi n / T)`` in every plane, ``r`` the own radius in it.

    The steering of arXiv 2605.01148. The paper sets one probe after the other, which is exact where they are
    orthogonal; by default all are set at once, with the shortest change that does it.

    Parameters
    ----------
    code : FourierCode
        The planes; ``code.only([2, 5])`` steers in some of them.
    number : float or Tensor
        ``n``, ``[batch, 1]`` or a shape that broadcasts to the activation without its last axis.
    scale : float
        1 keeps the radius; the paper's code takes 10, which is far from any activation.
    joint : bool
        False for one probe after the other.
    """

    code: FourierCode
    number: torch.Tensor | float
    scale: float = 1.0
    joint: bool = True

    def __post_init__(self) -> None:
        check_code(self.code, "ToNumber")
        object.__setattr__(self, "number", counted(self.number, self.code, "ToNumber: the number"))
        if not isinstance(self.scale, Real) or self.scale != self.scale:
            raise SteerlabError(f"ToNumber: scale={self.scale!r} is not a number")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        number = fitted(self.number, x[..., 0], "ToNumber: a number")

        def aimed(z: torch.Tensor) -> torch.Tensor:
            return self.code.aimed(z, number, self.scale)

        if self.joint:
            return in_coordinates(x, self.code, aimed)
        whole = wide(x)
        weights, biases = self.code.weights.to(whole), self.code.biases.to(whole)
        return in_turn(whole, weights, biases, aimed(self.code.encode(whole))).to(x.dtype)
