"""What a dictionary does to an activation before it encodes it, and how that is undone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch


class Norm(ABC):
    """A normalisation ``x -> n`` and its inverse, whose linear part carries differences back.

    What a row's normalisation measured (its length, its deviation) is passed from `apply` to the others, so
    that an edit is undone with the figures of the clean activation.

    Attributes
    ----------
    measures : bool
        Whether each row is measured by itself.
    """

    measures = False

    @abstractmethod
    def apply(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The normalised activation ``[..., dim]`` and what the row measured, ``[..., m]`` or None."""

    @abstractmethod
    def undo(self, n: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """The activation of a normalised one."""

    @abstractmethod
    def undo_step(self, step: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """A difference of normalised activations, as a difference of activations."""


@dataclass(frozen=True, eq=False)
class Same(Norm):
    """No normalisation."""

    def apply(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return `x`."""
        return x, None

    def undo(self, n: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Return `n`."""
        return n

    def undo_step(self, step: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Return `step`."""
        return step


@dataclass(frozen=True, eq=False)
class ConstantLength(Norm):
    """Every activation scaled to one length: ``n = x * length / |x|``, undone row by row.

    Parameters
    ----------
    length : float, optional
        ``sqrt(dim)`` by default.
    eps : float
        Added to ``|x|``.
    """

    measures = True

    length: float | None = None
    eps: float = 0.0

    def apply(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``[..., dim]`` and the factor ``[..., 1]``."""
        length = x.shape[-1] ** 0.5 if self.length is None else self.length
        factor = length / (x.norm(dim=-1, keepdim=True) + self.eps)
        return x * factor, factor

    def undo(self, n: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Divide by the row's factor."""
        return n / measured

    def undo_step(self, step: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Divide by the row's factor."""
        return step / measured


@dataclass(frozen=True, eq=False)
class LayerNorm(Norm):
    """Every activation centred and divided by its own deviation: ``n = (x - mean) / (std + eps)``.

    Parameters
    ----------
    eps : float
        Added to the deviation.
    unbiased : bool
        Whether the deviation divides by ``dim - 1``.
    """

    measures = True

    eps: float = 1e-5
    unbiased: bool = True

    def apply(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``[..., dim]`` and the mean and deviation ``[..., 2]``."""
        mean = x.mean(dim=-1, keepdim=True)
        deviation = (x - mean).std(dim=-1, keepdim=True, unbiased=self.unbiased)
        return (x - mean) / (deviation + self.eps), torch.cat([mean, deviation], dim=-1)

    def undo(self, n: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Multiply by the row's deviation and add its mean."""
        return n * measured[..., 1:] + measured[..., :1]

    def undo_step(self, step: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Multiply by the row's deviation."""
        return step * measured[..., 1:]


@dataclass(frozen=True, eq=False)
class Standardise(Norm):
    """``n = (x - mean) / std`` with constants of the training data, one number or one for each dimension.

    Parameters
    ----------
    mean, std : Tensor
        ``[dim]`` or ``[1]``.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def apply(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return ``[..., dim]``."""
        return (x - self.mean.to(x)) / self.std.to(x), None

    def undo(self, n: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Multiply by the deviation and add the mean."""
        return n * self.std.to(n) + self.mean.to(n)

    def undo_step(self, step: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Multiply by the deviation."""
        return step * self.std.to(step)


@dataclass(frozen=True, eq=False)
class Whitening(Norm):
    """``n = (x - mean) M`` with a whitening matrix ``M`` and its inverse (arXiv 2511.13981).

    Parameters
    ----------
    mean : Tensor
        ``[dim]``.
    matrix, inverse : Tensor
        ``[dim, dim]``, applied from the right.
    """

    mean: torch.Tensor
    matrix: torch.Tensor
    inverse: torch.Tensor

    def apply(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return ``[..., dim]``."""
        return (x - self.mean.to(x)) @ self.matrix.to(x), None

    def undo(self, n: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Multiply by the inverse and add the mean."""
        return n @ self.inverse.to(n) + self.mean.to(n)

    def undo_step(self, step: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
        """Multiply by the inverse."""
        return step @ self.inverse.to(step)


NORMS = {norm.__name__: norm for norm in (Same, ConstantLength, LayerNorm, Standardise, Whitening)}
