"""Splines against scipy's, against circles whose figures are known, and at seams and ends."""

from __future__ import annotations

import math

import planted
import pytest
import torch
from scipy.interpolate import CubicSpline, make_smoothing_spline

from steerlab.numerics.splines import Spline

TURN = 2 * math.pi


def assert_close(made, wanted, atol=1e-12):
    torch.testing.assert_close(made, torch.as_tensor(wanted), atol=atol, rtol=0)


@pytest.fixture
def scattered():
    """Nine knots, their values in three dimensions, and weights."""
    g = planted.generator(0)
    return 5 * planted.rand(9, g=g).sort().values, planted.randn(9, 3, g=g), planted.rand(9, g=g) + 0.5


@pytest.mark.parametrize("order", [0, 1, 2])
def test_inside_the_knots_it_is_the_spline_of_scipy(scattered, order):
    knots, values, _ = scattered
    t = torch.linspace(float(knots[0]), float(knots[-1]), 101, dtype=torch.float64)
    natural = CubicSpline(knots.numpy(), values.numpy(), bc_type="natural")
    assert_close(Spline(knots).matrix(t, order) @ values, natural(t.numpy(), order), 1e-9)
    around = torch.linspace(-7.0, 20.0, 101, dtype=torch.float64)
    ends, closed = torch.cat([knots, knots[:1] + 6]), torch.cat([values, values[:1]])
    periodic = CubicSpline(ends.numpy(), closed.numpy(), bc_type="periodic")
    assert_close(Spline(knots, 6.0).matrix(around, order) @ values, periodic(around.numpy(), order), 1e-9)


def test_outside_a_natural_spline_goes_on_straight(scattered):
    knots, values, _ = scattered
    spline = Spline(knots)
    for end, outside in ((knots[:1], knots[:1] - 2.5), (knots[-1:], knots[-1:] + 2.5)):
        line = spline.matrix(end) @ values + (outside - end) * (spline.matrix(end, 1) @ values)
        assert_close(spline.matrix(outside) @ values, line)
        assert_close(spline.matrix(outside, 1) @ values, spline.matrix(end, 1) @ values)
        assert float((spline.matrix(outside, 2) @ values).abs().max()) < 1e-11


@pytest.mark.parametrize("order", [0, 1, 2])
def test_at_the_seam_value_slope_and_bend_agree(scattered, order):
    knots, values, _ = scattered
    spline, seam = Spline(knots, 6.0), knots[:1]
    before, after = (spline.matrix(seam + d, order) @ values for d in (6 - 1e-9, 1e-9))
    assert_close(before, after, 1e-5)
    assert_close(spline.matrix(knots + 6, order), spline.matrix(knots, order), 1e-10)


@pytest.mark.parametrize(
    ("count", "off", "length"),
    [(5, 9.4e-3, 0.99516), (7, 2.05e-3, 0.99893), (12, 2.1e-4, 0.99989), (24, 1.2e-5, 0.999993)],
)
def test_through_points_of_a_circle_it_is_nearly_the_circle(count, off, length):
    knots = torch.arange(count, dtype=torch.float64) * TURN / count
    points = torch.stack([knots.cos(), knots.sin()], -1)
    t = torch.linspace(0, TURN, 20001, dtype=torch.float64)
    curve = Spline(knots, TURN).matrix(t) @ points
    assert float((curve.norm(dim=1) - 1).abs().max()) == pytest.approx(off, rel=0.04)
    assert float(curve.diff(dim=0).norm(dim=1).sum()) / TURN == pytest.approx(length, abs=6e-6)


