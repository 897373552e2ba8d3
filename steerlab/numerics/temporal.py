"""How much of an activation its past holds: variance explained, rank, memory, and how codes follow events."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerlab.numerics.similarity import Moments, linear_cka


def explained_by_past(x: torch.Tensor, token: int, window: int) -> tuple[float, float]:
    """Share of the variance of a token's activations that lies in the span of those just before it.

    ``sum_d var(c_d) / sum_d var(x_d)`` over centred samples, ``c`` the projection of ``x_t`` on the row space
    of ``x_{t-w} .. x_{t-1}`` (arXiv 2511.01836).

    Parameters
    ----------
    x : Tensor
        ``[sample, token, dim]``.
    token, window : int
        ``t`` and ``w``.

    Returns
    -------
    share, floor : float
        The floor is ``min(w, d) / d``, what isotropic noise without any memory gives; what counts is the
        excess over it.
    """
    if not 1 <= window <= token < x.shape[1]:
        raise ValueError(f"token {token} of {x.shape[1]} has no {window} tokens before it")
    whole = x.double() - x.double().mean(0)
    past, own = whole[:, token - window : token], whole[:, token]
    _, s, vh = torch.linalg.svd(past, full_matrices=False)
    on = s > 1e-10 * s[:, :1]
    parts = (vh @ own[..., None])[..., 0] * on
    projected = (parts[:, None] @ vh)[:, 0]
    share = projected.var(0).sum() / own.var(0).sum()
    return float(share), min(window, x.shape[-1]) / x.shape[-1]


def u_statistic(x: torch.Tensor) -> float:
    """Effective rank ``(M^2 - M) / (|G|^2 - M)`` of `M` activations, `G` the Gram matrix of unit vectors.

    Without its diagonal the estimate of ``1 / tr(C^2)`` has no bias (arXiv 2511.01836).

    Parameters
    ----------
    x : Tensor
        ``[sample, dim]``.
    """
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    count = len(unit)
    small = unit.T @ unit if unit.shape[1] < count else unit @ unit.T
    return float((count**2 - count) / (small.square().sum() - count))


def autocorrelation(x: torch.Tensor, lags: Sequence[int]) -> torch.Tensor:
    """Mean cosine of activations `lag` tokens apart, ``[lag]``; `x` is ``[sample, token, dim]``."""
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    return torch.stack([(unit[:, lag:] * unit[:, : -lag or None]).sum(-1).mean() for lag in lags])


def permuted(x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A surrogate without time: the tokens of each sequence of ``[sample, token, dim]`` in another order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(x.shape[:2], generator=generator).argsort(1).to(x.device)
    return x.gather(1, order[..., None].expand_as(x))


def stationary(similarity: torch.Tensor) -> torch.Tensor:
    """A surrogate without events: each diagonal of similarities ``[token, token]`` replaced by its mean."""
    count = len(similarity)
    lag = torch.arange(count)[None] - torch.arange(count)[:, None] + count - 1
    lag = lag.to(similarity.device).flatten()
    sums = similarity.new_zeros(2 * count - 1).index_add(0, lag, similarity.flatten())
    counts = similarity.new_zeros(2 * count - 1).index_add(0, lag, torch.ones_like(similarity).flatten())
    return (sums / counts)[lag].view(count, count)


def centred_cosines(codes: torch.Tensor) -> torch.Tensor:
    """Cosines of the codes ``[token, atom]`` less their mean over tokens, ``[token, token]``."""
    unit = torch.nn.functional.normalize(codes.double() - codes.double().mean(0), dim=-1)
    return unit @ unit.T


def event_contrast(similarity: torch.Tensor, events: torch.Tensor) -> float:
    """Mean similarity of two tokens of one event, less that of tokens of different events.

    Parameters
    ----------
    similarity : Tensor
        ``[token, token]``.
    events : Tensor
        Which event each token belongs to, ``[token]``; below 0 for none.
    """
    some = events >= 0
    similarity, events = similarity[some][:, some], events[some]
    same = events[:, None] == events[None]
    apart = ~torch.eye(len(events), dtype=torch.bool, device=same.device)
    if not bool((same & apart).any()) or bool(same.all()):
        raise ValueError("events need two tokens of one event, and two events")
    return float(similarity[same & apart].mean() - similarity[~same].mean())


def event_score(codes: torch.Tensor, events: torch.Tensor) -> float:
    """Mean cosine of centred codes of two tokens of one event, less that of different events.

    As in arXiv 2511.01836. Since tokens that are near are alike, what counts is the excess over the
    `event_contrast` of the `stationary` similarities.

    Parameters
    ----------
    codes : Tensor
        ``[token, atom]``.
    events : Tensor
        Which event each token belongs to, ``[token]``; below 0 for none.
    """
    return event_contrast(centred_cosines(codes), events)


def slow_and_fast(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A sequence ``[token, dim]`` in two parts, split at the frequency where its energy halves.

    The mean over tokens is taken off first; it belongs to no frequency. The parts sum to what is left.
    """
    whole = torch.fft.rfft(x.double() - x.double().mean(0), dim=0)
    energy = whole.abs().square().sum(-1)
    twice = torch.full_like(energy, 2.0)
    twice[0] = 1.0
    if len(x) % 2 == 0:
        twice[-1] = 1.0
    held = (energy * twice).cumsum(0)
    slow = torch.arange(len(held), device=x.device) <= int((held >= held[-1] / 2).long().argmax())
    parts = [torch.fft.irfft(whole * mask[:, None], n=len(x), dim=0) for mask in (slow, ~slow)]
    return parts[0], parts[1]


def slow_fast_cka(codes: torch.Tensor, x: torch.Tensor) -> tuple[float, float]:
    """Linear CKA of codes ``[token, atom]`` with the slow and with the fast part of ``[token, dim]``."""
    slow, fast = slow_and_fast(x)
    moments = Moments.of([codes.double(), slow, fast])
    return linear_cka(moments, 0, 1), linear_cka(moments, 0, 2)


def tortuosity(x: torch.Tensor) -> float:
    """Length of the way through ``[token, dim]`` over the distance of its ends; 1 for a straight line.

    arXiv 2511.01836 reads it off a plot of three dimensions; in the space itself is our own definition.
    """
    return float(x.double().diff(dim=0).norm(dim=-1).sum() / (x[-1] - x[0]).double().norm())


def energy_share(predicted: torch.Tensor, novel: torch.Tensor) -> torch.Tensor:
    """``|p|^2 / (|p|^2 + |n|^2)`` of two parts ``[..., dim]``, ``[...]``."""
    first, second = predicted.square().sum(-1), novel.square().sum(-1)
    return first / (first + second).clamp_min(1e-30)
