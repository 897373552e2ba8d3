"""Toward: the short way to a place on a curve, part of it, all of it, and beyond."""

from __future__ import annotations

import planted_ring
import pytest
import torch
from planted_ring import ring

import steerlab as sl
from steerlab.edits import Move, Toward


@pytest.fixture(scope="module")
def man():
    return planted_ring.fitted()[0]


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0, 1.5, -0.5])
def test_it_goes_its_part_of_the_way_from_the_own_place(man, amount):
    x, target = ring().x, man.place(2)
    u = man.encode(x)
    way = man.chart.shift(u, target.expand(u.shape))
    wanted = x + man.decode(u + amount * way) - man.decode(u)
    made = Toward(man, target, amount)(x)
    torch.testing.assert_close(made, wanted, atol=1e-10, rtol=0)
    assert torch.equal(made, x) == (amount == 0)


def test_the_whole_way_reads_as_the_target_from_every_value(man):
    planted = ring()
    for value in range(7):
        read = planted.read(Toward(man, man.place(value))(planted.x))
        assert bool((read.argmax(-1) == value).all())


def test_oversteering_goes_past_the_target_on_the_curve(man):
    planted = ring()
    monday = planted.x[planted.labels == 0]
    beyond = planted.read(Toward(man, man.place(1), 2.0)(monday))
    assert bool((beyond.argmax(-1) == 2).all())
    straight = monday + 2.0 * (man.centroids[1] - man.centroids[0])
    assert float(straight[:, :].norm(dim=-1).mean()) > 1.5 * float(man.centroids[2].norm())


def test_across_the_seam_it_takes_the_short_way(man):
    planted = ring()
    sunday = planted.x[planted.labels == 6]
    half = planted.read(Toward(man, man.place(1), 0.5)(sunday))
    assert bool((half.argmax(-1) == 0).all())
    step = Move(man, man.shift(6, 1) / 2)(sunday)
    torch.testing.assert_close(half, planted.read(step), atol=0.05, rtol=0)


def test_what_is_no_manifold_or_place_is_refused(man):
    with pytest.raises(sl.SteerlabError, match="takes a manifold, not Subspace"):
        Toward(man.subspace, torch.zeros(1))
    with pytest.raises(sl.SteerlabError, match=r"write manifold\.place\('Friday'\)"):
        Toward(man, "Friday")
    with pytest.raises(sl.SteerlabError, match="amount='much' is not a number"):
        Toward(man, man.place(0), "much")