def test_knots_of_a_circle_in_a_wrong_order_make_a_long_curve_that_cuts_it():
    knots = torch.arange(7, dtype=torch.float64) * TURN / 7
    wrong = knots[torch.tensor([0, 1, 3, 6, 4, 2, 5])]
    t = torch.linspace(0, TURN, 20001, dtype=torch.float64)
    curve, right = (
        Spline(knots, TURN).matrix(t) @ torch.stack([at.cos(), at.sin()], -1) for at in (wrong, knots)
    )
    assert float(curve.norm(dim=1).min()) == pytest.approx(0.22, abs=0.005)
    ratio = curve.diff(dim=0).norm(dim=1).sum() / right.diff(dim=0).norm(dim=1).sum()
    assert float(ratio) == pytest.approx(1.92, abs=0.005)


@pytest.mark.parametrize(("jitter", "figure"), [(0.1, 5.4e-3), (0.2, 1.0e-2)])
def test_knots_that_are_not_equally_spaced_cost_little(jitter, figure):
    t, off = torch.linspace(0, TURN, 2001, dtype=torch.float64), []
    for seed in range(20):
        moved = jitter * (2 * planted.rand(7, g=planted.generator(seed)) - 1)
        knots = torch.arange(7, dtype=torch.float64) * TURN / 7 + moved
        curve = Spline(knots, TURN).matrix(t) @ torch.stack([knots.cos(), knots.sin()], -1)
        off.append(float((curve.norm(dim=1) - 1).abs().max()))
    # the figure of the methods is one draw of it
    assert min(off) < figure < 1.2 * max(off) and max(off) < 1.3 * figure


@pytest.mark.parametrize("smooth", [0.01, 0.3, 20.0])
def test_smoothing_is_that_of_scipy(scattered, smooth):
    knots, values, weights = scattered
    made = Spline(knots).smoother(smooth, weights) @ values
    reference = make_smoothing_spline(knots.numpy(), values.numpy(), weights.numpy(), lam=smooth)
    assert_close(made, reference(knots.numpy()), 1e-9)


def test_smoothing_over_a_period_shrinks_waves_as_their_bends_ask():
    knots = torch.arange(24, dtype=torch.float64) * TURN / 24
    spline = Spline(knots, TURN)
    for wave in (1, 2, 5):
        values = (wave * knots).cos()
        bent = float(values @ spline.roughness() @ values)
        assert bent == pytest.approx(math.pi * wave**4, rel=2e-2)
        shrunk = values @ values / (values @ values + 0.7 * bent)
        assert_close(spline.smoother(0.7) @ values, shrunk * values, 1e-10)
    assert_close(spline.smoother(0.0), torch.eye(24, dtype=torch.float64))


def test_gradients_reach_values_and_places(scattered):
    knots, values, _ = scattered
    values.requires_grad_()
    t = torch.tensor([-1.0, 0.7, 2.0, 9.0], dtype=torch.float64, requires_grad=True)
    for spline in (Spline(knots), Spline(knots, 6.0)):
        assert torch.autograd.gradcheck(lambda t, v, s=spline: s.matrix(t) @ v, (t, values))
        (given,) = torch.autograd.grad((spline.matrix(t) @ values).sum(), t)
        assert_close(given, (spline.matrix(t.detach(), 1) @ values).sum(-1).detach(), 1e-9)


@pytest.mark.parametrize(
    ("knots", "period", "message"),
    [
        ([0.0, 2.0, 1.0], None, "ascend"),
        ([0.0, 1.0, 1.0], None, "no two are one"),
        ([0.0, 1.0], 3.0, "3 or more"),
        ([0.0, 1.0, 2.0], 2.0, "period=2 is not longer"),
    ],
)
def test_what_carries_no_spline_is_refused(knots, period, message):
    with pytest.raises(ValueError, match=message):
        Spline(torch.tensor(knots), period)


def test_smoothing_that_is_none_is_refused():
    with pytest.raises(ValueError, match="from 0 on"):
        Spline(torch.arange(3.0)).smoother(-1.0)
    with pytest.raises(ValueError, match="above 0"):
        Spline(torch.arange(3.0)).smoother(1.0, torch.zeros(3))
