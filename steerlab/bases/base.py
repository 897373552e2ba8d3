"""What every basis can do: encode an activation, decode coordinates, name its atoms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from steerlab.errors import SteerlabError
from steerlab.sites import Site


class Basis(ABC):
    """Coordinates for activations of one width.

    A basis may be lossy: edits write back ``x + (decode(z') - decode(z))``, so that what it cannot
    explain is kept and unchanged coordinates change nothing.
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of the activations."""

    @property
    @abstractmethod
    def atoms(self) -> torch.Tensor:
        """Directions of the atoms, ``[atom, dim]``."""

    @abstractmethod
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Coordinates ``[..., atom]`` of activations ``[..., dim]``."""

    @abstractmethod
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Activations ``[..., dim]`` of coordinates ``[..., atom]``."""

    @property
    def site(self) -> Site | None:
        """Where the coordinates were learnt, if that is known."""
        return None

    def explained(self, x: torch.Tensor) -> torch.Tensor:
        """``decode(encode(x))``: what of an edited activation these coordinates explain."""
        return self.decode(self.encode(x))

    def moved(
        self,
        x: torch.Tensor,
        change: Callable[[torch.Tensor], torch.Tensor],
        *,
        keeps_zero: bool = False,
    ) -> torch.Tensor:
        """``x + (decode(change(z)) - decode(z))``: the activation with its coordinates changed.

        Parameters
        ----------
        x : Tensor
            ``[..., dim]``.
        change : callable
            From coordinates to coordinates.
        keeps_zero : bool
            Whether `change` works on every coordinate by itself and leaves a coordinate of 0 at 0, so that
            a sparse basis may hand over the other ones only.
        """
        z = self.encode(x)
        return x + (self.decode(change(z)) - self.decode(z))

    def __len__(self) -> int:
        return len(self.atoms)

    def __getitem__(self, atom: int) -> torch.Tensor:
        """Direction ``[dim]`` of one atom."""
        if not -len(self) <= atom < len(self):
            raise SteerlabError(f"atom {atom}: this basis has {len(self)} atoms (0 to {len(self) - 1})")
        return self.atoms[atom]

    def check(self, x: torch.Tensor) -> None:
        """Refuse activations of another width."""
        if x.shape[-1] != self.dim:
            raise SteerlabError(
                f"the basis lives in {self.dim} dimensions, the activation {list(x.shape)} has {x.shape[-1]}"
            )
