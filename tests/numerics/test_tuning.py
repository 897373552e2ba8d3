"""Read-outs of lines and angles: exact where they must be, and chance where nothing is known."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics.tuning import circular_correlation, fit_readout, powers


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_circular_correlation_is_the_double_sum():
    a, b = 6 * uniform(40), 6 * uniform(40, seed=1)
    both = (a[:, None] - a).sin() * (b[:, None] - b).sin()
    own = [((x[:, None] - x).sin().square()).sum() for x in (a, b)]
    assert float(circular_correlation(a, b)) == pytest.approx(float(both.sum() / (own[0] * own[1]).sqrt()))


def test_circular_correlation_of_turned_and_mirrored_angles():
    a = 180 * uniform(500)
    assert float(circular_correlation(a, (a + 77) % 180, 180)) == pytest.approx(1.0)
    assert float(circular_correlation(a, 50 - a, 180)) == pytest.approx(-1.0)
    assert abs(float(circular_correlation(a, 180 * uniform(500, seed=1), 180))) < 0.1


def test_an_angle_is_read_from_a_plane_and_not_from_a_direction():
    angle = math.pi * uniform(2000)
    plane = torch.stack([(2 * angle).cos(), (2 * angle).sin()], -1) @ uniform(2, 2, seed=3) + 4
    train, test = slice(1000), slice(1000, None)
    read = fit_readout(plane[train], angle[train], math.pi)
    assert float(read.score(plane[test], angle[test])) == pytest.approx(1.0, abs=1e-5)
    single = powers(plane[:, 0] - plane[:, 0].mean())
    along = fit_readout(single[train], angle[train], math.pi)
    assert abs(float(along.score(single[test], angle[test]))) < 0.15  # an angle or its mirror image
    assert float(along.explained(single[test], angle[test])) == pytest.approx(0.5, abs=0.05)
    assert float(read.explained(plane[test], angle[test])) == pytest.approx(1.0, abs=1e-4)
    null = fit_readout(plane[train], angle[train].flip(0), math.pi)
    assert abs(float(null.score(plane[test], angle[test].flip(0)))) < 0.15
    assert abs(float(null.explained(plane[test], angle[test]))) < 0.02


def test_lines_are_read_for_many_blocks_at_once():
    value = uniform(600)
    good = torch.stack([value * 3 + 1, uniform(600, seed=1)], -1)
    blocks = torch.stack([good, uniform(600, 2, seed=2), torch.zeros(600, 2, dtype=torch.float64)])
    read = fit_readout(blocks[:, :300], value[:300])
    scores = read.score(blocks[:, 300:], value[300:])
    assert float(scores[0]) == pytest.approx(1.0, abs=1e-5)
    assert abs(float(scores[1])) < 0.1 and abs(float(scores[2])) < 0.05
    wanted = torch.linalg.lstsq(torch.cat([good[:300], torch.ones(300, 1)], 1).double(), value[:300]).solution
    assert torch.allclose(read.weights[0, :, 0], wanted, atol=1e-4)


def test_an_angle_that_does_not_vary_follows_nothing():
    varied = torch.linspace(0, 300, 16)
    assert float(circular_correlation(torch.full((16,), 128.0), varied, 360.0)) == 0.0
    assert float(circular_correlation(varied, torch.full((16,), 128.0), 360.0)) == 0.0
