"""The behaviour manifold of the ring: on the sphere, through its values, with its own knots."""

from __future__ import annotations

import planted
import planted_ring
import pytest
import torch
from planted_ring import COUNT, TURN, ring

from steerlab.numerics.behaviour import fit_behaviour
from steerlab.numerics.simplex import bhattacharyya, roots


def assert_close(made, wanted, atol):
    torch.testing.assert_close(made, wanted, atol=atol, rtol=0)


def test_it_goes_through_its_values_and_never_leaves_the_sphere():
    _, behaviour = planted_ring.fitted()
    p = ring().read(ring().x)
    means = torch.stack([p[ring().labels == one].mean(0) for one in range(COUNT)])
    knots = behaviour.chart.knots
    assert_close(behaviour.distributions(knots), means, 1e-7)  # the clip at 1e-8
    assert_close(behaviour.roots(knots), roots(means) / roots(means).norm(dim=-1, keepdim=True), 1e-14)
    around = torch.linspace(-5, 12, 2001, dtype=torch.float64)[:, None]
    assert_close(behaviour.roots(around).norm(dim=-1), torch.ones(2001, dtype=torch.float64), 1e-14)
    assert_close(behaviour.distributions(around).sum(-1), torch.ones(2001, dtype=torch.float64), 1e-14)
    assert_close(behaviour.roots(around + TURN), behaviour.roots(around), 1e-12)


def test_its_knots_ascend_and_are_not_those_of_the_activations():
    manifold, behaviour = planted_ring.fitted()
    steps = behaviour.chart.shift(behaviour.chart.knots, behaviour.chart.knots.roll(-1, 0))
    assert_close(steps, torch.full((COUNT, 1), TURN / COUNT, dtype=torch.float64), 0.02)
    assert float((behaviour.chart.knots - manifold.chart.knots).abs().max()) > 0.1


def test_the_nearest_place_is_that_of_brute_force_in_every_distance():
    _, behaviour = planted_ring.fitted()
    logits = planted.randn(50, COUNT + 1, g=planted.generator(0))
    p = logits.softmax(-1)
    places, distance = behaviour.nearest(p)
    dense = torch.linspace(0, TURN, 20001, dtype=torch.float64)[:, None]
    near = (roots(p) @ behaviour.roots(dense).T).amax(-1)
    assert_close(distance, -near.log(), 1e-7)
    assert_close(behaviour.apart(p, places), distance, 0)
    # between values a root may be a little below 0, which a distribution cannot show
    assert bool((bhattacharyya(p, behaviour.distributions(places)) < distance + 1e-6).all())
    assert_close(bhattacharyya(p, behaviour.distributions(places)), distance, 5e-3)


def test_its_own_points_are_at_their_places():
    _, behaviour = planted_ring.fitted()
    places = torch.tensor([[0.1], [2.0], [6.0]], dtype=torch.float64)
    found, distance = behaviour.nearest(behaviour.distributions(places))
    assert_close(found, places, 1e-6)
    assert float(distance.max()) < 1e-6


def test_its_slopes_are_those_of_finite_differences():
    _, behaviour = planted_ring.fitted()
    v = torch.linspace(0, 6, 9, dtype=torch.float64)[:, None]
    finite = (behaviour.roots(v + 1e-6) - behaviour.roots(v - 1e-6)) / 2e-6
    assert_close(behaviour.surface.slopes(v)[:, 0], finite, 1e-8)


def test_a_geodesic_runs_from_value_to_value_the_short_way():
    _, behaviour = planted_ring.fitted()
    way = behaviour.geodesic(6, 1, 21)
    assert way.shape == (21, COUNT + 1)
    assert_close(way[[0, -1]], behaviour.distributions(behaviour.chart.knots[[6, 1]]), 1e-12)
    assert way.argmax(-1).tolist() == sorted(way.argmax(-1).tolist(), key=[6, 0, 1].index)
    assert int((way.argmax(-1) == 0).sum()) >= 8


@pytest.mark.parametrize("coords", ["ordinal", torch.arange(3.0) ** 2])
def test_coordinates_may_be_given(coords):
    labels = torch.arange(3).repeat(4)
    p = torch.eye(3, 4, dtype=torch.float64)[labels] * 0.7 + 0.075
    behaviour = fit_behaviour(p, labels, coords=coords)
    assert_close(behaviour.distributions(behaviour.chart.knots), p[:3], 1e-12)
    assert behaviour.chart.periods == (None,)


@pytest.mark.parametrize(
    ("p", "coords", "message"),
    [
        (torch.ones(4, 3), "ordinal", "of sum 1"),
        (torch.full((4, 2), 0.5), "round", "it is 'angle', 'ordinal', 'auto' or coordinates"),
        (torch.full((4, 2), 0.5), torch.arange(3.0), "3 coordinates for 2 values"),
    ],
)
def test_what_is_no_behaviour_is_refused(p, coords, message):
    with pytest.raises(ValueError, match=message):
        fit_behaviour(p, torch.tensor([0, 0, 1, 1]), coords=coords)
