"""Description length: how many bits one activation takes, sent as a sparse code of blocks and a residual."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from steerlab.numerics.linear import orthonormal_factors


@dataclass(frozen=True)
class Bits:
    """Bits an activation, by what they say.

    Parameters
    ----------
    support : float
        Which blocks are active.
    code : float
        Their codes.
    residual : float
        What the codes leave.
    dictionary : float
        The blocks' subspaces themselves, shared by all activations.
    """

    support: float
    code: float
    residual: float
    dictionary: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.support + self.code + self.residual + self.dictionary


class BlockMoments:
    """Second moments of codes and residuals, batch by batch; memory does not grow with the rows.

    Parameters
    ----------
    atoms : Tensor
        ``[block * size, dim]``.
    size : int
        Atoms in a block; 1 for a dictionary of directions.
    """

    def __init__(self, atoms: torch.Tensor, size: int) -> None:
        blocks, dim = len(atoms) // size, atoms.shape[1]
        self.atoms, self.size, self.rows = atoms, size, 0
        self.fired = torch.zeros(blocks, dtype=torch.float64)
        self._sum = torch.zeros(blocks, size, dtype=torch.float64)
        self._square = torch.zeros(blocks, size, size, dtype=torch.float64)
        self._left = torch.zeros(dim, dim, dtype=torch.float64)
        self._left_sum = torch.zeros(dim, dtype=torch.float64)
        self._whole = torch.zeros(2, dim, dtype=torch.float64)

    def add(self, rows: torch.Tensor, codes: torch.Tensor, rebuilt: torch.Tensor) -> None:
        """One batch: activations ``[row, dim]``, codes ``[row, atom]``, reconstructions ``[row, dim]``."""
        parts = codes.detach().double().unflatten(-1, (-1, self.size))
        left = (rows - rebuilt).detach().double()
        wide = rows.detach().double()
        self.rows += len(rows)
        self.fired += (parts != 0).any(-1).sum(0)
        self._sum += parts.sum(0)
        self._square += torch.einsum("ngi,ngj->gij", parts, parts)
        self._left += left.mT @ left
        self._left_sum += left.sum(0)
        self._whole += torch.stack([wide.sum(0), wide.square().sum(0)])

    @property
    def variance(self) -> float:
        """Mean variance a coordinate of the activations, ``tr cov(x) / d``."""
        mean, square = self._whole / self.rows
        return float((square - mean.square()).mean())

    def moments(self, *, centred: bool = True) -> torch.Tensor:
        """Covariance of each block's code where it fires, or its second moment: ``[block, size, size]``."""
        count = self.fired.clamp_min(1)[:, None, None]
        square = self._square / count
        if not centred:
            return square
        mean = self._sum[:, :, None] / count
        return square - mean @ mean.mT

    def spectra(self, *, centred: bool = True) -> torch.Tensor:
        """Variances of each contribution ``z_g D_g`` where it fires, ``[block, size]``, largest first.

        With orthonormal blocks they are the eigenvalues of the codes' covariance, as in the paper. With
        others a code's unit is arbitrary, and that of the contribution is not (our own choice).
        """
        factors = orthonormal_factors(self.atoms.double().unflatten(0, (-1, self.size)))[1]
        moved = factors @ self.moments(centred=centred) @ factors.mT
        return torch.linalg.eigvalsh(moved).flip(-1).clamp_min(0)

    def left(self) -> torch.Tensor:
        """Eigenvalues of the residuals' covariance, ``[dim]``."""
        mean = self._left_sum / self.rows
        return torch.linalg.eigvalsh(self._left / self.rows - mean[:, None] * mean).clamp_min(0)

    def explained(self) -> float:
        """R2 over all coordinates."""
        return 1 - float(self.left().sum()) / (self.variance * len(self._left))


def rate(variance: torch.Tensor, distortion: float, *, smooth: bool = True) -> torch.Tensor:
    """Bits for a Gaussian of a variance at a distortion: ``log2(1 + v / delta) / 2``.

    Not smooth it is the rate-distortion function itself, ``max(log2(v / delta), 0) / 2``; the paper writes
    that and evaluates the smooth one.
    """
    ratio = variance / distortion
    return 0.5 * (torch.log2(1 + ratio) if smooth else torch.log2(ratio.clamp_min(1.0)))


def support_bits(blocks: int, active: float) -> float:
    """``log2 C(blocks, active)``; `active` may be a mean.

    Examples
    --------
    >>> round(support_bits(8192, 16), 1), round(support_bits(4 * 8192, 4 * 16), 1)
    (163.7, 663.9)
    """
    inside = math.lgamma(blocks + 1) - math.lgamma(active + 1) - math.lgamma(blocks - active + 1)
    return inside / math.log(2)


def dictionary_bits(blocks: int, size: int, dim: int, rows: float) -> float:
    """``(1/2) G b (d - b) / N log2 N``: the free parameters of G subspaces, shared by N activations."""
    return 0.5 * blocks * size * (dim - size) / rows * math.log2(rows)


def description_length(
    moments: BlockMoments,
    active: float,
    *,
    share: float = 0.1,
    rows: float | None = None,
    smooth: bool = True,
) -> Bits:
    """Bits to send one activation (Fel, Kowal et al., Structuring Sparsity).

    ``log2 C(G, k) + sum_g p_g sum_j R(s_gj^2) + sum_a R(l_a) + G b (d - b) log2(N) / (2 N)`` with ``p_g``
    how often a block fires, ``s_gj^2`` the variances of its contribution there, ``l_a`` those of the
    residual.

    Parameters
    ----------
    moments : BlockMoments
        Of held-out activations.
    active : float
        Blocks an activation, ``k``; the measured mean where it varies.
    share : float
        The distortion is this share of the activations' mean variance a coordinate: ``1 - R2`` that a
        receiver wants. That the reference is ``tr cov(x) / d`` is our own definition, the paper has none.
    rows : float, optional
        Activations that share the dictionary; by default as many as `moments` has seen.
    smooth : bool
        See `rate`.
    """
    blocks, size = len(moments.fired), moments.size
    delta = share * moments.variance
    code = (moments.fired / moments.rows)[:, None] * rate(moments.spectra(), delta, smooth=smooth)
    return Bits(
        support_bits(blocks, active),
        float(code.sum()),
        float(rate(moments.left(), delta, smooth=smooth).sum()),
        dictionary_bits(blocks, size, moments.atoms.shape[1], rows or moments.rows),
    )


def gathered(moments: BlockMoments, batches: Iterable[tuple[torch.Tensor, ...]]) -> BlockMoments:
    """The moments after some batches of rows, codes and reconstructions."""
    for rows, codes, rebuilt in batches:
        moments.add(rows, codes, rebuilt)
    return moments
