"""Linear coordinates: one direction, a subspace, principal components."""

from __future__ import annotations

import torch

from steerlab.bases.base import Basis
from steerlab.errors import SteerlabError
from steerlab.numerics.linear import orthonormal, principal_components


class Subspace(Basis):
    """The span of some vectors, with orthonormal coordinates ``z = (x - origin) · Qᵀ``.

    Parameters
    ----------
    vectors : Tensor
        Spanning vectors ``[rank, dim]``; they are orthonormalised, in order, and dependent ones dropped.
    origin : Tensor, optional
        Where the coordinates are zero, ``[dim]``.

    Examples
    --------
    >>> Subspace(torch.eye(3)[:2]).encode(torch.tensor([1.0, 2.0, 3.0]))
    tensor([1., 2.])
    """

    def __init__(self, vectors: torch.Tensor, origin: torch.Tensor | None = None) -> None:
        vectors = finite(torch.as_tensor(vectors), "the vectors of a subspace").detach().float()
        if vectors.ndim != 2:
            raise SteerlabError(f"a subspace takes vectors [rank, dim], not {list(vectors.shape)}")
        if not bool(vectors.any()):
            raise SteerlabError(f"{type(self).__name__}: the vectors are zero, and span nothing")
        self._atoms = orthonormal(vectors)
        self.origin = (
            torch.zeros_like(vectors[0]) if origin is None else finite(torch.as_tensor(origin), "the origin")
        )
        if self.origin.shape != (self.dim,):
            raise SteerlabError(f"origin has shape {list(self.origin.shape)}, the basis needs [{self.dim}]")

    @property
    def dim(self) -> int:
        """Width of the activations."""
        return self._atoms.shape[1]

    @property
    def atoms(self) -> torch.Tensor:
        """Orthonormal directions ``[rank, dim]``."""
        return self._atoms

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Coordinates ``[..., rank]``."""
        self.check(x)
        return (x - self.origin.to(x)) @ self._atoms.to(x).T

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Activations ``[..., dim]``."""
        return z @ self._atoms.to(z) + self.origin.to(z)

    def stored(self) -> tuple[str, dict[str, torch.Tensor]]:
        """What makes these coordinates again, to the bit."""
        return "Subspace", {"vectors": self._atoms, "origin": self.origin}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank={len(self)}, dim={self.dim})"


class Direction(Subspace):
    """One direction ``[dim]``; its coordinate is the length along the unit vector.

    Parameters
    ----------
    vector : Tensor
        ``[dim]``, of any length but zero.
    origin : Tensor, optional
        Where the coordinate is zero, ``[dim]``.
    """

    def __init__(self, vector: torch.Tensor, origin: torch.Tensor | None = None) -> None:
        vector = torch.as_tensor(vector)
        if vector.ndim != 1:
            raise SteerlabError(f"a direction is one vector [dim], not {list(vector.shape)}")
        Subspace.__init__(self, vector[None], origin)


class PCA(Subspace):
    """Principal components: the origin is the mean of the samples, the strongest atom comes first.

    Parameters
    ----------
    samples : Tensor
        ``[..., dim]``.
    rank : int
        How many components.

    Attributes
    ----------
    deviations : Tensor
        Standard deviation of the samples along each atom, ``[rank]``.
    """

    def __init__(self, samples: torch.Tensor, rank: int) -> None:
        samples = finite(torch.as_tensor(samples), "the samples").detach().float()
        most = min(samples.reshape(-1, samples.shape[-1]).shape)
        if not 1 <= rank <= most:
            raise SteerlabError(f"rank={rank}: samples {list(samples.shape)} have at most {most} components")
        mean, directions, self.deviations = principal_components(samples, rank)
        Subspace.__init__(self, directions, mean)


def finite(x: torch.Tensor, what: str) -> torch.Tensor:
    """Return `x`, refusing NaN and infinity."""
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise SteerlabError(f"{what}: {bad} of {x.numel()} entries are NaN or infinite")
    return x
