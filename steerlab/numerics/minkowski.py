"""Moving one convex part of a sum of parts towards a prototype, and nothing else."""

from __future__ import annotations

import torch


def group_part(codes: torch.Tensor, atoms: torch.Tensor, *, group: torch.Tensor) -> torch.Tensor:
    """What a group of atoms contributes, ``x_P = sum_{k in P} z_k d_k``.

    Parameters
    ----------
    codes, atoms : Tensor
        ``[..., atom]`` and ``[atom, dim]``.
    group : Tensor
        Indices or a mask of the group's atoms.

    Returns
    -------
    Tensor
        ``[..., dim]``.
    """
    return codes[..., group] @ atoms[group]


def toward_prototype(
    x: torch.Tensor, part: torch.Tensor, *, prototype: torch.Tensor, alpha: float = 1.0
) -> torch.Tensor:
    """``x' = (1 - alpha) x_P + alpha p + (x - x_P) = x + alpha (p - x_P)``.

    Our own operator for the hypothesis that tokens are Minkowski sums of polytopes (arXiv 2510.08638):
    for alpha in [0, 1] the part stays in its polytope, whereas a step along an atom leaves it. Beyond 1
    it leaves too, in proportion to the excess.

    Parameters
    ----------
    x, part : Tensor
        Activations ``[..., dim]`` and the part of them to move (`group_part`).
    prototype : Tensor
        ``[dim]``, a point of the part's polytope.
    alpha : float
        How far to go; 0 returns `x` itself in value.
    """
    return x + alpha * (prototype - part)


def codes_toward_prototype(
    codes: torch.Tensor, prototype: torch.Tensor, *, group: torch.Tensor, alpha: float = 1.0
) -> torch.Tensor:
    """The same on codes: the group's become ``(1 - alpha) z_P + alpha c``, the others stay bit for bit.

    Parameters
    ----------
    codes : Tensor
        ``[..., atom]``.
    prototype : Tensor
        Codes of the prototype on the group's atoms alone, ``[member]``.
    group : Tensor
        Indices or a mask of the group's atoms.
    alpha : float
        How far to go; at 1 the group's codes are the prototype's exactly.
    """
    moved = codes.clone()
    moved[..., group] = (1 - alpha) * codes[..., group] + alpha * prototype
    return moved
