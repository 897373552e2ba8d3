"""Charts and the surfaces on them: nearest places against brute force, ways round, lengths of circles."""

from __future__ import annotations

import math

import planted
import pytest
import torch

from steerlab.numerics.charts import Chart
from steerlab.numerics.surfaces import flat

TURN = 2 * math.pi
WEEK = torch.arange(7, dtype=torch.float64)[:, None] * TURN / 7


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_columns_keep_the_order_of_the_values_whatever_that_of_the_knots():
    knots = WEEK[torch.tensor([3, 0, 5, 1, 6, 2, 4])] + 40.0
    chart = Chart(knots, (TURN,))
    torch.testing.assert_close(chart.matrix(knots), torch.eye(7, dtype=torch.float64), atol=1e-12, rtol=0)
    values = torch.cat([knots.cos(), knots.sin()], -1)
    at = f64(0.3, 2.0, 5.5)[:, None]
    circle = torch.cat([at.cos(), at.sin()], -1)
    assert float((chart.matrix(at) @ values - circle).abs().max()) < 2.5e-3
    line = Chart(f64(2.0, 0.0, 1.0)[:, None], (None,))
    torch.testing.assert_close(line.matrix(f64(0.5)[:, None]) @ f64(4.0, 0.0, 2.0), f64(1.0))


def test_smoothed_values_come_in_their_own_order_too():
    g = planted.generator(0)
    order, y = torch.randperm(9, generator=g), planted.randn(9, 2, g=g)
    knots = torch.arange(9, dtype=torch.float64)[:, None] ** 1.3
    weights = planted.rand(9, g=g) + 0.5
    at = planted.rand(20, 1, g=g) * 15
    sorted_ = Chart(knots, (None,), 0.4, weights).matrix(at) @ y
    mixed = Chart(knots[order], (None,), 0.4, weights[order]).matrix(at) @ y[order]
    torch.testing.assert_close(mixed, sorted_, atol=1e-10, rtol=0)
    assert float((sorted_ - Chart(knots, (None,)).matrix(at) @ y).abs().max()) > 0.1


def test_ways_round_are_short_and_half_a_turn_goes_back():
    chart = Chart(torch.cat([WEEK, torch.arange(7.0)[:, None] ** 2], 1), (TURN, None))
    start = f64([0.1, 2.0], [6.2, 0.0], [1.0, 1.0], [0.0, 0.0])
    end = f64([6.2, 9.0], [0.1, 5.0], [3.0, 0.0], [math.pi, 0.0])
    expected = f64([6.1 - TURN, 7.0], [TURN - 6.1, 5.0], [2.0, -1.0], [-math.pi, 0.0])
    torch.testing.assert_close(chart.shift(start, end), expected)
    torch.testing.assert_close(chart.wrapped(f64([-1.0, -1.0])), f64([TURN - 1.0, -1.0]))


@pytest.fixture(params=["ring", "line"])
def curve(request):
    """A curve in five dimensions that comes near itself, with its values."""
    g = planted.generator(2)
    if request.param == "ring":
        return flat(Chart(WEEK, (TURN,)), 2 * planted.randn(7, 5, g=g))
    return flat(Chart(torch.arange(9.0)[:, None], (None,)), 2 * planted.randn(9, 5, g=g))


def test_the_nearest_place_is_that_of_brute_force(curve):
    points = 3 * planted.randn(200, 5, g=planted.generator(3))
    low, high = curve.chart.bounds()
    dense = torch.linspace(float(low), float(high), 40001, dtype=torch.float64)[:, None]
    brute = torch.cdist(points, curve.at(dense)).amin(1)
    places = curve.nearest(points)
    made = (points - curve.at(places)).norm(dim=1)
    assert float((made - brute).max()) < 1e-9  # never further than the best of 40 001
    inside = ((places > low + 1e-9) & (places < high - 1e-9))[:, 0]
    slope = curve.slopes(places)[:, 0]
    pull = ((points - curve.at(places)) * slope).sum(-1) / slope.norm(dim=-1)
    assert float(pull[inside].abs().max()) < 1e-9 and float(inside.double().mean()) > 0.8


