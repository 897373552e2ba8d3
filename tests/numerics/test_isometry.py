"""Isometry of the ring's two manifolds, with values in the right and in wrong orders."""

from __future__ import annotations

import planted_ring
import pytest
import torch
from planted_ring import COUNT, TURN, in_order, ring, wrong_orders

from steerlab.numerics.behaviour import fit_behaviour
from steerlab.numerics.charts import Chart
from steerlab.numerics.isometry import isometry, pearson
from steerlab.numerics.surfaces import flat


def taken_as(order):
    """The ring's activation manifold with the values in another order."""
    return flat(Chart(in_order(order)[:, None], (TURN,)), planted_ring.fitted()[0].values)


def test_lengths_along_the_two_curves_go_together_and_chords_less():
    manifold, behaviour = planted_ring.fitted()
    found = isometry(manifold.surface, behaviour.surface)
    assert found.along == pytest.approx(1.0, abs=5e-5) and found.chord == pytest.approx(0.982, abs=1e-3)
    assert len(found.first) == 21 and bool((found.straight <= found.first).all())
    i, j = torch.triu_indices(COUNT, COUNT, 1)
    torch.testing.assert_close(found.straight, (manifold.values[i] - manifold.values[j]).norm(dim=-1))


def test_with_places_between_those_of_one_segment_are_left_out():
    manifold, behaviour = planted_ring.fitted()
    found = isometry(manifold.surface, behaviour.surface, interior=4, steps=20)
    vertices = COUNT + 21 * 4
    nested = 21 * 6 + COUNT * 6 * 4  # inside a pair among each other, and a value with what it carries
    assert len(found.first) == vertices * (vertices - 1) // 2 - nested
    assert found.along > 0.999 > 0.98 > found.chord


def test_a_wrong_order_of_one_manifold_shows():
    _, behaviour = planted_ring.fitted()
    right = taken_as(tuple(range(COUNT)))
    assert isometry(right, behaviour.surface, steps=15).along > 0.9999
    r, ratio = [], []
    around = torch.linspace(0, TURN, 701, dtype=torch.float64)[:, None]
    length = right.at(around).diff(dim=0).norm(dim=-1).sum()
    for order in wrong_orders():
        wrong = taken_as(order)
        r.append(isometry(wrong, behaviour.surface, steps=15).along)
        ratio.append(float(wrong.at(around).diff(dim=0).norm(dim=-1).sum() / length))
    r, ratio = sorted(r), sorted(ratio)
    assert (r[0], r[179], r[-1]) == pytest.approx((-0.50, 0.04, 0.72), abs=0.01)
    assert (ratio[0], ratio[179], ratio[-1]) == pytest.approx((1.24, 1.71, 2.22), abs=0.04)


def test_a_wrong_order_of_both_does_not():
    p = ring().read(ring().x)
    r = []
    for order in wrong_orders()[::20]:
        behaviour = fit_behaviour(p, ring().labels, coords=in_order(order), periods=(TURN,))
        r.append(isometry(taken_as(order), behaviour.surface, steps=15).along)
    assert len(r) == 18 and min(r) > 0.95


def test_manifolds_of_other_numbers_of_values_are_refused():
    manifold, _ = planted_ring.fitted()
    knots = torch.arange(5.0)[:, None]
    with pytest.raises(ValueError, match="7 and 5 values"):
        isometry(manifold.surface, flat(Chart(knots, (None,)), torch.randn(5, 3)))


def test_pearson_by_hand():
    assert pearson(torch.tensor([1.0, 2, 3]), torch.tensor([-2.0, -4, -6])) == pytest.approx(-1)
    assert pearson(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 3, 2, 4])) == pytest.approx(0.8)
