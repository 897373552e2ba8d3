"""How many atoms it takes to hold a concept: by their span, by their codes, by a map that is refitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steerlab.numerics.geometry import unit
from steerlab.numerics.similarity import Moments

MOST, ENOUGH = 64, 0.95
NEGLIGIBLE = 1e-8  # a direction shorter than this beside those chosen adds nothing


@dataclass(frozen=True)
class Curve:
    """Explained variance against the number of atoms.

    Attributes
    ----------
    chosen : Tensor
        Atom numbers in the order in which they were taken, ``[m]``.
    explained : Tensor
        Share of the centred variance that the first 1, 2, ... of them explain, ``[m]``.
    """

    chosen: torch.Tensor
    explained: torch.Tensor

    @property
    def total(self) -> float:
        """What all of them explain; 0 where none was taken."""
        return float(self.explained[-1]) if len(self.explained) else 0.0

    @property
    def elbow(self) -> int:
        """How many atoms there are at the point farthest from the line that joins the curve's ends."""
        return elbow(self.explained)

    def needed(self, share: float) -> int | None:
        """The fewest atoms that explain a share; None where all of them do not."""
        enough = (self.explained >= share).nonzero()
        return int(enough[0]) + 1 if len(enough) else None


def elbow(explained: torch.Tensor) -> int:
    """Number of atoms, from 1, farthest from the chord of a curve ``[m]`` whose axes are both scaled to 1."""
    if len(explained) < 3:
        return len(explained)
    y = explained.double()
    x = torch.linspace(0, 1, len(y), dtype=torch.float64)
    rise = y[-1] - y[0]
    if not rise > 0:
        return 1
    return int(((y - y[0]) / rise - x).argmax()) + 1


def span_capture(
    covariance: torch.Tensor, atoms: torch.Tensor, *, most: int = MOST, enough: float = ENOUGH
) -> Curve:
    """Geometric capture: greedily the atoms whose joint span explains most (arXiv 2604.28119, its code).

    With ``r`` the centred samples less their projection on the span of the chosen atoms, taken next is
    ``argmax_j sum_i (r_i . d_j)^2 / |d_j|^2``. Only the covariance is needed: with ``q`` the new orthonormal
    direction and ``C`` the covariance of ``r``, each score changes by
    ``- 2 (q . d_j)(d_j . C q) + (q . d_j)^2 (q . C q)``. It cannot tell two axes from many tiles; see
    `code_capture`.

    Parameters
    ----------
    covariance : Tensor
        ``sum_i (x_i - mean)(x_i - mean)^T`` in any scale, ``[dim, dim]``.
    atoms : Tensor
        ``[atom, dim]``.
    most : int
        Atoms at most.
    enough : float
        Explained share at which it stops.
    """
    left, directions = covariance.double().clone(), unit(atoms)
    whole = _whole(torch.trace(left))
    scores = ((directions @ left) * directions).sum(1)
    chosen, explained, frame = [], [], left.new_zeros(0, left.shape[0])
    for _ in range(min(most, len(atoms), left.shape[0])):
        scores[chosen] = -1.0  # rounding leaves next to nothing there, which must not be taken twice
        best = int(scores.argmax())
        new = directions[best] - (directions[best] @ frame.T) @ frame
        if new.norm() < NEGLIGIBLE or scores[best] <= NEGLIGIBLE * whole:
            break
        q = unit(new - (new @ frame.T) @ frame)  # twice, for the digits that the first time lost
        along, moved = directions @ q, left @ q
        scores = (scores - 2 * along * (directions @ moved) + along.square() * (q @ moved)).clamp_min(0)
        left = left - torch.outer(q, moved) - torch.outer(moved, q) + (q @ moved) * torch.outer(q, q)
        frame = torch.cat([frame, q[None]])
        chosen.append(best)
        explained.append(float(1 - torch.trace(left) / whole))
        if explained[-1] >= enough:
            break
    return _curve(chosen, explained)


