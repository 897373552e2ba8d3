"""States on the sphere: angles, how a trajectory turns, how parallel its steps are, where it ends."""

from __future__ import annotations

import torch

EPS = 1e-8


def unit(x: torch.Tensor) -> torch.Tensor:
    """``x / |x|`` of vectors ``[..., dim]``; a vector shorter than 1e-8 is divided by that."""
    return x / x.norm(dim=-1, keepdim=True).clamp_min(EPS)


def angle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Angles between vectors ``[..., dim]`` in radians, ``[...]``, exact for small ones too.

    ``2 asin(|xhat - yhat| / 2)``, and for obtuse angles ``pi - 2 asin(|xhat + yhat| / 2)``: the arc cosine
    would lose half of the digits where vectors are almost parallel.
    """
    a, b = unit(x), unit(y)
    near, far = ((a - b).norm(dim=-1) / 2).clamp(max=1), ((a + b).norm(dim=-1) / 2).clamp(max=1)
    return torch.where(near <= far, 2 * near.asin(), torch.pi - 2 * far.asin())


def convergence(states: torch.Tensor) -> torch.Tensor:
    """Directional convergence ``gamma_l = <xhat_l, xhat_L>`` of ``[state, ..., dim]``: ``[state, ...]``.

    Of arXiv 2512.19941; 1 at the last state.
    """
    directions = unit(states)
    return (directions * directions[-1]).sum(-1).clamp(-1, 1)


def speed(states: torch.Tensor) -> torch.Tensor:
    """Angular speed, the angle between each state and the next: ``[state - 1, ...]`` (arXiv 2512.19941)."""
    return angle(states[1:], states[:-1])


def mean_resultant(x: torch.Tensor) -> torch.Tensor:
    """``|mean_t xhat_t|`` of ``[..., token, dim]``: 1 where all point one way, about ``T^-1/2`` at random.

    Of updates it is the coherence ``kappa`` (the term is that of arXiv 2512.19941, the formula our own
    definition), of states the mean resultant length of directional statistics.
    """
    return unit(x).mean(-2).norm(dim=-1)


def update_spectra(states: torch.Tensor) -> torch.Tensor:
    """Singular values of the updates of ``[state, ..., token, dim]``: ``[state - 1, ..., min(token, dim)]``.

    In float64, by the Gram matrix of the smaller side; the ranks of them are in `steerlab.numerics.ranks`.
    """
    steps = states.double().diff(dim=0)
    wide = steps.shape[-1] > steps.shape[-2]
    gram = steps @ steps.mT if wide else steps.mT @ steps
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(-1)


def basin_separation(x: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean angle between states ``[sample, dim]`` of different classes over that inside classes.

    Above 1 where classes lie apart (our own definition); nan where a class is missing its pair.
    """
    angles = angle(x[:, None], x[None, :]).double()
    same = labels[:, None] == labels[None, :]
    alone = torch.eye(len(x), dtype=torch.bool, device=x.device)
    return float(angles[~same].mean() / angles[same & ~alone].mean())


def nearest_mean(x: torch.Tensor, labels: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    """Labels ``[test]`` of vectors ``[test, dim]`` by the class whose mean direction is nearest in angle."""
    classes = labels.unique()
    means = torch.stack([unit(x[labels == one]).mean(0) for one in classes])
    return classes[(unit(test) @ unit(means).T).argmax(-1)]


def tangent_step(x: torch.Tensor, size: float, generator: torch.Generator) -> torch.Tensor:
    """``x + size * |x| * v`` with a random unit ``v`` that is orthogonal to ``x``, for ``[..., dim]``.

    It turns ``x`` by ``atan(size)``.
    """
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    direction = unit(x)
    noise = noise - (noise * direction).sum(-1, keepdim=True) * direction
    return x + size * x.norm(dim=-1, keepdim=True) * unit(noise)
