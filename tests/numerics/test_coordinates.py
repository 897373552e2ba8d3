"""Angles, lines and topologies of values that were put there."""

from __future__ import annotations

import math

import planted
import pytest
import torch

from steerlab.numerics.coordinates import angles, ascending, between_share, suggested

TURN = 2 * math.pi
WEEK = torch.arange(7, dtype=torch.float64) * TURN / 7


def wrapped(d):
    return torch.remainder(d + math.pi, TURN) - math.pi


def circle(at):
    return torch.stack([at.cos(), at.sin()], -1)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("start", [0.0, 1.0, 4.0])
def test_angles_ascend_with_labels_from_anywhere_and_either_way_up(start, mirror):
    plane = circle(mirror * WEEK + start) * torch.tensor([3.0, 0.2]) + torch.tensor([5.0, -1.0])
    steps = wrapped(angles(plane).diff())
    torch.testing.assert_close(steps, torch.full((6,), TURN / 7, dtype=torch.float64))


def test_mean_and_spread_are_taken_out_first():
    squashed = circle(WEEK) * torch.tensor([1.0, 0.1]) + 2.0
    bare = torch.atan2(squashed[:, 1], squashed[:, 0])
    assert float(wrapped(angles(squashed).diff()).std()) < 1e-12 < 0.1 < float(wrapped(bare.diff()).std())


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_line_ascends_too(sign):
    line = torch.tensor([0.0, 2.0, 1.0, 3.0, 9.0, 8.5, 10.0])
    torch.testing.assert_close(ascending(sign * line), line)


def test_what_does_not_differ_has_no_angle():
    with pytest.raises(ValueError, match="no angle"):
        angles(torch.stack([WEEK, torch.zeros(7)], -1))


def embedded(*parts, noise=0.01):
    """Values in sixteen dimensions that nothing names, from their own coordinates."""
    g = planted.generator(0)
    own = torch.cat(parts, -1)
    frame = torch.linalg.qr(planted.randn(16, 16, g=g)).Q[: own.shape[1]]
    return own @ frame + noise * planted.randn(len(own), 16, g=g) + 3.0


def test_a_ring_is_told_from_a_line():
    ring, periods = suggested(embedded(10 * circle(WEEK)))
    assert periods == (TURN,)
    torch.testing.assert_close(
        wrapped(ring[:, 0].diff()), torch.full((6,), TURN / 7, dtype=torch.float64), atol=0.01, rtol=0
    )
    ages = torch.arange(20, dtype=torch.float64)[:, None]
    line, periods = suggested(embedded(ages, 0.05 * ages**2))
    assert periods == (None,) and bool((line[:, 0].diff() > 0).all())


def test_a_ring_below_a_longer_line_is_found_among_the_components_of_two_axes():
    across, around = torch.cartesian_prod(torch.arange(5.0), torch.arange(8.0)).double().unbind(-1)
    tube = embedded(5 * circle(around * TURN / 8), 6 * across[:, None])
    found, periods = suggested(tube, axes=2)
    assert periods == (TURN, None)
    again = wrapped(found[:, 0] - around * TURN / 8)
    turned = wrapped(again - again[0]) if float(wrapped(again - again[0]).abs().max()) < 1 else None
    assert turned is not None and float(turned.abs().max()) < 0.02
    assert float(torch.corrcoef(torch.stack([found[:, 1], across]))[0, 1]) > 0.999


def test_two_rings_make_a_torus():
    a, b = torch.cartesian_prod(torch.arange(5.0), torch.arange(8.0)).double().unbind(-1)
    _, periods = suggested(embedded(5 * circle(b * TURN / 8), 3 * circle(a * TURN / 5)), axes=2)
    assert periods == (TURN, TURN)


def test_values_of_one_line_have_no_two_coordinates():
    with pytest.raises(ValueError, match="do not differ enough"):
        suggested(torch.ones(5, 3))
    with pytest.raises(ValueError, match="do not differ enough"):
        suggested(torch.arange(5.0)[:, None], axes=2)


def test_the_share_between_values_is_that_of_an_analysis_of_variance():
    g = planted.generator(1)
    labels = torch.arange(4).repeat(25)
    x = planted.randn(100, 2, g=g) + 2.0 * labels[:, None]
    means = torch.stack([x[labels == one].mean(0) for one in range(4)])
    within = (x - means[labels]).square().sum() / (x - x.mean(0)).square().sum()
    assert between_share(x, labels) == pytest.approx(1 - float(within))
    assert between_share(planted.randn(100, 2, g=g), labels) < 0.1