def test_in_single_precision_too_and_in_any_shape(curve):
    points = 3 * planted.randn(4, 6, 5, g=planted.generator(3))
    whole = curve.nearest(points)
    single = curve.nearest(points.float())
    assert single.dtype == torch.float32 and single.shape == (4, 6, 1)
    away = curve.chart.shift(whole, single.double()).abs()
    assert float(away.max()) < 1e-4
    assert curve.nearest(points[:0]).shape == (0, 6, 1)


def test_what_lies_on_the_curve_is_its_own_place(curve):
    places = curve.chart.wrapped(f64(0.2, 1.7, 3.3, 5.9, 6.1)[:, None])
    back = curve.chart.shift(places, curve.nearest(curve.at(places)))
    assert float(back.abs().max()) < 1e-9


def test_the_gradient_is_that_of_the_nearest_place(curve):
    points = 3 * planted.randn(6, 5, g=planted.generator(7))
    low, high = curve.chart.bounds()
    places = curve.nearest(points)
    points = points[((places > low + 0.01) & (places < high - 0.01))[:, 0]]
    assert len(points) >= 3
    points.requires_grad_()
    (slope,) = torch.autograd.grad(curve.nearest(points).sum(), points)
    direction = planted.randn(*points.shape, g=planted.generator(8))
    step = 1e-6
    moved = [curve.nearest(points.detach() + s * step * direction) for s in (1, -1)]
    finite = curve.chart.shift(*reversed(moved))[:, 0] / (2 * step)
    torch.testing.assert_close((slope * direction).sum(-1), finite, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("periods", [(None, None), (TURN, None)])
def test_on_a_surface_the_nearest_place_is_found(periods):
    around = torch.arange(8, dtype=torch.float64) * TURN / 8
    knots = torch.cartesian_prod(around, torch.arange(4, dtype=torch.float64))
    values = torch.stack([2 * knots[:, 0].cos(), 2 * knots[:, 0].sin(), 1.5 * knots[:, 1]], -1)
    surface = flat(Chart(knots, periods), values)
    g = planted.generator(4)
    places = planted.rand(40, 2, g=g) * f64(around[-1], 3.0)
    back = surface.nearest(surface.at(places))
    assert float(surface.chart.shift(places, back).abs().max()) < 1e-6
    off = surface.at(places) + 0.3 * planted.randn(40, 3, g=g)
    fine = surface.at(torch.cartesian_prod(*[torch.linspace(-1, 7, 100, dtype=torch.float64)] * 2))
    made = (off - surface.at(surface.nearest(off))).norm(dim=1)
    low, high = surface.chart.bounds()
    inside = ((surface.nearest(off) > low + 1e-6) & (surface.nearest(off) < high - 1e-6)).all(-1)
    assert float((made - torch.cdist(off, fine).amin(1))[inside].max()) < 1e-4


def test_lengths_of_ways_on_a_circle():
    knots = torch.arange(48, dtype=torch.float64)[:, None] * TURN / 48
    ring = flat(Chart(knots, (TURN,)), 3 * torch.cat([knots.cos(), knots.sin()], -1))
    start, shift = f64(0.0, 6.0, 2.0)[:, None], f64(1.0, 1.0, -0.5)[:, None]
    torch.testing.assert_close(ring.arc_length(start, shift), f64(3.0, 3.0, 1.5), atol=1e-4, rtol=0)


def test_a_chart_without_its_periods_is_refused():
    with pytest.raises(ValueError, match="a period or None an axis"):
        Chart(WEEK, (None, None))
    with pytest.raises(ValueError, match="for curves"):
        Chart(torch.eye(3)[:, :2], (None, None), 1.0, torch.ones(3))
