"""How a dictionary finds the codes of an activation: one product and a rule, a distance, or a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from steerlab.bases.rules import BlockTopK, Rule, TopK
from steerlab.errors import SteerlabError
from steerlab.numerics import sparse
from steerlab.numerics.pursuit import fista, matching_pursuit


class Encoder(ABC):
    """Codes ``[..., atom]`` of normalised activations ``[..., dim]``.

    Attributes
    ----------
    is_local : bool
        Whether the code of an atom can be had without the other atoms.
    on_simplex : bool
        Whether the codes of a row are non-negative and sum to 1.
    """

    is_local = False
    on_simplex = False

    @abstractmethod
    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``; `decoder` is ``[atom, dim]``."""

    def entries(self, x: torch.Tensor, decoder: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Values and indices ``[..., k]`` of the codes that are not 0, where they are found as such."""
        return None

    def at(self, x: torch.Tensor, decoder: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., m]`` of some atoms."""
        return self(x, decoder)[..., atoms]

    def part(self, atoms: torch.Tensor) -> Encoder:
        """The encoder of some atoms only; for local encoders."""
        raise SteerlabError(f"{type(self).__name__}: its codes depend on one another, so it has no parts")

    def inputs(self) -> int | None:
        """Width of the activations it takes; None where the decoder says it."""
        return None

    def atoms(self) -> int | None:
        """How many codes it gives; None where the decoder says it."""
        return None


@dataclass(frozen=True, eq=False)
class Linear(Encoder):
    """``z = rule(x W + b)``.

    Parameters
    ----------
    weight : Tensor
        ``[dim, atom]``.
    bias : Tensor
        ``[atom]``.
    rule : Rule
        What makes it sparse.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    rule: Rule

    @property
    def is_local(self) -> bool:
        """Whether the rule looks at one atom at a time."""
        return self.rule.is_local

    def inputs(self) -> int:
        """Width of the activations."""
        return self.weight.shape[0]

    def atoms(self) -> int:
        """How many codes."""
        return self.weight.shape[1]

    def pre(self, x: torch.Tensor) -> torch.Tensor:
        """Pre-activations ``[..., atom]``."""
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).reshape(*x.shape[:-1], -1)

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        return self.rule(self.pre(x))

    def entries(self, x: torch.Tensor, decoder: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Values and indices of the codes, for rules that count them."""
        counted = isinstance(self.rule, (TopK, BlockTopK))
        return self.rule.entries(self.pre(x)) if counted else None

    def at(self, x: torch.Tensor, decoder: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., m]``; rows in which none of these atoms is positive need no rivals."""
        if self.is_local:
            return self.part(atoms)(x, decoder)
        if not (isinstance(self.rule, TopK) and self.rule.needs_positive):
            return self.rule(self.pre(x))[..., atoms]
        own = x @ self.weight[:, atoms] + self.bias[atoms]
        flat, flat_own = x.reshape(-1, x.shape[-1]), own.reshape(-1, len(atoms))
        codes = torch.zeros_like(flat_own)
        rows = (flat_own > 0).any(dim=-1).nonzero()[:, 0]
        if len(rows):
            codes = codes.index_copy(0, rows, self.rule(self.pre(flat[rows]))[..., atoms])
        return codes.reshape(own.shape)

    def part(self, atoms: torch.Tensor) -> Encoder:
        """Columns of some atoms."""
        return Linear(self.weight[:, atoms].contiguous(), self.bias[atoms], self.rule.part(atoms))


@dataclass(frozen=True, eq=False)
class Gated(Encoder):
    """``z = relu(x W e^r + b_mag)`` where ``x W + b_gate > 0``, else 0 (arXiv 2404.16014).

    Parameters
    ----------
    weight : Tensor
        ``[dim, atom]``.
    gate_bias, magnitude_bias, log_scale : Tensor
        ``[atom]``.
    """

    is_local = True

    weight: torch.Tensor
    gate_bias: torch.Tensor
    magnitude_bias: torch.Tensor
    log_scale: torch.Tensor

    def inputs(self) -> int:
        """Width of the activations."""
        return self.weight.shape[0]

    def atoms(self) -> int:
        """How many codes."""
        return self.weight.shape[1]

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        along = x @ self.weight
        return sparse.gated(along + self.gate_bias, along * self.log_scale.exp() + self.magnitude_bias)

    def part(self, atoms: torch.Tensor) -> Encoder:
        """Columns of some atoms."""
        vectors = (v[atoms] for v in (self.gate_bias, self.magnitude_bias, self.log_scale))
        return Gated(self.weight[:, atoms].contiguous(), *vectors)


@dataclass(frozen=True, eq=False)
class Distances(Encoder):
    """SpaDE: ``z = sparsemax(-scale * |x - p_k|^2)``, a point of the simplex (arXiv 2503.01822).

    Parameters
    ----------
    prototypes : Tensor
        ``[atom, dim]``.
    scale : Tensor
        One number, ``[]`` or ``[1]``.
    renormalise : bool
        Whether edited codes are brought back to the simplex; otherwise an edit may leave it.
    """

    on_simplex = True

    prototypes: torch.Tensor
    scale: torch.Tensor
    renormalise: bool = True

    def inputs(self) -> int:
        """Width of the activations."""
        return self.prototypes.shape[1]

    def atoms(self) -> int:
        """How many codes."""
        return self.prototypes.shape[0]

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        p = self.prototypes
        # |x|^2 shifts all scores of a row alike, and sparsemax does not see it
        return sparse.sparsemax(-self.scale * (p.square().sum(-1) - 2 * x @ p.T))

    def settled(
        self, codes: torch.Tensor, after: torch.Tensor, index: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Codes ``[..., atom]`` in which some are `after`, and the others share what is left of 1.

        Parameters
        ----------
        codes : Tensor
            ``[..., atom]`` before the edit.
        after : Tensor
            ``[..., m]`` new codes of the atoms `index`; all atoms by default. Rows in which nothing changed
            are returned as they were. Ours: the edited codes come first, and the others keep their ratios.
        index : Tensor, optional
            ``[m]``.
        """
        if index is None:
            index = torch.arange(codes.shape[-1], device=codes.device)
        before = codes[..., index]
        if not self.renormalise:
            return codes.index_copy(-1, index, after)
        wanted = after.clamp_min(0)
        total = wanted.sum(-1, keepdim=True)
        everything = len(index) == codes.shape[-1]
        wanted = wanted / total.clamp_min(1e-30) if everything else wanted / total.clamp_min(1)
        left = 1 - wanted.sum(-1, keepdim=True)
        others = codes.index_fill(-1, index, 0)
        rest = others.sum(-1, keepdim=True)
        even = torch.ones_like(codes).index_fill(-1, index, 0)
        even = even / even.sum(-1, keepdim=True).clamp_min(1)
        others = torch.where(rest > 0, others * left / rest.clamp_min(1e-30), even * left)
        moved = others.index_copy(-1, index, wanted)
        return torch.where((after == before).all(-1, keepdim=True), codes, moved)


@dataclass(frozen=True, eq=False)
class Pursuit(Encoder):
    """Matching pursuit on the decoder itself (arXiv 2506.03093); the budget may be changed at any time.

    Parameters
    ----------
    steps : int
        At most so many additions a row.
    nonnegative : bool
        Whether codes may only grow.
    tolerance : float
        Length of the residual at which a row is done.
    """

    steps: int
    nonnegative: bool = False
    tolerance: float = 0.0

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        return matching_pursuit(
            x, decoder, self.steps, nonnegative=self.nonnegative, tolerance=self.tolerance
        )


@dataclass(frozen=True, eq=False)
class Fista(Encoder):
    """Codes by sparse regression on the decoder: ``min |x - z D|^2 / 2 + penalty sum(z)``, ``z >= 0``.

    Parameters
    ----------
    penalty : float
        Price of a unit of code.
    steps : int
        Iterations.
    """

    penalty: float
    steps: int = 100

    def __call__(self, x: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""
        return fista(x, decoder, self.penalty, steps=self.steps)


ENCODERS = {encoder.__name__: encoder for encoder in (Linear, Gated, Distances, Pursuit, Fista)}
