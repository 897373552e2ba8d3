"""Blindspot scores at their fixed points, and planted blindspots found among many concepts."""

from __future__ import annotations

import math

import planted
import pytest
import torch

from steerlab.numerics.blindspots import blindspots, pooled_deviation


def test_equal_sets_score_one_half_and_ln_nine_is_the_threshold():
    real = planted.rand(20, 3, g=planted.generator(0))
    assert blindspots(real, real).delta.tolist() == [0.5] * 3
    shift = torch.tensor([math.log(9), -math.log(9), 0.0], dtype=torch.float64)
    delta = blindspots(real + shift, real).delta
    torch.testing.assert_close(delta, torch.tensor([0.9, 0.1, 0.5]).double())
    just = blindspots(real + 1.001 * shift, real)
    assert just.exaggerated.tolist() == [True, False, False]
    assert just.suppressed.tolist() == [False, True, False]
    assert not blindspots(real + 0.999 * shift, real).exaggerated.any()


def test_swapping_the_sets_mirrors_the_score():
    g = planted.generator(1)
    a, b = planted.randn(30, 8, g=g), planted.randn(50, 8, g=g) + 0.5
    torch.testing.assert_close(blindspots(a, b).delta, 1 - blindspots(b, a).delta)
    torch.testing.assert_close(blindspots(a, b).p, blindspots(b, a).p)


def test_the_score_depends_on_units_unless_a_scale_carries_them():
    g = planted.generator(2)
    a, b = planted.randn(400, 4, g=g) + 1, planted.randn(400, 4, g=g)
    assert float((blindspots(a, b).delta - blindspots(100 * a, 100 * b).delta).abs().min()) > 0.2
    scaled = blindspots(100 * a, 100 * b, scale=pooled_deviation(100 * a, 100 * b))
    torch.testing.assert_close(scaled.delta, blindspots(a, b, scale=pooled_deviation(a, b)).delta)
    torch.testing.assert_close(scaled.delta, torch.full((4,), 1.0).double().sigmoid(), atol=0.05, rtol=0)
    assert scaled.scale.shape == (4,) and float(scaled.scale[0]) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("rounds", [0, 1999])
def test_planted_blindspots_are_found_and_little_else(rounds):
    g = planted.generator(3)
    real, generated = (planted.randn(200, 60, g=g) for _ in range(2))
    generated[:, 3] -= 3
    generated[:, 7] += 3
    generated[:, 11] += 0.6  # real, but too small to be called exaggerated
    got = blindspots(generated, real, rounds=rounds)
    assert got.suppressed.nonzero().flatten().tolist() == [3]
    assert got.exaggerated.nonzero().flatten().tolist() == [7]
    found = set(got.significant().nonzero().flatten().tolist())
    assert {3, 7, 11} <= found and len(found) <= 5


def test_a_scale_is_positive_and_silent_atoms_get_one():
    silent = torch.zeros(4, 2)
    assert pooled_deviation(silent, silent).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="positive"):
        blindspots(silent, silent, scale=0.0)
