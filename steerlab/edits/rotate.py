"""Rotate: add to the number that an activation represents, by turning its Fourier planes."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.bases.fourier import FourierCode
from steerlab.edits.base import Edit, constant, fitted, in_coordinates
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Rotate(Edit):
    """Turn the plane of each period ``T`` by ``2 pi by / T``: the number `by` further on.

    Our own edit on the probes of arXiv 2605.01148. Each activation goes on from its own number and keeps its
    own radii, so there is no scale to choose; 0 is exactly the identity, and two edits compose to their sum.

    Parameters
    ----------
    code : FourierCode
        The planes.
    by : float or Tensor
        How many numbers further, ``[batch, 1]`` or a shape that broadcasts to the activation without its last
        axis. Whole numbers where 2 is among the periods, whose plane has one axis.
    """

    code: FourierCode
    by: torch.Tensor | float

    def __post_init__(self) -> None:
        check_code(self.code, "Rotate")
        object.__setattr__(self, "by", counted(self.by, self.code, "Rotate: by"))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        by = fitted(self.by, x[..., 0], "Rotate: a number")
        return in_coordinates(x, self.code, lambda z: self.code.turned(z, by))


def check_code(code: object, edit: str) -> None:
    """Refuse what is not a `FourierCode`."""
    if not isinstance(code, FourierCode):
        raise SteerlabError(f"{edit} takes a FourierCode, not {type(code).__name__}; see fourier_probes")


def counted(number: torch.Tensor | float, code: FourierCode, what: str) -> torch.Tensor:
    """A number as a tensor in float64; with period 2 only whole ones have a wave that the code holds."""
    if isinstance(number, torch.Tensor) and not number.is_floating_point():
        number = number.double()
    number = torch.tensor(float(number)) if isinstance(number, Real) else number
    number = constant(number, what).detach().double()
    if 2 in code.periods and bool((number != number.round()).any()):
        raise SteerlabError(f"{what} is not whole; period 2 has no plane to stop half-way in: leave it out")
    return number