def code_capture(moments: Moments, atoms: torch.Tensor, *, most: int = MOST, enough: float = ENOUGH) -> Curve:
    """Capture by the codes themselves: greedily the atoms whose own contributions explain most.

    With ``r`` the running residual of the centred samples (arXiv 2604.28119, its code),
    ``gain_j = 2 sum_i (r_i . d_j)(z_ij - mean z_j) - sum_i (z_ij - mean z_j)^2 |d_j|^2``; the best atom's
    ``(z_j - mean) d_j`` is taken off. It stops when no gain is above 0: our own rule, without which the curve
    turns down once useful atoms have run out.

    Parameters
    ----------
    moments : Moments
        Of the samples ``[sample, dim]`` and their codes ``[sample, atom]``, in this order.
    atoms : Tensor
        ``[atom, dim]``, those of the codes.
    most, enough
        As for `span_capture`.
    """
    wide = atoms.double()
    if moments.widths != (wide.shape[1], len(wide)):
        raise ValueError(
            f"moments of {moments.widths} are not of samples and codes of {list(atoms.shape)} atoms"
        )
    whole = _whole(torch.trace(moments.covariance(0, 0)))
    together = moments.covariance(1, 1)
    gains = 2 * (moments.covariance(1, 0) * wide).sum(1) - together.diagonal() * wide.square().sum(1)
    chosen, explained, done = [], [], 0.0
    for _ in range(min(most, len(wide))):
        gains[chosen] = 0.0
        best = int(gains.argmax())
        if not gains[best] > NEGLIGIBLE * whole:
            break
        done += float(gains[best])
        gains = gains - 2 * together[:, best] * (wide @ wide[best])
        chosen.append(best)
        explained.append(done / float(whole))
        if explained[-1] >= enough:
            break
    return _curve(chosen, explained)


def affine_r2(moments: Moments, chosen: Sequence[int] | torch.Tensor) -> float:
    """R2 of the affine least-squares map from some codes to the samples: the restricted R2.

    The score of a replication of arXiv 2604.28119, where the samples are one
    factor's true contributions where it is active; without the refit the score stalls, because codes of other
    factors' atoms and their own scale count against it.

    Parameters
    ----------
    moments : Moments
        Of the samples ``[sample, dim]`` and their codes ``[sample, atom]``.
    chosen : sequence of int
        Whose codes are used.
    """
    index = torch.as_tensor(chosen, dtype=torch.long)
    whole = _whole(torch.trace(moments.covariance(0, 0)))
    if not len(index):
        return 0.0
    together, across = moments.covariance(1, 1)[index][:, index], moments.covariance(1, 0)[index]
    values, vectors = torch.linalg.eigh(together)
    kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1].clamp_min(0) * 1e3
    rotated = vectors[:, kept].T @ across
    return float((rotated.square().sum(1) / values[kept]).sum() / whole)


def affine_capture(moments: Moments, chosen: Sequence[int] | torch.Tensor) -> Curve:
    """`affine_r2` of the first 1, 2, ... of some atoms, in the given order."""
    order = [int(atom) for atom in chosen]
    return _curve(order, [affine_r2(moments, order[: m + 1]) for m in range(len(order))])


def pca_capture(covariance: torch.Tensor, *, most: int = MOST) -> Curve:
    """The upper bound of every span: shares of principal components, ``chosen`` being their ranks."""
    values = torch.linalg.eigvalsh(covariance.double()).flip(0).clamp_min(0)
    explained = (values.cumsum(0) / _whole(values.sum()))[:most]
    return Curve(torch.arange(len(explained)), explained)


def random_capture(
    covariance: torch.Tensor, count: int, *, seed: int = 0, orthogonal: bool = False, most: int = MOST
) -> Curve:
    """`span_capture` of a random dictionary, the baseline of arXiv 2604.28119.

    Parameters
    ----------
    covariance : Tensor
        ``[dim, dim]``.
    count : int
        Atoms to choose from; for `orthogonal` at most `dim`, and they are taken as they come.
    seed : int
        Of the Gaussian atoms.
    orthogonal : bool
        A random orthonormal frame, in random order, rather than an overcomplete dictionary to choose from.
    most : int
        Atoms at most.
    """
    dim = len(covariance)
    generator = torch.Generator().manual_seed(seed)
    if not orthogonal:
        atoms = torch.randn(count, dim, generator=generator, dtype=torch.float64)
        return span_capture(covariance, atoms, most=most, enough=1.0)
    square = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    frame = torch.linalg.qr(square).Q.T[: min(count, dim, most)]
    wide = covariance.double()
    shares = ((frame @ wide) * frame).sum(1) / _whole(torch.trace(wide))
    return Curve(torch.arange(len(frame)), shares.cumsum(0))


def _whole(total: torch.Tensor) -> torch.Tensor:
    if not total > 0:
        raise ValueError("all samples are equal: there is no variance to explain")
    return total


def _curve(chosen: list[int], explained: list[float]) -> Curve:
    return Curve(torch.tensor(chosen, dtype=torch.long), torch.tensor(explained, dtype=torch.float64))
