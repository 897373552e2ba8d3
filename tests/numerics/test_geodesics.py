"""Geodesics where they are known: the half plane, flat space, and a half ring of Gaussians."""

from __future__ import annotations

import math
from functools import cache

import planted_ring
import pytest
import torch
from planted_ring import ring

from steerlab.numerics.conformal import Conformal, rescaled
from steerlab.numerics.geodesics import Descent, evenly, geodesic, measured
from steerlab.numerics.mixtures import Mixture

STRAIGHT = Descent(bows=(0.0,))
ENDS = torch.tensor([[-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
CENTRES = 8 * torch.stack([f(torch.linspace(0, math.pi, 200).double()) for f in (torch.cos, torch.sin)], -1)
CENTRES = CENTRES.contiguous()
HALF_RING = Mixture(CENTRES)
# kind: length of the geodesic, of the straight line, of the arc; mean radius and log density
FIGURES = {
    "inverse_density": (22.20, 287.7, 22.69, 7.72, -4.17),
    "energy": (23.58, 218.7, 24.32, 7.93, -4.15),
}


def half_plane(x):
    return 1 / x[..., 1].square()


def line(a, b, count=100):
    return a + torch.linspace(0, 1, count, dtype=a.dtype)[:, None] * (b - a)


@pytest.mark.parametrize(("points", "length"), [(26, 1.762898), (101, 1.762756)])
def test_in_the_half_plane_it_is_a_circle_of_the_known_length(points, length):
    path = geodesic(half_plane, *ENDS, descent=Descent(points, bows=(0.0,)))
    assert path.length == pytest.approx(length, abs=2e-6)
    assert path.length == pytest.approx(math.acosh(3), abs=2e-4)
    assert path.ratio == pytest.approx(1, abs=2e-3)
    if points == 101:
        assert float((path.points.norm(dim=-1) - 2**0.5).abs().max()) < 6e-5
        assert float(path.points[:, 1].max()) == pytest.approx(1.41421, abs=6e-5)
        assert path.variation < 6e-5
        assert 2 * path.energy == pytest.approx(3.107278, abs=2e-4)
    assert measured(half_plane, line(*ENDS)).length == pytest.approx(2.0)


def test_without_stretching_it_is_straight_and_even():
    a, b = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([3.0, -1.0, 2.5]).double()
    path = geodesic(lambda x: torch.full(x.shape[:-1], 4.0).double() + 0 * x.sum(-1), a, b)
    torch.testing.assert_close(path.points, line(a, b), atol=1e-6, rtol=0)
    assert path.length == pytest.approx(2 * float((b - a).norm()))
    assert path.variation < 1e-6 and path.ratio == pytest.approx(1)


def test_a_factor_scales_the_length_and_leaves_the_path():
    once = geodesic(half_plane, *ENDS, descent=STRAIGHT)
    nine = geodesic(lambda x: 9 * half_plane(x), *ENDS, descent=STRAIGHT)
    assert nine.length == pytest.approx(3 * once.length, rel=1e-6)
    torch.testing.assert_close(nine.points, once.points, atol=1e-4, rtol=0)


@cache
def metric_of(kind):
    lines = torch.linspace(-10, 10, 101).double(), torch.linspace(-2.5, 10, 64).double()
    return rescaled(HALF_RING, torch.cartesian_prod(*lines), kind=kind)


@pytest.mark.parametrize("kind", FIGURES)
def test_round_a_half_ring_of_gaussians(kind):
    length, straight, arc, radius, density = FIGURES[kind]
    metric, ends = metric_of(kind), (CENTRES[10], CENTRES[-11])
    path = geodesic(metric, *ends, descent=STRAIGHT)
    assert path.length == pytest.approx(length, rel=0.01)
    assert measured(metric, line(*ends)).length == pytest.approx(straight, rel=0.01)
    assert measured(metric, CENTRES[10:-10]).length == pytest.approx(arc, rel=0.01)
    assert float(path.points.norm(dim=-1).mean()) == pytest.approx(radius, abs=0.01)
    assert -float(HALF_RING(path.points).mean()) == pytest.approx(density, abs=0.01)
    assert -float(HALF_RING(line(*ends)).mean()) == pytest.approx(-12.88, abs=0.02)
    assert path.variation < 1e-2 and path.ratio == pytest.approx(1, abs=2e-3)
    # it runs inside the ridge, which is shorter than the ridge
    assert path.length < measured(metric, CENTRES[10:-10]).length and radius < 8


@pytest.mark.parametrize("bow", [0.25, 0.5])
def test_from_any_bow_the_same_path_comes(bow):
    metric, ends = metric_of("inverse_density"), (CENTRES[10], CENTRES[-11])
    bowed, plain = (geodesic(metric, *ends, descent=Descent(bows=(b,))) for b in (bow, 0.0))
    torch.testing.assert_close(bowed.points, plain.points, atol=1e-3, rtol=0)


def test_where_energy_counts_for_nothing_the_path_is_straight():
    path = geodesic(Conformal(HALF_RING, "inverse_density", 0.0, 1.0), CENTRES[10], CENTRES[-11])
    torch.testing.assert_close(path.points, line(CENTRES[10], CENTRES[-11]), atol=1e-6, rtol=0)


def test_an_energy_of_behaviour_makes_paths_that_keep_to_behaviour():
    planted, (manifold, behaviour) = ring(), planted_ring.fitted()
    plane = planted.frame[:2]

    def unnatural(x):
        return behaviour.nearest(planted.read(x @ plane))[1]

    ends = manifold.centroids[[0, 3]] @ plane.T
    metric = Conformal(unnatural, "energy", 1e3, 1.0)
    path = geodesic(metric, *ends, descent=Descent(40, bows=(0.3, -0.3), steps=200))
    straight = line(*ends, 40)
    assert float(unnatural(path.points).sum()) < 0.05 * float(unnatural(straight).sum())
    radius = path.points.norm(dim=-1)
    assert 7 < float(radius.min()) and float(straight.norm(dim=-1).min()) < 3


def test_of_two_ways_round_the_shorter_is_kept():
    angle = torch.linspace(0, 2 * math.pi, 60)[:-1].double()
    ring = Mixture(5 * torch.stack([angle.cos(), angle.sin()], -1), 0.7)
    lines = torch.linspace(-6, 6, 41).double()
    metric = rescaled(ring, torch.cartesian_prod(lines, lines), kind="inverse_density")
    ends = torch.tensor([[5.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    near, far, best = (
        geodesic(metric, *ends, descent=Descent(60, bows=bows)) for bows in ((0.4,), (-1.5,), (0.4, -1.5))
    )
    short, long = sorted([near, far], key=lambda path: path.length)
    assert 2.5 < long.length / short.length < 3.5  # three quarters of the ring against one
    assert best.length == short.length and long.variation < 0.02


def test_too_few_points_jump_over_a_rise_and_the_ratio_says_so():
    def wall(x):
        return 1 + 1e2 * (-(x[..., 0] * 20).square()).exp()

    ends = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    few, many = (geodesic(wall, *ends, descent=Descent(n, bows=(0.0,))) for n in (6, 150))
    assert few.ratio > 5 and many.ratio == pytest.approx(1, abs=0.02)


def test_points_are_laid_evenly_along_a_line():
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    wanted = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    torch.testing.assert_close(evenly(corner, 5), wanted)
    path = geodesic(half_plane, *ENDS, descent=STRAIGHT).points
    steps = evenly(path, 40).diff(dim=0).norm(dim=-1)
    assert float(path.diff(dim=0).norm(dim=-1).std()) > 1e-3 > 10 * float(steps.std())


@pytest.mark.parametrize(
    ("end", "descent", "message"),
    [
        (ENDS[0], None, "between two points"),
        (torch.zeros(3), None, "between two points"),
        (ENDS[1], Descent(points=2), "one point or more between"),
    ],
)
def test_what_has_no_way_between_is_refused(end, descent, message):
    with pytest.raises(ValueError, match=message):
        geodesic(half_plane, ENDS[0], end, descent=descent)
