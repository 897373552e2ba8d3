"""Thin plates against scipy's, on affine data, on a sphere, and around tubes and tori."""

from __future__ import annotations

import math

import planted
import pytest
import torch
from scipy.interpolate import RBFInterpolator

from steerlab.numerics.plates import Plate
from steerlab.numerics.splines import Spline

TURN = 2 * math.pi
KERNELS = {1: "cubic", 2: "thin_plate_spline", 3: "linear"}


def assert_close(made, wanted, atol=1e-12):
    torch.testing.assert_close(made, torch.as_tensor(wanted), atol=atol, rtol=0)


def grid(*axes):
    return torch.cartesian_prod(*(torch.as_tensor(a, dtype=torch.float64) for a in axes))


def steps(count, end=1.0, closed=True):
    return torch.linspace(0, end, count + (not closed), dtype=torch.float64)[:count]


@pytest.mark.parametrize("smooth", [0.0, 0.1])
@pytest.mark.parametrize("axes", KERNELS)
def test_without_periods_it_is_the_plate_of_scipy_on_scaled_coordinates(axes, smooth):
    g = planted.generator(axes)
    knots, values, places = (
        7 * planted.rand(30, axes, g=g) - 2,
        planted.randn(30, 2, g=g),
        9 * planted.rand(40, axes, g=g) - 3,
    )
    low, reach = knots.amin(0), knots.amax(0) - knots.amin(0)
    scaled, at = ((knots - low) / reach).numpy(), ((places - low) / reach).numpy()
    wanted = RBFInterpolator(scaled, values.numpy(), smoothing=smooth, kernel=KERNELS[axes], degree=1)(at)
    assert_close(Plate(knots, smooth=smooth).matrix(places) @ values, wanted, 1e-7)


def test_affine_data_come_back_with_no_kernel_at_all():
    knots = grid(steps(5), steps(5))
    values = knots @ torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64) + 4
    plate, places = Plate(knots), 3 * grid(steps(11), steps(11)) - 1
    affine = places @ torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64) + 4
    assert_close(plate.matrix(places) @ values, affine, 1e-12)
    assert float((plate.solution[:25] @ values).abs().max()) < 1e-12


def sphere(u):
    return torch.stack([u[:, 0].cos() * u[:, 1].cos(), u[:, 0].sin() * u[:, 1].cos(), u[:, 1].sin()], dim=-1)


def test_a_patch_of_the_sphere_is_met_to_the_known_figure():
    knots, places = grid(steps(5), steps(5)), grid(steps(101), steps(101))
    error = (Plate(knots).matrix(places) @ sphere(knots) - sphere(places)).abs().max()
    assert float(error) == pytest.approx(9.3e-3, rel=0.01)


def tube(u):
    return torch.stack([u[:, 0].cos(), u[:, 0].sin(), u[:, 1]], dim=-1)


def test_a_periodic_axis_closes_beside_one_that_does_not():
    knots = grid(steps(9, TURN, closed=False), steps(4, 3.0))
    plate = Plate(knots, (TURN, None))
    assert_close(plate.matrix(knots) @ tube(knots), tube(knots), 1e-10)
    around = grid(steps(37, TURN), steps(7, 3.0))
    made = plate.matrix(around) @ tube(knots)
    assert float((made - tube(around)).abs().max()) < 0.06
    turned = around + torch.tensor([TURN, 0.0], dtype=torch.float64)
    assert_close(plate.matrix(turned), plate.matrix(around), 1e-9)
    seam = torch.tensor([[0.0, 1.3]], dtype=torch.float64)
    before, after = (plate.matrix(seam + torch.tensor([d, 0.0])) @ tube(knots) for d in (-1e-9, 1e-9))
    assert float((before - after).abs().max()) < 1e-3
    # without the period the same knots make a surface that is open there
    torn = Plate(knots).matrix(seam + torch.tensor([TURN, 0.0])) @ tube(knots)
    assert float((torn - after).abs().max()) > 0.1


def test_one_periodic_axis_alone_is_the_periodic_spline():
    g = planted.generator(3)
    knots, values = planted.rand(8, g=g).sort().values * 5, planted.randn(8, 3, g=g)
    places = 20 * planted.rand(50, g=g) - 10
    plate = Plate(knots[:, None], (TURN,)).matrix(places[:, None])
    assert_close(plate @ values, Spline(knots, TURN).matrix(places) @ values, 1e-8)


def test_a_torus_closes_along_both_axes_and_may_depend_on_one_alone():
    knots = grid(steps(6, TURN, closed=False), steps(5, 1.0, closed=False))
    plate = Plate(knots, (TURN, 1.0))
    places = grid(steps(19, TURN), steps(11, 1.0))
    assert_close(plate.matrix(knots), torch.eye(30, dtype=torch.float64), 1e-9)
    for turn in ([TURN, 0.0], [0.0, 1.0], [-TURN, 2.0]):
        assert_close(
            plate.matrix(places + torch.tensor(turn, dtype=torch.float64)), plate.matrix(places), 1e-8
        )
    made = plate.matrix(places) @ knots[:, 0].cos()
    assert float((made - places[:, 0].cos()).abs().max()) < 0.01
    rows = made.reshape(19, 11)
    assert float((rows - rows[:, :1]).abs().max()) < 0.01


@pytest.mark.parametrize("periods", [None, (TURN, None), (TURN, TURN)])
def test_its_slopes_are_those_of_autograd(periods):
    knots = grid(steps(5, TURN, closed=False), steps(4, 3.0))
    g = planted.generator(5)
    plate, values = Plate(knots, periods), planted.randn(20, 3, g=g)
    places = (planted.rand(9, 2, g=g) * 3).requires_grad_()
    for along in (0, 1):
        slope = plate.matrix(places.detach(), along) @ values
        for column in range(3):
            (wanted,) = torch.autograd.grad((plate.matrix(places) @ values)[:, column].sum(), places)
            assert_close(slope[:, column], wanted[:, along], 1e-9)
    at_knots = knots.clone().requires_grad_()
    (plate.matrix(at_knots) @ values).sum().backward()
    assert bool(at_knots.grad.isfinite().all())


@pytest.mark.parametrize(
    ("knots", "periods", "smooth", "message"),
    [
        (torch.rand(4, 4), None, 0.0, "one to three axes"),
        (torch.eye(3)[:, :2], (1.0,), 0.0, "each of 2 axes"),
        (torch.eye(3)[:, :2], None, -1.0, "from 0 on"),
        (torch.tensor([[0.0, 1.0], [1.0, 1.0]]), None, 0.0, "along every axis"),
        (torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), None, 0.0, "lie on a line"),
        (torch.tensor([[0.0, 0.0], [1.0, 0.5], [2.0, 2.0], [2.0, 2.0]]), None, 0.0, "two are one"),
    ],
)
def test_what_carries_no_plate_is_refused(knots, periods, smooth, message):
    with pytest.raises(ValueError, match=message):
        Plate(knots, periods, smooth)
