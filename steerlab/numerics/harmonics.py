"""Harmonics of a closed curve in activation space, and what noise of the same energy would give."""

from __future__ import annotations

import torch


def harmonics(curve: torch.Tensor) -> torch.Tensor:
    """Share of the power that each harmonic has, ``[mode]`` from mode 1 on, in float64.

    A real Fourier transform of every coordinate of ``m(theta)`` at equally spaced angles of one period,
    its power summed over coordinates, without the mean (Fel, Kowal et al., Structuring Sparsity).

    Parameters
    ----------
    curve : Tensor
        ``[angle, dim]``.
    """
    count = len(curve)
    power = torch.fft.rfft(curve.double(), dim=0).abs().square().sum(-1)
    power[1:] *= 2  # every mode stands for its mirror, too
    if count % 2 == 0:
        power[-1] /= 2
    return power[1:] / power[1:].sum()


def noise_about_first(curve: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The curve with everything but its mean and first harmonic replaced by white noise of that energy.

    ``[angle, dim]``. Sent through the same block, its harmonics are what a block makes of a pure circle
    and noise: the null of `harmonics` in the same paper.
    """
    wide = curve.double()
    waves = torch.fft.rfft(wide, dim=0)
    waves[2:] = 0
    smooth = torch.fft.irfft(waves, n=len(curve), dim=0)
    energy = (wide - smooth).square().sum()
    noise = torch.randn(curve.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (smooth + noise * (energy / noise.square().sum()).sqrt()).to(curve.dtype)
