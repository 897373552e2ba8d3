"""A manifold inside a block: an activation's place on it is that of what the block contributes alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from steerlab.bases.base import Basis
from steerlab.bases.manifold import Manifold, Place
from steerlab.bases.part import Part
from steerlab.numerics.charts import Chart
from steerlab.sites import Site


@dataclass(frozen=True, eq=False, repr=False)
class Curved(Basis):
    """Coordinates ``[..., axis]`` of a block's contribution ``m_g`` on a manifold.

    An edit writes ``x + s(u') - s(u)`` where the block fires, ``u`` the nearest place of ``m_g``, and leaves
    everything else as it is: other blocks, the block off its manifold, and tokens where it does not fire
    (our own definition). Other blocks may lie in the same directions; they do not move the place.

    Parameters
    ----------
    part : Part
        The block: ``dictionary.block(3).part``.
    manifold : Manifold
        Fitted to contributions; see `steerlab.Block.curve`.
    """

    part: Part
    manifold: Manifold

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self.part.dim

    @property
    def atoms(self) -> torch.Tensor:
        """Direction of each coordinate at the first value, ``[axis, dim]``."""
        return self.manifold.atoms

    @property
    def site(self) -> Site | None:
        """Where the dictionary was trained, if known."""
        return self.part.site

    @property
    def chart(self) -> Chart:
        """Where the values stand."""
        return self.manifold.chart

    def place(self, value: Place) -> torch.Tensor:
        """Coordinates ``[axis]`` of a value; see `steerlab.Manifold.place`."""
        return self.manifold.place(value)

    def shift(self, start: Place, end: Place) -> torch.Tensor:
        """The way from one value to another, ``[axis]``, the short way round."""
        return self.manifold.shift(start, end)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Own places ``[..., axis]``; without a meaning where the block does not fire."""
        return self.manifold.encode(self.part.part(x))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Contributions ``[..., dim]`` at places ``[..., axis]``."""
        return self.manifold.decode(z)

    def moved(
        self,
        x: torch.Tensor,
        change: Callable[[torch.Tensor], torch.Tensor],
        *,
        keeps_zero: bool = False,
    ) -> torch.Tensor:
        """``x`` after `change` of the places; see `steerlab.bases.Basis.moved`."""
        m = self.part.part(x)
        fires = (m != 0).any(-1, keepdim=True)
        u = self.manifold.encode(m)
        step = self.manifold.decode(change(u)) - self.manifold.decode(u)
        return x + torch.where(fires, step, 0).to(x.dtype)

    def __repr__(self) -> str:
        return f"Curved({self.part!r}, {self.manifold!r})"
