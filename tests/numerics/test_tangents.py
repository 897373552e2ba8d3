"""The sphere's maps: one undoes the other, lengths are angles, slopes are those of autograd."""

from __future__ import annotations

import planted
import pytest
import torch

from steerlab.numerics.geometry import unit
from steerlab.numerics.tangents import from_tangent, mean_direction, pushed, to_tangent


@pytest.fixture
def sphere():
    """Thirty directions in six dimensions around a base of their own."""
    g = planted.generator(0)
    points = unit(planted.randn(30, 6, g=g) + 1.0)
    return points, mean_direction(points)


def test_there_and_back(sphere):
    points, base = sphere
    flat = to_tangent(points, base)
    assert float((flat @ base).abs().max()) < 1e-15
    torch.testing.assert_close(from_tangent(flat, base), points, atol=1e-14, rtol=0)
    torch.testing.assert_close(flat.norm(dim=-1), (points @ base).acos(), atol=1e-12, rtol=0)
    assert float((from_tangent(3 * flat, base).norm(dim=-1) - 1).abs().max()) < 1e-14


@pytest.mark.parametrize("angle", [0.0, 1e-15, 1e-9, 1e-5, 0.3, 3.0])
def test_angles_keep_their_digits_near_the_base(sphere, angle):
    _, base = sphere
    across = unit(torch.tensor([1.0, -1.0, 0, 0, 0, 0], dtype=torch.float64))
    across = unit(across - (across @ base) * base)
    flat = to_tangent(from_tangent(angle * across, base), base)
    torch.testing.assert_close(flat, angle * across, atol=1e-15, rtol=1e-6)


def test_a_whole_turn_comes_back(sphere):
    points, base = sphere
    flat = unit(to_tangent(points, base))
    torch.testing.assert_close(
        from_tangent(2 * torch.pi * flat, base), base.expand(30, 6), atol=1e-14, rtol=0
    )


def test_slopes_are_those_of_autograd(sphere):
    points, base = sphere
    flat = to_tangent(points, base)
    moves = to_tangent(points.roll(1, 0), base)
    _, wanted = torch.autograd.functional.jvp(lambda t: from_tangent(t, base), flat, moves)
    torch.testing.assert_close(pushed(flat, moves, base), wanted, atol=1e-13, rtol=0)
    torch.testing.assert_close(pushed(0 * flat, moves, base), moves, atol=1e-14, rtol=0)


def test_points_that_cancel_have_no_mean():
    with pytest.raises(ValueError, match="cancel"):
        mean_direction(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
