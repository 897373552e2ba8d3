"""Rules that make pre-activations sparse: ReLU, thresholds, the strongest k, groups and blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch

from steerlab.numerics import sparse


class Rule(ABC):
    """Codes ``[..., atom]`` of pre-activations ``[..., atom]``.

    Attributes
    ----------
    is_local : bool
        Whether the code of an atom follows from its own pre-activation alone.
    """

    is_local = False

    @abstractmethod
    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Dense codes ``[..., atom]``."""

    def entries(self, pre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Values and indices ``[..., k]`` of all codes that are not 0, where the rule knows them as such."""
        return None

    def part(self, atoms: torch.Tensor) -> Rule:
        """The rule of some atoms only; for local rules."""
        return self


@dataclass(frozen=True, eq=False)
class Relu(Rule):
    """``z = max(pre, 0)``."""

    is_local = True

    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]``."""
        return pre.relu()


@dataclass(frozen=True, eq=False)
class JumpRelu(Rule):
    """``z = pre`` where it exceeds its threshold and 0 (arXiv 2407.14435).

    Parameters
    ----------
    threshold : Tensor
        ``[atom]``, or ``[1]`` for all of them.
    """

    is_local = True

    threshold: torch.Tensor

    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]``."""
        return sparse.jumprelu(pre, self.threshold)

    def part(self, atoms: torch.Tensor) -> Rule:
        """The thresholds of some atoms."""
        return self if len(self.threshold) == 1 else JumpRelu(self.threshold[atoms])


@dataclass(frozen=True, eq=False)
class TopK(Rule):
    """The k strongest of every row (arXiv 2406.04093).

    Parameters
    ----------
    k : int
        How many.
    relu : bool
        Whether negative pre-activations become 0.
    absolute : bool
        Whether strength is the magnitude.
    rank_by : Tensor, optional
        Factor ``[atom]`` of the ranking alone.
    """

    k: int
    relu: bool = True
    absolute: bool = False
    rank_by: torch.Tensor | None = None

    @property
    def needs_positive(self) -> bool:
        """Whether only atoms with a positive pre-activation can have a code."""
        return self.relu and not self.absolute

    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]``."""
        return sparse.spread(*self.entries(pre), pre.shape[-1])

    def entries(self, pre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and indices ``[..., k]``."""
        k = min(self.k, pre.shape[-1])
        return sparse.top_k_entries(pre, k, relu=self.relu, absolute=self.absolute, rank_by=self.rank_by)


@dataclass(frozen=True, eq=False)
class BatchTopK(Rule):
    """The ``k`` times rows strongest of the whole batch (arXiv 2412.06410): codes depend on the batch.

    A dictionary whose threshold is known is loaded with `JumpRelu` instead, as its authors run it.

    Parameters
    ----------
    k : int
        How many a row, on average.
    rank_by : Tensor, optional
        Factor ``[atom]`` of the ranking alone.
    """

    k: int
    rank_by: torch.Tensor | None = None

    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]``."""
        return sparse.batch_top_k(pre, self.k, self.rank_by)


@dataclass(frozen=True, eq=False)
class GroupMax(Rule):
    """The strongest of each of `groups` equal groups of atoms, if positive.

    Parameters
    ----------
    groups : int
        How many groups, which is also the most codes a row has.
    """

    groups: int

    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]``."""
        return sparse.group_max(pre, self.groups)


@dataclass(frozen=True, eq=False)
class BlockTopK(Rule):
    """All atoms of the `blocks` strongest blocks, strength being the length of a block's code; signed.

    Parameters
    ----------
    blocks : int
        How many blocks a row has.
    size : int
        Atoms in a block.
    """

    blocks: int
    size: int

    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]``."""
        return sparse.block_top_k(pre, self.blocks, self.size)

    def entries(self, pre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and indices ``[..., blocks * size]``."""
        return sparse.block_entries(pre, self.blocks, self.size)


@dataclass(frozen=True, eq=False)
class BlockShrink(Rule):
    """Blocks made shorter by their own threshold, ``max(1 - theta_g / |z_g|, 0) z_g``; signed.

    Of the group-lasso featurizer of Fel, Kowal et al., Structuring Sparsity.

    Parameters
    ----------
    threshold : Tensor
        ``theta``, ``[block]``.
    size : int
        Atoms in a block.
    """

    threshold: torch.Tensor
    size: int

    def __call__(self, pre: torch.Tensor) -> torch.Tensor:
        """Codes ``[..., atom]``."""
        return sparse.block_shrink(pre, self.threshold, self.size)


def scaled(rule: Rule, factor: torch.Tensor) -> Rule | None:
    """The same rule for codes multiplied by a positive `factor` ``[atom]``; None where there is none."""
    if isinstance(rule, Relu):
        return rule
    if isinstance(rule, JumpRelu):
        return JumpRelu(rule.threshold * factor)
    if isinstance(rule, TopK):
        rank = torch.ones_like(factor) if rule.rank_by is None else rule.rank_by
        return replace(rule, rank_by=rank / factor)
    return None


RULES = {rule.__name__: rule for rule in (Relu, JumpRelu, TopK, BatchTopK, GroupMax, BlockTopK, BlockShrink)}
