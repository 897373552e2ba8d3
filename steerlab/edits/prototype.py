"""ToPrototype: move the codes of a group of atoms towards a prototype of that group."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import torch

from steerlab.bases.base import Basis
from steerlab.edits.base import Edit, check_basis, constant, in_coordinates
from steerlab.errors import SteerlabError
from steerlab.numerics.minkowski import codes_toward_prototype


@dataclass(frozen=True, eq=False, repr=False)
class ToPrototype(Edit):
    """``x -> (1 - alpha) x_P + alpha p + (x - x_P)``, with ``x_P`` what the group of atoms contributes.

    Our own operator for the hypothesis that tokens are Minkowski sums of polytopes (arXiv 2510.08638). With
    the group's codes convex weights, alpha in [0, 1] keeps the part inside its polytope and saturates at the
    prototype, where a step along an atom would go on and on. Beyond 1 it leaves, linearly. Codes of other
    atoms, and what the dictionary does not explain, stay as they are.

    Parameters
    ----------
    basis : Basis
        The group: ``sae.only([3, 9, 27])``.
    prototype : Tensor
        Codes of the prototype on the group's atoms, ``[m]``; those of an activation are
        ``basis.encode(x)``.
    alpha : float
        How far to go; 0 changes nothing, 1 sets the codes to the prototype's.
    active : bool
        Leave entries where the whole group is 0 as they are.
    """

    basis: Basis
    prototype: torch.Tensor
    alpha: float = 1.0
    active: bool = False

    def __post_init__(self) -> None:
        check_basis(self.basis, "ToPrototype")
        prototype = constant(self.prototype, "ToPrototype: the prototype")
        if prototype.shape != (len(self.basis),):
            raise SteerlabError(
                f"ToPrototype: the prototype is one code an atom of the group, [{len(self.basis)}], "
                f"not {list(prototype.shape)}; of an activation they are basis.encode(x)"
            )
        if not isinstance(self.alpha, Real) or self.alpha != self.alpha:
            raise SteerlabError(f"ToPrototype: alpha={self.alpha!r} is not a number")
        object.__setattr__(self, "prototype", prototype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``[..., dim]``."""
        group = torch.arange(len(self.basis), device=x.device)

        def nearer(z: torch.Tensor) -> torch.Tensor:
            moved = codes_toward_prototype(z, self.prototype.to(z), group=group, alpha=self.alpha)
            return torch.where((z != 0).any(-1, keepdim=True), moved, z) if self.active else moved

        return in_coordinates(x, self.basis, nearer)
