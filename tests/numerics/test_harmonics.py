"""Harmonics of planted curves, and what noise of the same energy gives."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics.harmonics import harmonics, noise_about_first

ANGLES = 2 * math.pi * torch.arange(1800, dtype=torch.float64) / 1800


def curve(shares: list[float]) -> torch.Tensor:
    """Each mode a circle of its own, with this share of the power, far from the origin."""
    waves = [
        share**0.5 * f(mode * ANGLES)
        for mode, share in enumerate(shares, start=1)
        for f in (torch.cos, torch.sin)
    ]
    frame = torch.linalg.qr(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)).double())[0]
    return torch.stack(waves, -1) @ frame[:, : len(waves)].T + 5


def test_planted_shares_come_back():
    found = harmonics(curve([0.589, 0.183, 0.120, 0.072]))
    assert found[:5].tolist() == pytest.approx([0.6110, 0.1898, 0.1245, 0.0747, 0.0], abs=1e-4)
    assert float(found.sum()) == pytest.approx(1.0) and len(found) == 900


def test_the_highest_mode_counts_once():
    """A wave that changes sign at every angle, beside one of equal mean square."""
    signs = torch.tensor([1.0, -1.0]).repeat(900).double()
    both = torch.stack([signs, 2**0.5 * ANGLES.cos()], -1)
    found = harmonics(both)
    assert float(found[0]) == pytest.approx(0.5) and float(found[-1]) == pytest.approx(0.5)


def test_noise_of_56_percent_leaves_the_first_mode_and_an_even_floor():
    planted = curve([0.44, 0.26, 0.18, 0.12])
    null = noise_about_first(planted, seed=1)
    found = harmonics(null)
    assert float(found[0]) == pytest.approx(0.441, abs=0.01)
    assert float(found[1:].mean()) == pytest.approx(0.56 / 900, rel=0.02)
    assert float(found[1:].max()) < 4 * 0.56 / 900  # nothing is left of modes 2 to 4
    energy = [(c - c.mean(0)).square().sum() for c in (planted, null)]
    assert float(energy[0]) == pytest.approx(float(energy[1]), rel=0.02)


def test_through_a_block_noise_outside_it_is_lost():
    planted = curve([0.44, 0.26, 0.18, 0.12])
    frame = torch.linalg.svd(planted - planted.mean(0), full_matrices=False)[2][:8]
    null = noise_about_first(planted)
    inside, whole = (float(harmonics(c)[0]) for c in (null @ frame.T @ frame, null))
    assert inside > whole + 0.15
